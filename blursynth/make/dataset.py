"""Clips into a folder of shards: resumable, and the same bytes every time, with one worker or many."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from blursynth.engine import Engine
from blursynth.errors import RefusedError, SettingsError, VideoError
from blursynth.files import printable, sha256_of
from blursynth.interpolate import Interpolator
from blursynth.make.folder import open_folder, share_of
from blursynth.make.plan import ClipPlan, plan_clip
from blursynth.make.settings import MakeConfig
from blursynth.make.summary import ClipSummary, MakeSummary, sum_up
from blursynth.make.tasks import make_clips
from blursynth.progress import SILENT, Progress
from blursynth.shards import Manifest
from blursynth.video import describe

__all__ = ["make_dataset"]


def make_dataset(
    videos: Sequence[Path],
    output: Path,
    config: MakeConfig | None = None,
    *,
    overwrite: bool = False,
    engine: Engine | None = None,
    part: str | None = None,
    interpolator: Interpolator | None = None,
    progress: Progress = SILENT,
) -> MakeSummary:
    """Turn clips into shards of blurry and sharp pairs.

    The same call again continues where a killed one stopped, and ends with the same bytes, whatever the engine. A
    damaged clip costs the windows that touch the damage.

    Parameters
    ----------
    videos
        Clips.
    output
        Folder of shards; made if it is not there.
    overwrite
        Replace the shards of other settings that the folder holds.
    engine
        How many clips, or stretches of clips, are made at once, and where.
    part
        ``K/N`` to make the K-th of N shares of the clips, dealt out by content; N such runs may share the folder.

    interpolator
        What makes sub-frames where the settings name another way than ``dis``, for example `blursynth.model.rife.Rife`.

    Raises
    ------
    SettingsError
        If the folder holds shards of other settings and ``overwrite`` is false.
    VideoError
        If no clip at all gave a pair; it says why for the first.
    OutputError
        If the disk says no. What was whole stays whole.
    """
    config, engine = config or MakeConfig(), engine or Engine()
    if not videos:
        raise SettingsError("no videos given")
    if (config.interpolate_with != "dis") != (interpolator is not None):
        raise SettingsError(f"interpolate with {config.interpolate_with}: the interpolator does not fit")
    videos, share = share_of(videos, part)
    if not videos:
        progress.note(f"part {part} has no clips")
        with open_folder(output, config, overwrite=overwrite, part=share, progress=progress) as folder:
            folder.manifest.write()  # it is not missing
        return MakeSummary(output, ())
    with open_folder(output, config, overwrite=overwrite, part=share, progress=progress) as folder:
        planned = _plan_clips(videos, folder.manifest, config)
        if not any(isinstance(plan, ClipPlan) for plan in planned):
            raise VideoError(_first_error(planned))
        folder.discard_others()  # not before it is sure that something takes their place
        plans = [
            replace(plan, interpolator=interpolator or plan.interpolator)
            for plan in planned
            if isinstance(plan, ClipPlan)
        ]
        results = make_clips(plans, folder, engine, progress)
        clips = [plan if isinstance(plan, ClipSummary) else sum_up(plan, folder, results) for plan in planned]
    if all(clip.error for clip in clips):
        raise VideoError(_first_error(clips))
    return MakeSummary(output, tuple(clips))


def _first_error(clips: "Sequence[ClipPlan | ClipSummary]") -> str:
    return next(str(clip.error) for clip in clips if isinstance(clip, ClipSummary) and clip.error)


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
    for entry in manifest.everything():
        if (entry.source_sha256, entry.settings_sha256) == (sha256, config.sha256()):
            return entry.shard.rsplit("-", 2)[0]
    return None
