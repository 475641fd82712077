"""A data set of the community into a folder of shards: pixels as they are, resumable, the same bytes every time."""

import hashlib
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

import blursynth
from blursynth.engine import Engine, Failure, run_tasks
from blursynth.errors import RefusedError, SettingsError
from blursynth.files import printable, sha256_of
from blursynth.layouts.images import PictureReader, decode
from blursynth.layouts.pairs import Place
from blursynth.layouts.planning import Batch, ImportConfig, Sequenced, batches_of, sequences_of
from blursynth.layouts.provenance import Origin, gopro_pairs, row_of
from blursynth.layouts.tree import DataSet
from blursynth.make.folder import Folder, open_folder
from blursynth.progress import SILENT, Progress
from blursynth.shards import Codec, Entry, ShardWriter

__all__ = ["ImportSummary", "SequenceSummary", "import_tree"]

_WORK = "another blursynth import"


@dataclass(frozen=True, slots=True)
class SequenceSummary:
    """What became of one sequence: its pairs, imported now or before, or what went wrong."""

    split: str
    sequence: str
    pairs: int = 0
    shards: tuple[str, ...] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """What `import_tree` did."""

    output: Path
    name: str
    layout: str
    track: str
    sequences: tuple[SequenceSummary, ...]

    @property
    def pairs(self) -> int:
        """How many pairs the folder holds of this data set."""
        return sum(sequence.pairs for sequence in self.sequences)

    @property
    def failed(self) -> tuple[SequenceSummary, ...]:
        """The sequences that are not there whole."""
        return tuple(sequence for sequence in self.sequences if sequence.error)


@dataclass(frozen=True, slots=True)
class _Task:
    """A shard to write; of its sequence, it knows its own pairs alone."""

    batch: Batch
    sequenced: Sequenced
    config: ImportConfig
    directory: Path

    @classmethod
    def of(cls, batch: Batch, each: Sequenced, config: ImportConfig, directory: Path) -> Self:
        """Cut the sequence down to what the shard needs."""
        pairs = tuple(each.pairs[number] for number in batch.numbers)
        origins = tuple(each.origins[number] for number in batch.numbers)
        return cls(batch, replace(each, pairs=pairs, origins=origins, sizes=()), config, directory)

    @property
    def key(self) -> tuple[str, str]:
        """Its split and sequence."""
        return self.sequenced.split, self.sequenced.sequence


def import_tree(
    found: DataSet,
    output: Path,
    *,
    codec: Codec = "raw",
    overwrite: bool = False,
    engine: Engine | None = None,
    progress: Progress = SILENT,
) -> ImportSummary:
    """Bring a data set into shards, its pixels as they are. A run that was stopped goes on where it was.

    Parameters
    ----------
    found
        What `blursynth.layouts.open_data_set` opened; its sides stay what they are in the manifest.
    output
        Folder of shards; it may hold other sides of the same data set already.
    codec
        How the shards store pixels, ``raw`` or ``zstd``.
    overwrite
        Replace pairs of other settings, and sequences whose pictures have changed since.

    Returns
    -------
    What became of each sequence. One with a picture that cannot be used is left out whole.

    Raises
    ------
    SettingsError
        If the folder holds other pairs and ``overwrite`` is false, or lies in the data set.
    RefusedError
        If a picture has no twin, or no sequence at all can be used.
    OutputError
        If the disk says no; what was finished stays.
    """
    if output.resolve().is_relative_to(found.path.resolve()):
        where = printable(found.path)
        raise SettingsError(f"{printable(output)}: lies in {where}, which is only read; choose another -o")
    config = ImportConfig(found.layout, "+".join(sorted(set(found.tracks.values()))), codec)
    engine = engine or Engine()
    listed = [(split, pair) for split in found.tracks for pair in found.pairs(split)]
    with open_folder(output, config, work=_WORK, overwrite=overwrite, progress=progress) as folder:
        sequences = sequences_of(listed, config, found.name, engine.num_workers, progress)
        usable = [sequence for sequence in sequences if not sequence.error]
        if not usable:
            raise RefusedError(sequences[0].error)
        _discard_stale(folder, usable, overwrite=overwrite)
        tasks = [_Task.of(batch, each, config, folder.path) for each in usable for batch in batches_of(each, config)]
        errors = _make(tasks, folder, engine, progress)
        summaries = tuple(_sum_up(each, tasks, errors) for each in sequences)
    if all(summary.error for summary in summaries):
        raise RefusedError(str(summaries[0].error))
    return ImportSummary(output, found.name, found.layout, config.track, summaries)


