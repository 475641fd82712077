"""Make GOPRO_Large from GOPRO_Large_all, frame by frame as it was made, and compare it with the published one."""

import json
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from blursynth.crf import response_curve
from blursynth.errors import PhotoError, RefusedError, SettingsError
from blursynth.files import make_directory, printable, write_bytes
from blursynth.gopro.clips import GoproClip, GoproPair, gopro_clips, pairs_of
from blursynth.gopro.images import (
    Image,
    encode_png,
    is_whole_png,
    largest_difference,
    linear_light_mean,
    read_png,
    rounded_mean,
)
from blursynth.gopro.report import ClipReport, Comparison, RebuildReport
from blursynth.locks import locked
from blursynth.progress import SILENT, Progress
from blursynth.sweeping import sweep

__all__ = ["rebuild"]

_MARKER = "gopro-rebuild.json"
_RECIPE = {
    "made_by": "blursynth gopro rebuild",
    "sharp": "the centre frame of the window, byte for byte",
    "blur": "the mean of the 8-bit codes of the window, rounded to the nearest; bit-exact",
    "blur_gamma": "the mean in linear light of gamma 2.2, rounded to the nearest; not known to be bit-exact",
}
_FRAME_NAME = re.compile(r"\d{6}\.png")
_READERS = 4  # threads that decode the frames of a window


