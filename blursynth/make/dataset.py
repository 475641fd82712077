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
from blursynth.windows import gaps, plan_windows

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
    is_cut_short: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether nothing was lost."""
        return self.error is None and not self.is_cut_short and self.pairs == self.planned


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
        others = _entries_of_other_settings(manifest, config, overwrite=overwrite)
        planned = _plan_clips(videos, manifest, config)
        if not any(isinstance(plan, ClipPlan) for plan in planned):
            raise VideoError(_first_error(planned))
        _discard(manifest, others)  # not before it is sure that something takes their place
        clips = []
        for plan in planned:
            if isinstance(plan, ClipSummary):
                clips.append(plan)
                continue
            try:
                clips.append(_make_clip(plan, manifest, progress))
            except RefusedError as error:
                clips.append(ClipSummary(plan.info.path, error=str(error)))
    if all(clip.error for clip in clips):
        raise VideoError(_first_error(clips))
    return MakeSummary(output, tuple(clips))


def _first_error(clips: "Sequence[ClipPlan | ClipSummary]") -> str:
    return next(str(clip.error) for clip in clips if isinstance(clip, ClipSummary) and clip.error)


def _entries_of_other_settings(manifest: Manifest, config: MakeConfig, *, overwrite: bool) -> list[Entry]:
    others = [entry for entry in manifest if entry.settings_sha256 != config.sha256()]
    if others and not overwrite:
        raise SettingsError(
            f"{printable(manifest.directory)}: holds pairs made with {_differences(manifest, others[0], config)}; "
            "use another -o, or --overwrite to replace them"
        )
    return others


def _discard(manifest: Manifest, entries: list[Entry]) -> None:
    if not entries:
        return
    for entry in entries:
        manifest.discard(entry.shard)
    manifest.write()  # first the list, so that it never names what is not there
    for entry in entries:
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


def _plan_clips(videos: Sequence[Path], manifest: Manifest, config: MakeConfig) -> list[ClipPlan | ClipSummary]:
    """Plan every clip; what cannot be planned, or was planned already, is summed up at once."""
    planned: list[ClipPlan | ClipSummary] = []
    seen: dict[str, Path] = {}
    for path in videos:
        try:
            info = describe(path)
            sha256 = _digest(path)
            if sha256 in seen:
                note = f"the same clip as {printable(seen[sha256])}: left out"
                planned.append(ClipSummary(path, same_as=seen[sha256], notes=(note,)))
                continue
            seen[sha256] = path
            planned.append(plan_clip(info, sha256, config, stem=_known_stem(manifest, sha256, config)))
        except RefusedError as error:
            planned.append(ClipSummary(path, error=str(error)))
    return planned


def _digest(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise VideoError(f"{printable(path)}: cannot be read: {error.strerror or error}") from error


def _known_stem(manifest: Manifest, sha256: str, config: MakeConfig) -> str | None:
    """Return how the shards of a clip are called already: it may have had another name then."""
    for entry in manifest:
        if (entry.source_sha256, entry.settings_sha256) == (sha256, config.sha256()):
            return entry.shard.rsplit("-", 2)[0]
    return None


def _make_clip(plan: ClipPlan, manifest: Manifest, progress: Progress) -> ClipSummary:
    info, config = plan.info, plan.config
    todo = _unfinished(plan, manifest)
    if todo:
        last_frame = max(window.stop for part in todo for window in part.windows)
        with progress.task(info.path.name, last_frame, "frames") as advance:
            ClipRun(plan, todo, manifest, advance).run()
    entries = [entry for part in plan.parts if (entry := manifest.get(part.shard))]
    pairs = sum(entry.pairs for entry in entries)
    notes = list(info.notes)
    if info.is_cut_short:
        promised = f" of {info.num_frames_from_header}" if info.num_frames_from_header else ""
        notes.append(f"cut short: {info.num_frames}{promised} frames can be read")
    if num_gaps := len(gaps(info.pts)):
        unbroken = plan_windows(np.arange(info.num_frames), config.rule(), seed=config.seed, source=plan.sha256)
        notes.append(f"{num_gaps} gap(s) in its times cost {len(unbroken) - plan.num_windows} windows")
    if pairs < plan.num_windows:
        notes.append(f"damaged: {plan.num_windows - pairs} of {plan.num_windows} windows dropped")
    if not pairs:
        raise VideoError(
            f"{printable(info.path)}: every window touches damaged frames; re-encode or copy the clip again"
        )
    shards = tuple(entry.shard for entry in entries)
    return ClipSummary(info.path, plan.num_windows, pairs, shards, tuple(notes), is_cut_short=info.is_cut_short)


def _unfinished(plan: ClipPlan, manifest: Manifest) -> list[Part]:
    """Return the parts that are not on the disk, whole, with the bytes that were written."""
    todo = []
    for part in plan.parts:
        entry = manifest.get(part.shard)
        if not (entry and entry.planned == len(part.windows) and entry.is_intact(manifest.directory)):
            todo.append(part)
    return todo