def _discard_stale(folder: Folder, sequences: Sequence[Sequenced], *, overwrite: bool) -> None:
    """Remove what was imported of these sequences when their pictures were others."""
    known = {(each.split, each.source): each for each in sequences}
    stale = []
    for entry in folder.manifest:
        now = known.get((entry.split, entry.source))
        if now and entry not in folder.others and entry.source_sha256 != now.sha256:
            stale.append(entry)
    if stale and not overwrite:
        raise SettingsError(
            f"{printable(folder.path)}: holds {printable(stale[0].source)} with other pictures; use another -o, or "
            "--overwrite to replace it"
        )
    replace(folder, others=(*folder.others, *stale)).discard_others()


def _make(tasks: Sequence[_Task], folder: Folder, engine: Engine, progress: Progress) -> dict[tuple[str, str], str]:
    """Make the shards that are not there yet; return what went wrong, by split and sequence."""
    left = [task for task in tasks if not folder.is_done(task.batch.shard, len(task.batch.numbers))]
    errors: dict[tuple[str, str], str] = {}
    total = sum(len(task.batch.numbers) for task in left)
    with (
        progress.task("import", total, "pairs") as advance,
        closing(run_tasks(_make_shard, left, engine)) as outcomes,
    ):
        for position, outcome in outcomes:
            task = left[position]
            advance(len(task.batch.numbers), task.sequenced.sequence)
            if not isinstance(outcome, Failure):
                folder.manifest.add(outcome)
            elif isinstance(outcome.error, RefusedError):
                errors[task.key] = str(outcome.error)
            else:
                raise outcome.as_error(task.sequenced.source)
    _withdraw(errors, tasks, folder)
    return errors


def _withdraw(errors: dict[tuple[str, str], str], tasks: Sequence[_Task], folder: Folder) -> None:
    """Take back the finished shards of sequences of which another one failed: they are left out whole."""
    names = {task.batch.shard for task in tasks if task.key in errors}
    gone = tuple(entry for entry in folder.manifest if entry.shard in names)
    replace(folder, others=gone).discard_others()


def _sum_up(each: Sequenced, tasks: Sequence[_Task], errors: dict[tuple[str, str], str]) -> SequenceSummary:
    error = each.error or errors.get((each.split, each.sequence))
    if error:
        return SequenceSummary(each.split, each.sequence, error=error)
    shards = tuple(task.batch.shard for task in tasks if task.key == (each.split, each.sequence))
    return SequenceSummary(each.split, each.sequence, len(each.pairs), shards)


def _make_shard(task: _Task) -> Entry:
    batch, each = task.batch, task.sequenced
    path = task.directory / batch.shard
    known = gopro_pairs(each.sequence)
    writer = ShardWriter(
        path,
        size=batch.size,
        capacity=len(batch.numbers),
        attributes=_attributes(task, is_timed=bool(known)),
        codec=task.config.codec,
    )
    try:
        with PictureReader() as reader:
            for number, pair, origin in zip(batch.numbers, each.pairs, each.origins, strict=True):
                blurry = _read(reader, pair.blurry, origin.blurry_sha256)
                sharp = _read(reader, pair.sharp, origin.sharp_sha256)
                saturated = np.count_nonzero(sharp == 255) / sharp.size
                writer.append(row_of(number, origin.frame, known, saturated), {"blurry": blurry, "sharp": sharp})
        pairs = writer.commit()
    except BaseException:
        writer.discard()
        raise
    return Entry(
        shard=batch.shard,
        bytes=path.stat().st_size,
        sha256=sha256_of(path),
        pairs=pairs,
        planned=pairs,
        height=batch.size[0],
        width=batch.size[1],
        source=each.source,
        source_sha256=each.sha256,
        settings_sha256=task.config.sha256(),
        split=each.split,
        recording=each.recording,
    )


def _read(reader: PictureReader, place: Place, sha256: str) -> NDArray[np.uint8]:
    data = reader.read(place)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise RefusedError(f"{place}: changed while it was imported; run the same command again")
    return decode(data, place)


def _attributes(task: _Task, *, is_timed: bool) -> dict[str, Any]:
    each, config = task.sequenced, task.config
    attributes = {
        "blursynth_version": blursynth.__version__,
        "config": config.settings(),
        "source": each.source,
        "source_sha256": each.sha256,
        "recording": each.recording,
        "licence": "unspecified",
        # A name may be anything but valid text; JSON escapes it.
        "origin": {"layout": config.layout, "track": config.track, "split": each.split, "sequence": each.sequence},
        **Origin.attributes(each.origins),
    }
    return attributes | ({"time_base": "1/240"} if is_timed else {})
