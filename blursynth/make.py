"""The work of `make`: plan, decode, synthesise, write shards; streaming, resumable, the same bytes every time."""

import hashlib
import json
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import blursynth
from blursynth.crf import response_curve
from blursynth.encoding import write_h264
from blursynth.errors import RefusedError, SettingsError, VideoError
from blursynth.files import locked, make_directory, printable, sha256_of, sweep
from blursynth.progress import SILENT, Progress
from blursynth.shards import SCHEMA, Codec, Entry, Manifest, Shard, ShardWriter, pairs_per_shard
from blursynth.synthesis import Pair, Synthesizer, held_frames, output_size
from blursynth.video import VideoInfo, decode, describe
from blursynth.windows import Window, WindowRule, count_gaps, plan_windows

__all__ = ["ClipSummary", "MakeConfig", "MakeSummary", "make_dataset", "plan_clip", "write_preview"]

_MAX_ASPECT_CHANGE = 0.02
_MAX_WAITING_PAIRS = 4  # between decoding and the disk: bounds memory


@dataclass(frozen=True, slots=True)
class MakeConfig:
    """What decides the pairs; stored in every shard.

    Parameters
    ----------
    window
        Frames a blurry image is the mean of: an odd number, or a range of which odd lengths are drawn, ``7-13``.
    stride
        Frames from one window's start to the next one's; None lets them touch.
    crf
        Camera response function, see `blursynth.crf`.
    resize
        (width, height) of the pairs, smaller than the clip and of its shape; None keeps its size.
    source_fps
        The true rate of a clip whose time stamps say another, frames per second.
    codec
        How shards are stored: ``raw`` or ``zstd``.
    seed
        Of every random draw.
    """

    window: str = "7"
    stride: int | None = None
    crf: str = "gamma:2.2"
    resize: tuple[int, int] | None = None
    source_fps: str | None = None
    codec: Codec = "raw"
    seed: int = 0

    def __post_init__(self) -> None:
        self.rule()
        response_curve(self.crf)
        self.true_frame_rate()
        if self.resize is not None and min(self.resize) < 16:
            raise SettingsError(f"resize {self.resize[0]}x{self.resize[1]}: 16 pixels a side at least")

    def rule(self) -> WindowRule:
        """Return how windows are laid."""
        return WindowRule.parse(self.window, self.stride)

    def true_frame_rate(self) -> Fraction | None:
        """Return ``source_fps`` as a number."""
        if self.source_fps is None:
            return None
        try:
            rate = Fraction(self.source_fps)
        except (ValueError, ZeroDivisionError) as error:
            raise SettingsError(f"source fps {self.source_fps!r}: write a number such as 240 or 240000/1001") from error
        if not 1 <= rate <= 1_000_000:
            raise SettingsError(f"source fps {self.source_fps}: must be from 1 to 1000000")
        return rate

    def settings(self) -> dict[str, Any]:
        """Return the settings as plain values, for JSON."""
        return asdict(self)

    def sha256(self) -> str:
        """Return a hash of the settings."""
        return hashlib.sha256(json.dumps([SCHEMA, self.settings()], sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ClipSummary:
    """What became of one clip: ``planned`` windows, ``pairs`` made now or before, and what there is to say."""

    path: Path
    planned: int = 0
    pairs: int = 0
    shards: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    error: str | None = None
    same_as: Path | None = None

    @property
    def is_whole(self) -> bool:
        """Whether nothing was lost."""
        return self.error is None and (self.same_as is not None or self.pairs == self.planned)


@dataclass(frozen=True, slots=True)
class MakeSummary:
    """What `make_dataset` did."""

    output: Path
    clips: tuple[ClipSummary, ...]

    @property
    def pairs(self) -> int:
        """How many pairs the folder holds of these clips."""
        return sum(clip.pairs for clip in self.clips)

    @property
    def is_whole(self) -> bool:
        """Whether every clip gave all its pairs."""
        return all(clip.is_whole for clip in self.clips)


@dataclass(frozen=True, slots=True, eq=False)
class _ClipPlan:
    """All that is decided before a frame is averaged."""

    info: VideoInfo
    sha256: str
    config: MakeConfig
    size: tuple[int, int]
    parts: tuple[tuple[str, tuple[Window, ...]], ...]  # shard name and its windows

    @property
    def num_windows(self) -> int:
        return sum(len(windows) for _, windows in self.parts)


def make_dataset(
    videos: Sequence[Path],
    output: Path,
    config: MakeConfig | None = None,
    *,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> MakeSummary:
    """Turn clips into shards of blurry and sharp pairs.

    The same call again continues where a killed one stopped, and ends with the same bytes. A damaged clip costs the
    windows that touch the damage.

    Parameters
    ----------
    videos
        Clips.
    output
        Folder of shards; made if it is not there.
    overwrite
        Replace the shards of other settings that the folder holds.

    Raises
    ------
    SettingsError
        If the folder holds shards of other settings and ``overwrite`` is false.
    VideoError
        If no clip at all gave a pair; it says why for the first.
    OutputError
        If the disk says no. What was whole stays whole.
    """
    config = config or MakeConfig()
    if not videos:
        raise SettingsError("no videos given")
    make_directory(output)
    with locked(output, "another blursynth make"):
        for path in sweep(output):
            progress.note(f"{path.name}: left by a killed run, removed")
        manifest = Manifest.read(output, must_exist=False)
        _agree_on_settings(manifest, config, overwrite=overwrite)
        clips: list[ClipSummary] = []
        seen: dict[str, Path] = {}
        for path in videos:
            try:
                clips.append(_make_clip(path, manifest, config, seen, progress))
            except RefusedError as error:
                if len(videos) == 1:
                    raise
                clips.append(ClipSummary(path, error=str(error)))
    if all(clip.error for clip in clips):
        raise VideoError(str(clips[0].error))
    return MakeSummary(output, tuple(clips))


def _agree_on_settings(manifest: Manifest, config: MakeConfig, *, overwrite: bool) -> None:
    others = [entry for entry in manifest if entry.settings_sha256 != config.sha256()]
    if not others:
        return
    if not overwrite:
        raise SettingsError(
            f"{printable(manifest.directory)}: holds pairs made with {_differences(manifest, others[0], config)}; "
            "use another -o, or --overwrite to replace them"
        )
    for entry in others:
        manifest.discard(entry.shard)
    manifest.write()  # first the list, so that it never names what is not there
    for entry in others:
        with suppress(FileNotFoundError):
            entry.path(manifest.directory).unlink()


def _differences(manifest: Manifest, entry: Entry, config: MakeConfig) -> str:
    try:
        with Shard(entry.path(manifest.directory)) as shard:
            theirs = json.loads(shard.attributes["config"])
    except (RefusedError, KeyError, ValueError):
        return "other settings"
    ours = json.loads(json.dumps(config.settings()))
    different = [f"{name} {value}" for name, value in theirs.items() if ours.get(name) != value]
    return ", ".join(different) or "other settings"


def _make_clip(
    path: Path, manifest: Manifest, config: MakeConfig, seen: dict[str, Path], progress: Progress
) -> ClipSummary:
    info = describe(path)
    sha256 = sha256_of(path)
    if sha256 in seen:
        return ClipSummary(path, same_as=seen[sha256], notes=(f"the same clip as {printable(seen[sha256])}: left out",))
    seen[sha256] = path
    plan = plan_clip(info, sha256, config)
    todo = _unfinished(plan, manifest)
    if todo:
        last_frame = max(window.stop for _, windows in todo for window in windows)
        with progress.task(path.name, last_frame, "frames") as advance:
            _ClipRun(plan, todo, manifest, advance).run()
    entries = [entry for name, _ in plan.parts if (entry := manifest.get(name))]
    pairs = sum(entry.pairs for entry in entries)
    notes = list(plan.info.notes)
    if info.is_cut_short:
        promised = f" of {info.num_frames_from_header}" if info.num_frames_from_header else ""
        notes.append(f"cut short: {info.num_frames}{promised} frames can be read")
    if gaps := count_gaps(info.pts):
        unbroken = plan_windows(np.arange(info.num_frames), config.rule(), seed=config.seed, source=sha256)
        notes.append(f"{gaps} gap(s) in its times cost {len(unbroken) - plan.num_windows} windows")
    if pairs < plan.num_windows:
        notes.append(f"damaged: {plan.num_windows - pairs} of {plan.num_windows} windows dropped")
    if not pairs:
        raise VideoError(f"{printable(path)}: every window touches damaged frames; re-encode or copy the clip again")
    return ClipSummary(path, plan.num_windows, pairs, tuple(entry.shard for entry in entries), tuple(notes))


def write_preview(summary: MakeSummary, path: Path, *, overwrite: bool = False, progress: Progress = SILENT) -> int:
    """Write the blurry images of a clip as a video at its reduced frame rate; return how many frames it has.

    They are read back from the shards, so a preview can be had of a folder that is long finished.

    Raises
    ------
    SettingsError
        If the name does not end in .mp4, or is taken and ``overwrite`` is false.
    """
    names = [name for clip in summary.clips for name in clip.shards]
    with Shard(summary.output / names[0]) as shard:
        size = shard.size
        step = Fraction(int(np.median(np.diff(_centres(summary, names)))) if summary.pairs > 1 else 1)
        frame_rate = Fraction(shard.attributes["frame_rate"]) / step
    with progress.task(path.name, summary.pairs, "frames") as advance:

        def blurry() -> Iterator[NDArray[np.uint8]]:
            for name in names:
                with Shard(summary.output / name) as shard:
                    for index in range(len(shard)):
                        yield shard.pair(index)[0]
                        advance(1, "")

        return write_h264(path, blurry(), size=size, frame_rate=frame_rate, overwrite=overwrite)


def _centres(summary: MakeSummary, names: Sequence[str]) -> NDArray[np.int64]:
    centres = []
    for name in names:
        with Shard(summary.output / name) as shard:
            centres.append(shard.rows()["centre_frame"])
    return np.concatenate(centres)


def plan_clip(info: VideoInfo, sha256: str, config: MakeConfig) -> _ClipPlan:
    """Lay the windows of a clip and deal them out to shards, by integers alone.

    Raises
    ------
    VideoError
        If the clip is too short for a window, or too small for the size asked for.
    """
    if rate := config.true_frame_rate():
        low = tuple(note for note in info.notes if "by its time stamps" not in note)
        info = replace(info, frame_rate=rate, notes=low)
    rule = config.rule()
    windows = plan_windows(info.pts, rule, seed=config.seed, source=sha256)
    if not windows:
        raise VideoError(
            f"{printable(info.path)}: {info.num_frames} frames"
            + (" with gaps in their times" if info.num_frames >= rule.shortest else "")
            + f", a window needs {rule.shortest} in a row; choose a shorter --window"
        )
    _check_resize(info, config.resize)
    size = output_size(info, config.resize)
    count = pairs_per_shard(*size)
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "_", info.path.stem).strip("._-")[:80] or "clip"
    mark = hashlib.sha256(f"{sha256}{config.sha256()}".encode()).hexdigest()[:8]
    parts = tuple(
        (f"{stem}-{mark}-{part:05}.h5", tuple(windows[start : start + count]))
        for part, start in enumerate(range(0, len(windows), count))
    )
    return _ClipPlan(info, sha256, config, size, parts)


def _check_resize(info: VideoInfo, resize: tuple[int, int] | None) -> None:
    if resize is None:
        return
    height, width = output_size(info, None)
    if resize[0] > width or resize[1] > height:
        raise VideoError(f"{printable(info.path)}: {width}x{height} cannot be enlarged to {resize[0]}x{resize[1]}")
    if abs(resize[0] * height / (resize[1] * width) - 1) > _MAX_ASPECT_CHANGE:
        fitting = round(resize[0] * height / width)
        raise VideoError(
            f"{printable(info.path)}: {width}x{height} would be distorted by --resize {resize[0]}x{resize[1]}; "
            f"{resize[0]}x{fitting} fits"
        )


def _unfinished(plan: _ClipPlan, manifest: Manifest) -> list[tuple[str, tuple[Window, ...]]]:
    """Return the parts that are not on the disk, whole, with the bytes that were written."""
    todo = []
    for name, windows in plan.parts:
        entry = manifest.get(name)
        try:
            if entry is not None and entry.planned == len(windows):
                entry.check_size(manifest.directory)
                if sha256_of(entry.path(manifest.directory)) == entry.sha256:
                    continue
        except RefusedError:
            pass  # damaged or gone: it is made again
        todo.append((name, windows))
    return todo


class _ClipRun:
    """One pass over a clip: this thread decodes, one averages, one writes, one flushes finished shards to the disk."""

    def __init__(
        self,
        plan: _ClipPlan,
        todo: Sequence[tuple[str, tuple[Window, ...]]],
        manifest: Manifest,
        advance: Callable[[float, str], None],
    ) -> None:
        self._plan = plan
        self._todo = todo
        self._manifest = manifest
        self._advance = advance
        windows = [window for _, part in todo for window in part]
        self._capacity = held_frames(windows)
        curve = response_curve(plan.config.crf)
        self._synthesizer = Synthesizer(plan.info, curve, capacity=self._capacity, resize=plan.config.resize)
        self._part_of = {window.number: part for part, (_, part_windows) in enumerate(todo) for window in part_windows}
        self._waiting = deque(windows)
        self._averaged: deque[tuple[Window, Future[Pair]]] = deque()
        self._written: deque[Future[None]] = deque()
        self._committed: deque[Future[None]] = deque()
        self._writer: ShardWriter | None = None
        self._part = -1
        self._open: list[ShardWriter] = []

    def run(self) -> None:
        with ExitStack() as stack:
            self._averaging, self._writing, self._committing = (
                stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix=name))
                for name in ("average", "write", "commit")
            )
            try:
                self._decode()
                self._finish_part()
                for futures in (self._written, self._committed):
                    while futures:
                        futures.popleft().result()
            except BaseException:
                for executor in (self._averaging, self._writing, self._committing):
                    executor.shutdown(wait=True, cancel_futures=True)
                for writer in self._open:
                    writer.discard()
                raise

    def _decode(self) -> None:
        """Feed frames to the ring and give out each window when its last frame is there."""
        last_bad, previous = -1, -1
        for frame in decode(self._plan.info):
            if frame.index != previous + 1:
                last_bad = frame.index - 1
            if frame.is_damaged:
                last_bad = frame.index
            previous = frame.index
            if frame.index >= self._waiting[0].first:
                self._free_slot(frame.index)
                self._synthesizer.hold(frame)
            while self._waiting and self._waiting[0].stop <= frame.index + 1:
                window = self._waiting.popleft()
                if last_bad < window.first:
                    self._give_out(window)
            self._advance(1, "")
            if not self._waiting:
                return

    def _free_slot(self, index: int) -> None:
        """Wait until no window is being averaged that still needs the frame which this one replaces."""
        while self._averaged and self._averaged[0][0].first <= index - self._capacity:
            self._averaged.popleft()[1].result()

    def _give_out(self, window: Window) -> None:
        part = self._part_of[window.number]
        if part != self._part or self._writer is None:
            self._finish_part()
            self._writer = self._begin_part(part)
        averaged = self._averaging.submit(self._synthesizer.pair, window)
        self._averaged.append((window, averaged))
        self._written.append(self._writing.submit(self._write, self._writer, averaged))
        while len(self._written) > _MAX_WAITING_PAIRS:
            self._written.popleft().result()

    def _begin_part(self, part: int) -> ShardWriter:
        name, windows = self._todo[part]
        while len(self._committed) > 1:  # one shard being flushed, one being filled
            self._committed.popleft().result()
        self._part = part
        writer = ShardWriter(
            self._manifest.directory / name,
            size=self._plan.size,
            capacity=len(windows),
            attributes=_attributes(self._plan),
            codec=self._plan.config.codec,
        )
        self._open.append(writer)
        return writer

    def _finish_part(self) -> None:
        if self._writer is None:
            return
        name, windows = self._todo[self._part]
        everything_written = self._writing.submit(lambda: None)  # the thread works in order
        self._committed.append(
            self._committing.submit(self._commit, self._writer, name, len(windows), everything_written)
        )
        self._writer = None

    def _write(self, writer: ShardWriter, averaged: "Future[Pair]") -> None:
        pair = averaged.result()
        writer.append(_row(self._plan.info, pair.window), pair.blurry, pair.sharp)

    def _commit(self, writer: ShardWriter, name: str, planned: int, everything_written: "Future[None]") -> None:
        everything_written.result()
        pairs = writer.commit()
        self._open.remove(writer)
        if not pairs:
            return
        path = self._manifest.directory / name
        height, width = self._plan.size
        self._manifest.add(
            Entry(
                shard=name,
                bytes=path.stat().st_size,
                sha256=sha256_of(path),
                pairs=pairs,
                planned=planned,
                height=height,
                width=width,
                source=printable(self._plan.info.path.name),
                source_sha256=self._plan.sha256,
                settings_sha256=self._plan.config.sha256(),
            )
        )


def _row(info: VideoInfo, window: Window) -> dict[str, int | float]:
    pts = info.pts
    return {
        "number": window.number,
        "first_frame": window.first,
        "centre_frame": window.centre,
        "last_frame": window.stop - 1,
        "first_pts": int(pts[window.first]),
        "centre_pts": int(pts[window.centre]),
        "last_pts": int(pts[window.stop - 1]),
        "num_frames": window.length,
        "exposure_seconds": float(window.length / info.frame_rate),
    }


def _attributes(plan: _ClipPlan) -> dict[str, Any]:
    info = plan.info
    colour = {
        "matrix": info.colour.matrix,
        "range": "full" if info.colour.is_full_range else "limited",
        "depth": info.colour.depth,
        "guessed": list(info.colour.guessed),
    }
    return {
        "blursynth_version": blursynth.__version__,
        "config": plan.config.settings(),
        "crf": plan.config.crf,
        "crf_table": response_curve(plan.config.crf).linear_of_codes(),
        "source": printable(info.path.name),
        "source_sha256": plan.sha256,
        "frame_rate": str(info.frame_rate),
        "time_base": str(info.time_base),
        "colour": colour,
    }