def rebuild(
    source: Path,
    output: Path | None = None,
    *,
    against: Path | None = None,
    gamma: bool = False,
    clips: Sequence[GoproClip] | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> RebuildReport:
    """Make GOPRO_Large from GOPRO_Large_all; a run that was stopped goes on where it was.

    Parameters
    ----------
    source
        GOPRO_Large_all: ``{train,test}/CLIP/%06d.png``.
    output
        Folder for ``{train,test}/CLIP/{blur,sharp}/%06d.png``; None writes nothing and only compares.
    against
        The published GOPRO_Large, to compare every pair with.
    gamma
        Make ``blur_gamma`` too: the mean in linear light of gamma 2.2, which is not known to be bit-exact.
    clips
        Which; None takes all 33.
    overwrite
        Make again what the output holds already.

    Returns
    -------
    The report: it names every pair that lacks a frame or has a damaged one. None is ever averaged around.

    Raises
    ------
    SettingsError
        If there is neither ``output`` nor ``against``, or the output lies in an input or holds other files.
    RefusedError
        If ``source`` or ``against`` holds none of the clips.
    OutputError
        If the disk says no; what was finished stays.
    """
    chosen = gopro_clips() if clips is None else tuple(clips)
    _check_folders(source, output, against, chosen)
    with ExitStack() as stack:
        if output is not None:
            _prepare(output)
            stack.enter_context(locked(output, "gopro rebuild"))
        readers = stack.enter_context(ThreadPoolExecutor(_READERS, thread_name_prefix="read"))
        advance = stack.enter_context(progress.task("rebuild", sum(clip.pairs for clip in chosen), "pairs"))
        kinds = ("blur", "sharp", "blur_gamma") if gamma else ("blur", "sharp")
        job = _Job(source, output, against, kinds, overwrite, readers)
        reports = []
        for clip in chosen:
            work = _ClipWork(job, clip)
            for pair in pairs_of(clip):
                work.do(pair)
                advance(1, clip.name)
            reports.append(work.report())
        return RebuildReport(tuple(reports))


def _check_folders(source: Path, output: Path | None, against: Path | None, clips: Sequence[GoproClip]) -> None:
    if not clips:
        raise SettingsError("rebuild: no clips are chosen")
    if output is None and against is None:
        raise SettingsError("rebuild: nothing to do; give an output with -o, a GOPRO_Large with --against, or both")
    for given in (source, against):
        if output and given and output.resolve().is_relative_to(given.resolve()):
            raise SettingsError(
                f"{printable(output)}: lies in {printable(given)}, which is only read; choose another -o"
            )
    example = f"{clips[0].split}/{clips[0].name}"
    if not any((source / clip.split / clip.name).is_dir() for clip in clips):
        raise RefusedError(f"{printable(source)}: no clip of GOPRO_Large_all is here; its folders are called {example}")
    if against is None:
        return
    if not any((against / clip.split / clip.name / "sharp").is_dir() for clip in clips):
        raise RefusedError(f"{printable(against)}: no clip of GOPRO_Large is here; it has folders {example}/sharp")


def _prepare(output: Path) -> None:
    """Make the folder; refuse one that an earlier rebuilding did not make, which the inputs are too."""
    make_directory(output)
    marker = output / _MARKER
    if not marker.exists():
        if any(not entry.name.startswith(".blursynth") for entry in output.iterdir()):
            raise SettingsError(f"{printable(output)}: holds other files; choose an empty or new folder with -o")
        write_bytes(marker, (json.dumps(_RECIPE, indent=1) + "\n").encode())


@dataclass(frozen=True, slots=True)
class _Job:
    """What is the same for all clips."""

    source: Path
    output: Path | None
    against: Path | None
    kinds: tuple[str, ...]
    overwrite: bool
    readers: ThreadPoolExecutor


def _frames_in(folder: Path) -> dict[int, Path]:
    """Find the frames of a clip by their numbers; a folder that is not there has none."""
    try:
        paths = list(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise RefusedError(f"{printable(folder)}: cannot be read: {error.strerror}") from error
    return {int(path.stem): path for path in paths if _FRAME_NAME.fullmatch(path.name)}


class _ClipWork:
    """A clip in work: its frames by number, and what has become of its pairs so far."""

    def __init__(self, job: _Job, clip: GoproClip) -> None:
        self._job, self._clip = job, clip
        self._frames = _frames_in(job.source / clip.split / clip.name)
        self._target = job.output / clip.split / clip.name if job.output else None
        if self._target and self._frames:
            for kind in job.kinds:
                make_directory(self._target / kind)
                sweep(self._target / kind)
        self._curve = response_curve("gamma:2.2")
        self._made = self._kept = 0
        self._impossible: list[int] = []
        self._not_made: list[int] = []
        self._missing: list[int] = []
        self._damaged: list[str] = []
        self._differences: dict[str, list[int | None]] = {kind: [] for kind in job.kinds if job.against}

    def do(self, pair: GoproPair) -> None:
        """Make a pair and compare it, or write down why not."""
        missing = [number for number in pair.frames if number not in self._frames]
        try:
            if missing:
                self._give_up(pair, missing)
            elif self._is_there(pair):
                if self._job.against:
                    self._compare(pair, {kind: read_png(self._path(kind, pair)) for kind in self._job.kinds})
                self._kept += 1
            else:
                images = self._make(pair)
                self._write(pair, images)
                self._made += 1
                self._compare(pair, images)
        except PhotoError as error:
            self._damaged.append(str(error))
            if pair.number not in self._impossible:
                self._not_made.append(pair.number)

    def report(self) -> ClipReport:
        """Return what became of the pairs."""
        return ClipReport(
            clip=self._clip.name,
            split=self._clip.split,
            pairs=self._clip.pairs,
            made=self._made,
            kept=self._kept,
            impossible=tuple(self._impossible),
            not_made=tuple(self._not_made),
            missing_frames=tuple(self._missing),
            damaged=tuple(self._damaged),
            comparisons={kind: Comparison.of(found) for kind, found in self._differences.items()},
        )

    def _path(self, kind: str, pair: GoproPair) -> Path:
        assert self._target  # noqa: S101  # asked only where there is an output
        return self._target / kind / f"{pair.number:06}.png"

    def _is_there(self, pair: GoproPair) -> bool:
        if self._target is None or self._job.overwrite:
            return False
        return all(is_whole_png(self._path(kind, pair)) for kind in self._job.kinds)

    def _give_up(self, pair: GoproPair, missing: list[int]) -> None:
        if pair.is_published_whole:
            self._not_made.append(pair.number)
            self._missing += missing
            return
        self._impossible.append(pair.number)
        if self._job.against and pair.centre in self._frames:
            self._compare(pair, {"sharp": read_png(self._frames[pair.centre])})

    def _make(self, pair: GoproPair) -> dict[str, Image]:
        paths = [self._frames[number] for number in pair.frames]
        frames = list(self._job.readers.map(read_png, paths))
        for path, frame in zip(paths, frames, strict=True):
            if frame.shape != frames[0].shape:
                raise PhotoError(f"{printable(path)}: of another size than {paths[0].name}")
        images = {"blur": rounded_mean(frames), "sharp": frames[len(frames) // 2]}
        if "blur_gamma" in self._job.kinds:
            images["blur_gamma"] = linear_light_mean(frames, self._curve)
        return images

    def _write(self, pair: GoproPair, images: dict[str, Image]) -> None:
        if self._target is None:
            return
        for kind, image in images.items():
            path = self._path(kind, pair)
            if self._job.overwrite or not path.exists():
                data = self._frames[pair.centre].read_bytes() if kind == "sharp" else encode_png(image)
                write_bytes(path, data, overwrite=self._job.overwrite)

    def _compare(self, pair: GoproPair, images: dict[str, Image]) -> None:
        if self._job.against is None:
            return
        folder = self._job.against / self._clip.split / self._clip.name
        for kind, image in images.items():
            try:
                published = read_png(folder / kind / f"{pair.number:06}.png")
            except PhotoError:
                self._differences[kind].append(None)
            else:
                self._differences[kind].append(largest_difference(image, published))
