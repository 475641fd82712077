"""What an import will make: sequences, the shards of each, and what must be known of every picture before."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed

from blursynth.errors import RefusedError, SettingsError
from blursynth.files import printable
from blursynth.layouts.images import PictureReader, size_of
from blursynth.layouts.pairs import Place, StoredPair
from blursynth.layouts.provenance import Origin, recording_key
from blursynth.make.shared import shard_stem
from blursynth.progress import Progress
from blursynth.recordings import recording_of
from blursynth.shards import CODECS, Codec, pairs_per_shard

__all__ = ["Batch", "ImportConfig", "Sequenced", "batches_of", "sequences_of"]

_MAX_ORIGIN_BYTES = 50_000  # of an attribute of a shard, which may have 60 000
_PAIRS_AT_ONCE = 8  # of a thread


@dataclass(frozen=True, slots=True)
class ImportConfig:
    """What decides the pairs of a folder, besides the pictures; stored in every shard."""

    layout: str
    track: str = ""
    codec: Codec = "raw"

    def __post_init__(self) -> None:
        if self.codec not in CODECS:
            raise SettingsError(f"codec {self.codec!r} is unknown; choose one of {', '.join(CODECS)}")

    def settings(self) -> dict[str, Any]:
        """Return the settings as plain values, for JSON."""
        return {name: printable(value) for name, value in asdict(self).items()}

    def sha256(self) -> str:
        """Return a hash of the settings."""
        return hashlib.sha256(json.dumps(["import", self.settings()], sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Sequenced:
    """A sequence of a side: its pairs with their origins and sizes, or why it cannot be used."""

    split: str
    sequence: str
    source: str
    """What it is called in the manifest."""
    recording: str
    sha256: str
    """Of the files of all pairs, in their order; not of their names."""
    pairs: tuple[StoredPair, ...]
    origins: tuple[Origin, ...]
    sizes: tuple[tuple[int, int], ...]
    """(height, width) of each pair."""
    error: str


@dataclass(frozen=True, slots=True)
class Batch:
    """The pairs of one shard, by their numbers in the sequence."""

    shard: str
    size: tuple[int, int]
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Looked:
    """What is known of a pair before it is imported."""

    sha256: tuple[str, str] = ("", "")
    size: tuple[int, int] = (0, 0)
    error: str = ""


def sequences_of(
    listed: Sequence[tuple[str, StoredPair]], config: ImportConfig, name: str, num_threads: int, progress: Progress
) -> list[Sequenced]:
    """Read every picture once, without decoding it, and put the pairs in their sequences.

    Parameters
    ----------
    listed
        Splits and pairs.
    name
        Of the data set, for pairs of which no sequence is known.

    Returns
    -------
    The sequences of all splits, sorted; one with a picture that cannot be used says so.
    """
    groups: dict[tuple[str, str], list[tuple[StoredPair, _Looked]]] = defaultdict(list)
    with PictureReader() as reader, progress.task("look", len(listed), "pairs") as advance:
        # Reading and hashing let other threads run.
        work = Parallel(n_jobs=num_threads, prefer="threads", return_as="generator", batch_size=_PAIRS_AT_ONCE)(
            delayed(_look)(reader, pair) for _, pair in listed
        )
        for (split, pair), looked in zip(listed, work, strict=True):
            groups[split, pair.sequence].append((pair, looked))
            advance(1, pair.sequence)
    return [_sequenced(key, group, config, name) for key, group in sorted(groups.items())]


def _look(reader: PictureReader, pair: StoredPair) -> _Looked:
    try:
        (blurry, blurry_size), (sharp, sharp_size) = (
            _hash_and_size(reader, place) for place in (pair.blurry, pair.sharp)
        )
    except RefusedError as error:
        return _Looked(error=str(error))
    if blurry_size != sharp_size:
        sizes = f"{blurry_size[1]}x{blurry_size[0]} px, its sharp twin {sharp_size[1]}x{sharp_size[0]}"
        return _Looked(error=f"{pair.blurry}: {sizes}; fetch the data set again")
    return _Looked((blurry, sharp), blurry_size)


def _hash_and_size(reader: PictureReader, place: Place) -> tuple[str, tuple[int, int]]:
    data = reader.read(place)
    return hashlib.sha256(data).hexdigest(), size_of(data, place)


def _sequenced(
    key: tuple[str, str], group: Sequence[tuple[StoredPair, _Looked]], config: ImportConfig, name: str
) -> Sequenced:
    split, sequence = key
    source = sequence or name
    recording = recording_key(source, split, recording_of(source))
    if config.layout == "reds":  # whose numbers begin anew on each side
        recording = f"REDS {split} {sequence}"
    return Sequenced(
        split=split,
        sequence=sequence,
        source=printable(source),
        recording=printable(recording),
        sha256=hashlib.sha256("".join(f"{' '.join(looked.sha256)}\n" for _, looked in group).encode()).hexdigest(),
        pairs=tuple(pair for pair, _ in group),
        origins=tuple(Origin(pair.name, pair.frame, *looked.sha256) for pair, looked in group),
        sizes=tuple(looked.size for _, looked in group),
        error=next((looked.error for _, looked in group if looked.error), ""),
    )


def batches_of(each: Sequenced, config: ImportConfig) -> Iterator[Batch]:
    """Yield the shards of a sequence; those of one size stand together, in the order of the pairs."""
    mark = json.dumps([each.sha256, each.split, each.sequence])
    stem = shard_stem(Path(each.source), mark, config.sha256())
    by_size: dict[tuple[int, int], list[int]] = defaultdict(list)
    for number, size in enumerate(each.sizes):
        by_size[size].append(number)
    count = 0
    for size, numbers in by_size.items():
        longest = max(each.origins[number].num_bytes for number in numbers)
        capacity = min(pairs_per_shard(*size), max(1, _MAX_ORIGIN_BYTES // longest))
        for start in range(0, len(numbers), capacity):
            yield Batch(f"{stem}-{count:05}.h5", size, tuple(numbers[start : start + capacity]))
            count += 1
