"""Photographs into a folder of shards: resumable, and the same bytes every time, with one worker or many."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import blursynth
from blursynth.crf import response_curve
from blursynth.engine import Engine, Failure, run_tasks
from blursynth.errors import PhotoError, RefusedError, SettingsError
from blursynth.files import check_regular_file, printable, sha256_of
from blursynth.make.folder import Folder, open_folder, share_of
from blursynth.make.rows import rendition_attributes
from blursynth.make.shared import shard_stem
from blursynth.make.stills.photo import pairs_of_photo
from blursynth.make.stills.settings import ShakeConfig
from blursynth.progress import SILENT, Progress
from blursynth.recordings import assign_splits, parse_split
from blursynth.rendition import output_curves
from blursynth.shards import Entry, ShardWriter

__all__ = ["PhotoSummary", "ShakeSummary", "shake_dataset"]


@dataclass(frozen=True, slots=True)
class PhotoSummary:
    """What became of one photograph: its shard and its pairs, made now or before, or what went wrong."""

    path: Path
    shard: str = ""
    pairs: int = 0
    error: str | None = None
    same_as: Path | None = None


@dataclass(frozen=True, slots=True)
class ShakeSummary:
    """What `shake_dataset` did."""

    output: Path
    photos: tuple[PhotoSummary, ...]

    @property
    def pairs(self) -> int:
        """How many pairs the folder holds of these photographs."""
        return sum(photo.pairs for photo in self.photos)

    @property
    def is_whole(self) -> bool:
        """Whether every photograph gave its pairs."""
        return not any(photo.error for photo in self.photos)


@dataclass(frozen=True, slots=True)
class _Task:
    path: Path
    sha256: str
    config: ShakeConfig
    directory: Path
    shard: str
    split: str


def shake_dataset(
    photos: Sequence[Path],
    output: Path,
    config: ShakeConfig | None = None,
    *,
    overwrite: bool = False,
    engine: Engine | None = None,
    part: str | None = None,
    progress: Progress = SILENT,
) -> ShakeSummary:
    """Shake photographs: shards of blurry and sharp pairs, one shard to a photograph.

    Parameters and behaviour as in `make_dataset`.

    Raises
    ------
    SettingsError
        If the folder holds shards of other settings and ``overwrite`` is false.
    PhotoError
        If no photograph at all gave a pair; it says why for the first.
    OutputError
        If the disk says no. What was whole stays whole.
    """
    config, engine = config or ShakeConfig(), engine or Engine()
    if not photos:
        raise SettingsError("no photographs given")
    photos, share = share_of(photos, part)
    if not photos:
        progress.note(f"part {part} has no photographs")
        with open_folder(output, config, overwrite=overwrite, part=share, progress=progress) as folder:
            folder.manifest.write()  # it is not missing
        return ShakeSummary(output, ())
    with open_folder(
        output, config, work="another blursynth shake", overwrite=overwrite, part=share, progress=progress
    ) as folder:
        found: list[_Task | PhotoSummary] = _plan(photos, config, folder)
        if not any(isinstance(item, _Task) for item in found):
            raise PhotoError(_first_error(found))
        folder.discard_others()
        errors = _shake(found, folder, engine, progress)
        photos_done = [_sum_up(item, folder, errors) if isinstance(item, _Task) else item for item in found]
    if all(photo.error for photo in photos_done):
        raise PhotoError(_first_error(photos_done))
    return ShakeSummary(output, tuple(photos_done))


def _first_error(found: Sequence[object]) -> str:
    return next(str(item.error) for item in found if isinstance(item, PhotoSummary) and item.error)


def _plan(photos: Sequence[Path], config: ShakeConfig, folder: Folder) -> list[_Task | PhotoSummary]:
    settings_sha256 = config.sha256()
    known = {entry.source_sha256: entry.shard for entry in folder.manifest if entry.settings_sha256 == settings_sha256}
    shares = parse_split(config.split) if config.split else None
    seen: dict[str, Path] = {}
    found: list[_Task | PhotoSummary] = []
    for path in photos:
        try:
            check_regular_file(path, PhotoError)
            sha256 = sha256_of(path)
        except PhotoError as error:
            found.append(PhotoSummary(path, error=str(error)))
            continue
        except OSError as error:
            found.append(PhotoSummary(path, error=f"{printable(path)}: cannot be read: {error.strerror or error}"))
            continue
        if sha256 in seen:
            found.append(PhotoSummary(path, same_as=seen[sha256]))
            continue
        seen[sha256] = path
        split = assign_splits([sha256], shares, config.seed)[sha256] if shares else ""
        shard = known.get(sha256) or f"{shard_stem(path, sha256, settings_sha256)}-00000.h5"
        found.append(_Task(path, sha256, config, folder.path, shard, split))
    return found


def _shake(found: Sequence[_Task | PhotoSummary], folder: Folder, engine: Engine, progress: Progress) -> dict[str, str]:
    """Make the shards that are not there yet; return what went wrong, by SHA-256 of the photograph."""
    tasks = [
        item for item in found if isinstance(item, _Task) and not folder.is_done(item.shard, item.config.per_photo)
    ]
    errors: dict[str, str] = {}
    with (
        progress.task("photographs", len(tasks), "photos") as advance,
        closing(run_tasks(_make_shard, tasks, engine)) as outcomes,
    ):
        for position, outcome in outcomes:
            task = tasks[position]
            advance(1, task.path.name)
            if not isinstance(outcome, Failure):
                folder.manifest.add(outcome)
            elif isinstance(outcome.error, RefusedError):
                errors[task.sha256] = str(outcome.error)
            elif outcome.has_killed_workers and len(errors) + 1 < len(tasks):
                errors[task.sha256] = f"{printable(task.path)}: {outcome.message}"
            else:
                raise outcome.as_error(printable(task.path))
    return errors


def _sum_up(task: _Task, folder: Folder, errors: dict[str, str]) -> PhotoSummary:
    entry = folder.manifest.get(task.shard)
    if task.sha256 in errors or entry is None:
        return PhotoSummary(task.path, error=errors.get(task.sha256, f"{printable(task.path)}: gave no pairs"))
    return PhotoSummary(task.path, task.shard, entry.pairs)


def _make_shard(task: _Task) -> Entry:
    config, path = task.config, task.directory / task.shard
    writer: ShardWriter | None = None
    size = (0, 0)
    try:
        for pair in pairs_of_photo(task.path, task.sha256, config):
            if writer is None:
                size = pair.images["sharp"].shape[:2]
                writer = ShardWriter(
                    path,
                    size=size,
                    capacity=config.per_photo,
                    attributes=_attributes(task),
                    codec=config.codec,
                    keeps_light=config.store == "linear",
                )
            writer.append(pair.row, pair.images)
    except BaseException:
        if writer:
            writer.discard()
        raise
    assert writer is not None  # noqa: S101  # there is one pair at least
    pairs = writer.commit()
    return Entry(
        shard=task.shard,
        bytes=path.stat().st_size,
        sha256=sha256_of(path),
        pairs=pairs,
        planned=config.per_photo,
        height=size[0],
        width=size[1],
        source=printable(task.path.name),
        source_sha256=task.sha256,
        settings_sha256=config.sha256(),
        split=task.split,
    )


def _attributes(task: _Task) -> dict[str, Any]:
    config = task.config
    return {
        "blursynth_version": blursynth.__version__,
        "config": config.settings(),
        **rendition_attributes(response_curve(config.crf), output_curves(config.output_crf)),
        "source": printable(task.path.name),
        "source_sha256": task.sha256,
        "licence": "unspecified",
    }
