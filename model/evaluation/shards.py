"""Shards as a data set to score: under the name, split and track of what they were imported from, if they were."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blursynth.errors import RefusedError, SettingsError
from blursynth.files import printable
from blursynth.layouts.provenance import Origin
from blursynth.shards import Entry, Manifest, Shard

__all__ = ["ShardPairSource", "ShardSet", "read_shard_set"]

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class ShardPairSource:
    """A pair of a shard."""

    name: str
    sequence: str
    shard: Path
    index: int

    def read(self) -> tuple[Image, Image]:
        """Read the pair; the shard is closed again."""
        with Shard(self.shard) as shard:
            return shard.pair(self.index)


@dataclass(frozen=True, slots=True)
class ShardSet:
    """Pairs of shards. ``layout`` and ``track`` are those of the data set that all were imported from, or empty."""

    pairs: tuple[ShardPairSource, ...]
    split: str
    layout: str
    track: str


def read_shard_set(path: Path, split: str | None) -> ShardSet:
    """Find the pairs of a folder of shards, or of one shard; see `open_data_set` for ``split`` and what is raised."""
    pairs: list[ShardPairSource] = []
    origins = []
    split, found = _opened(path, split)
    for shard, sequence in found:
        with shard:
            file = shard.path
            layout, track, of_origin = _origin(shard)
            names = Origin.of_shard(shard)
            origins.append((layout, track))
            pairs += [
                ShardPairSource(names[i].name if names else f"{file.stem}/{i}", of_origin or sequence, file, i)
                for i in range(len(shard))
            ]
    if not pairs:
        raise RefusedError(f"{printable(path)}: its manifest lists no pairs")
    if len({pair.name for pair in pairs}) < len(pairs):  # the names inside shards are nobody's promise
        pairs = [replace(pair, name=f"{pair.shard.stem}/{pair.index}") for pair in pairs]
    tracks = sorted({track for _, track in origins} - {""})
    if len(tracks) > 1:
        names_of = " and ".join(map(printable, tracks))
        raise SettingsError(f"{printable(path)}: holds pairs of the tracks {names_of}; import them into two folders")
    layouts = {layout for layout, _ in origins}
    return ShardSet(tuple(pairs), split, layouts.pop() if len(layouts) == 1 else "", tracks[0] if tracks else "")


def _opened(path: Path, split: str | None) -> tuple[str, Iterator[tuple[Shard, str]]]:
    """Return the split, and each shard with what it was cut from; those of a folder must be what its manifest says."""
    if path.suffix.lower() == ".h5":
        return "", iter([(Shard(path), "")])
    entries, split = _entries_of_split(path, list(Manifest.read(path)), split)
    return split, ((entry.opened(path), entry.recording or entry.source) for entry in entries)


def _origin(shard: Shard) -> tuple[str, str, str]:
    """Return layout, track and sequence that a shard was imported from; empty if it was not."""
    try:
        origin = json.loads(shard.attributes["origin"])
        found = tuple(origin[name] for name in ("layout", "track", "sequence"))
    except (KeyError, TypeError, ValueError, RecursionError):
        return "", "", ""
    is_text = all(isinstance(text, str) and len(text) < 1000 for text in found)
    return (found[0], found[1], found[2]) if is_text else ("", "", "")


def _entries_of_split(path: Path, entries: Sequence[Entry], split: str | None) -> tuple[list[Entry], str]:
    splits = sorted({entry.split for entry in entries} - {""})
    if not splits and not split:
        return list(entries), ""
    wanted = split or "test"
    chosen = [entry for entry in entries if entry.split == wanted]
    if not chosen:
        there = f"it has {', '.join(splits)}: choose with --split" if splits else "its shards have no splits"
        raise SettingsError(f"{printable(path)}: no pairs of split {wanted!r}; {there}")
    return chosen, wanted
