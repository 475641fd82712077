"""Clips into a folder of shards: resumable, and the same bytes every time."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from blursynth.errors import RefusedError, SettingsError, VideoError
from blursynth.files import locked, make_directory, printable, sha256_of, sweep
from blursynth.make.plan import ClipPlan, Part, plan_clip
from blursynth.make.run import ClipRun
from blursynth.make.settings import MakeConfig
from blursynth.progress import SILENT, Progress
from blursynth.shards import Entry, Manifest, Shard
from blursynth.video import describe
from blursynth.windows import count_gaps, plan_windows

__all__ = ["ClipSummary", "MakeSummary", "make_dataset"]


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
        last_frame = max(window.stop for part in todo for window in part.windows)
        with progress.task(path.name, last_frame, "frames") as advance:
            ClipRun(plan, todo, manifest, advance).run()
    entries = [entry for part in plan.parts if (entry := manifest.get(part.shard))]
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


def _unfinished(plan: ClipPlan, manifest: Manifest) -> list[Part]:
    """Return the parts that are not on the disk, whole, with the bytes that were written."""
    todo = []
    for part in plan.parts:
        entry = manifest.get(part.shard)
        try:
            if entry is not None and entry.planned == len(part.windows):
                entry.check_size(manifest.directory)
                if sha256_of(entry.path(manifest.directory)) == entry.sha256:
                    continue
        except RefusedError:
            pass  # damaged or gone: it is made again
        todo.append(part)
    return todo
