"""The pairs of a folder, and which of them train and which validate."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blursynth.errors import SettingsError, ShardError
from blursynth.files import printable
from blursynth.shards import Entry, Manifest

__all__ = ["PairSet", "read_pairs", "split_pairs"]


@dataclass(frozen=True, slots=True, eq=False)
class PairSet:
    """Pairs of a folder: shards and, for each pair, which shard and which row; both (N,) int64."""

    directory: Path
    entries: tuple[Entry, ...]
    shard_of: NDArray[np.int64]
    row_of: NDArray[np.int64]

    def __len__(self) -> int:
        return int(self.shard_of.size)

    @property
    def smallest_side(self) -> int:
        """The largest square that fits into every pair, in px."""
        used: list[int] = np.unique(self.shard_of).tolist()
        return min(min(self.entries[i].height, self.entries[i].width) for i in used)

    @property
    def sha256(self) -> str:
        """A hash of which pairs these are: of the bytes of their shards and the rows."""
        digest = hashlib.sha256()
        for shard, row in zip(self.shard_of.tolist(), self.row_of.tolist(), strict=True):
            digest.update(f"{self.entries[shard].sha256} {row}\n".encode())
        return digest.hexdigest()

    def size(self, pair: int) -> tuple[int, int]:
        """Return height and width of a pair, px."""
        entry = self.entries[self.shard_of[pair]]
        return entry.height, entry.width

    def select(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> "PairSet":
        """Return some of the pairs."""
        return PairSet(self.directory, self.entries, self.shard_of[chosen], self.row_of[chosen])

    @property
    def sources(self) -> tuple[str, ...]:
        """The clips they come from, by name."""
        return tuple(sorted({self.entries[i].source for i in np.unique(self.shard_of)}))


def read_pairs(directory: Path) -> PairSet:
    """List the pairs of a folder; every shard must be there, with its size and of its source.

    Raises
    ------
    ShardError
        If a shard is missing, cut short or another one, or the folder holds no pairs.
    """
    entries = tuple(Manifest.read(directory))
    if not entries:
        raise ShardError(f"{printable(directory)}: holds no pairs; run 'blursynth make' first")
    for entry in entries:
        with entry.opened(directory):
            pass
    counts = [entry.pairs for entry in entries]
    rows = np.concatenate([np.arange(count) for count in counts])
    return PairSet(directory, entries, np.repeat(np.arange(len(entries)), counts), rows)


def split_pairs(pairs: PairSet, fraction: float = 0.1) -> tuple[PairSet, PairSet]:
    """Set pairs aside for validation: whole recordings, never frames of one that trains.

    Where `make --split` has said which side each recording is on, that holds. Else each recording's side is drawn by
    its name alone, so that it keeps its side when others join; only where the draw would leave a side empty, the
    nearest one stands in. With a single recording, its last pairs validate; such a score is optimistic, since the scene
    is known.

    Parameters
    ----------
    fraction
        How much to set aside, of the recordings (on average) or, with one, of its pairs; in [0, 1). At least one,
        unless it is 0.

    Returns
    -------
    The pairs that train and those that validate.

    Raises
    ------
    SettingsError
        If nothing would be left to train with.
    """
    if not 0 <= fraction < 1:
        raise SettingsError(f"validation fraction {fraction}: must be 0 or more and less than 1")
    if any(entry.split for entry in pairs.entries):
        return _published_split(pairs, fraction)
    clips = sorted({_recording(entry) for entry in pairs.entries}, key=_draw)
    if fraction == 0:
        return pairs, pairs.select(np.zeros(len(pairs), np.bool_))
    if len(clips) == 1:
        count = max(1, round(fraction * len(pairs)))
        if count >= len(pairs):
            raise SettingsError(f"{printable(pairs.directory)}: {len(pairs)} pair(s) are too few to train and validate")
        is_validation = np.arange(len(pairs)) >= len(pairs) - count
    else:
        count = sum(_draw(clip) < fraction for clip in clips)
        held_out = set(clips[: min(max(1, count), len(clips) - 1)])
        by_shard = np.array([_recording(entry) in held_out for entry in pairs.entries])
        is_validation = by_shard[pairs.shard_of]
    return pairs.select(~is_validation), pairs.select(is_validation)


def _published_split(pairs: PairSet, fraction: float) -> tuple[PairSet, PairSet]:
    """Keep to the sides that `make --split` wrote; what is to test neither trains nor validates."""
    sides = np.array([entry.split or "train" for entry in pairs.entries])[pairs.shard_of]
    training, validation = pairs.select(sides == "train"), pairs.select(sides == "val")
    if not len(training):
        raise SettingsError(f"{printable(pairs.directory)}: none of its pairs are to train with")
    return training, validation if fraction else pairs.select(np.zeros(len(pairs), np.bool_))


def _recording(entry: Entry) -> str:
    return entry.recording or entry.source_sha256


def _draw(recording: str) -> float:
    return int(hashlib.sha256(f"{recording}/split".encode()).hexdigest(), 16) / 16**64
