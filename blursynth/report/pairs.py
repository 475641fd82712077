"""The pairs of a folder, as the tables of its shards tell of them: all of them, or a sample that is large enough."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blursynth.keys import hashed
from blursynth.progress import SILENT, Progress
from blursynth.shards import PAIR_DTYPE, Entry

__all__ = ["PairTable", "read_pairs"]

_MAX_ROWS = 200_000
_MAX_SHARDS = 2_000


@dataclass(frozen=True, slots=True, eq=False)
class PairTable:
    """Rows of pairs and where they stand.

    Parameters
    ----------
    directory
        Of the shards.
    entries
        The shards that were read, by name.
    rows
        (N,) PAIR_DTYPE.
    entry_of, index_of
        (N,): which of the entries a pair is in, and its number there.
    num_pairs
        In the folder, read or not.
    attributes
        Of the first shard.
    """

    directory: Path
    entries: tuple[Entry, ...]
    rows: NDArray[Any]
    entry_of: NDArray[np.int64]
    index_of: NDArray[np.int64]
    num_pairs: int
    attributes: dict[str, Any]

    @property
    def is_whole(self) -> bool:
        """Whether every pair of the folder is in it."""
        return self.rows.size == self.num_pairs

    def entry(self, number: int) -> Entry:
        """Return the shard of a pair."""
        return self.entries[int(self.entry_of[number])]

    def images(self, number: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Read the blurry and the sharp image of a pair, (H, W, 3) uint8 each."""
        with self.entry(number).opened(self.directory) as shard:
            return shard.pair(int(self.index_of[number]))


def read_pairs(directory: Path, entries: Sequence[Entry], *, progress: Progress = SILENT) -> PairTable:
    """Read the tables of pairs, no pixels: of all shards, or of as many as give 200 000 pairs.

    Which shards are left out of a large folder follows from their names alone.

    Raises
    ------
    ShardError
        If a shard is not there, or not what the manifest says.
    """
    chosen = _chosen(entries)
    rows, entry_of, index_of = [], [], []
    attributes: dict[str, Any] = {}
    with progress.task("read", len(chosen), "shards") as advance:
        for number, entry in enumerate(chosen):
            with entry.opened(directory) as shard:
                found = shard.rows()
                attributes = attributes or shard.attributes
            index = np.arange(0, found.size, max(1, -(-found.size // _MAX_ROWS)))
            rows.append(found[index])
            entry_of.append(np.full(index.size, number))
            index_of.append(index)
            advance(1, entry.shard)
    return PairTable(
        directory=directory,
        entries=tuple(chosen),
        rows=np.concatenate(rows) if rows else np.empty(0, PAIR_DTYPE),
        entry_of=np.concatenate(entry_of) if rows else np.empty(0, np.int64),
        index_of=np.concatenate(index_of) if rows else np.empty(0, np.int64),
        num_pairs=sum(entry.pairs for entry in entries),
        attributes=attributes,
    )


def _chosen(entries: Sequence[Entry]) -> list[Entry]:
    """Return all entries, or a share of them that is spread over the folder by chance, in their order."""
    chosen: list[Entry] = []
    num_rows = 0
    for entry in sorted(entries, key=lambda entry: hashed(entry.shard)):
        if len(chosen) == _MAX_SHARDS or (chosen and num_rows + entry.pairs > _MAX_ROWS):
            break
        chosen.append(entry)
        num_rows += entry.pairs
    return sorted(chosen, key=lambda entry: entry.shard)
