"""What exported pairs are called: their own names where they were imported, else their source and frame number.

Shards may come from strangers: no name leads out of the folder, and no two pairs get the same one.
"""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blursynth.errors import RefusedError
from blursynth.files import printable
from blursynth.layouts.provenance import Origin
from blursynth.shards import Entry, Manifest, Shard

__all__ = ["NamedPair", "key_of", "name_pairs", "safe_name"]

_MAX_NAME_BYTES = 120
_MARK_BYTES = 9
_FORBIDDEN = frozenset('/\\:*?"<>|')
_NOT_IN_KEYS = re.compile(r"[^A-Za-z0-9_-]")


@dataclass(frozen=True, slots=True)
class NamedPair:
    """A pair of a shard and what it is called; ``sequence``, ``frame`` and ``flat`` are parts of paths as they are."""

    shard: str
    index: int
    size: tuple[int, int]
    split: str
    sequence: str
    frame: str
    flat: str
    """Its name where all pairs of a side stand in one folder."""
    track: str
    """Of the data set that it was imported from; empty otherwise."""


def safe_name(text: str) -> str:
    """Return a text as one part of a path: as it is if it is harmless, else cleaned, with a mark of what it was."""
    cleaned = "".join("_" if c in _FORBIDDEN or not c.isprintable() else c for c in text).strip(" ").lstrip(".")
    if cleaned == text and 0 < len(text.encode()) <= _MAX_NAME_BYTES:
        return text
    while len(cleaned.encode()) > _MAX_NAME_BYTES - _MARK_BYTES:
        cleaned = cleaned[:-1]
    return _marked(cleaned, text)


def key_of(name: str) -> str:
    """Return a name as a key of BasicSR and WebDataset, which end at the first dot: ASCII letters, digits, - and _."""
    cleaned = _NOT_IN_KEYS.sub("_", name)
    return name if cleaned == name else _marked(cleaned, name)


def _marked(cleaned: str, text: str) -> str:
    return f"{cleaned or 'pair'}-{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def name_pairs(directory: Path, *, digits: int = 6) -> list[NamedPair]:
    """Name the pairs of a folder of shards.

    Parameters
    ----------
    digits
        Of frame numbers at least.

    Returns
    -------
    By side, sequence and frame.

    Raises
    ------
    RefusedError
        If a shard is missing or damaged, or there are no pairs.
    """
    groups: dict[tuple[str, str], dict[str, list[NamedPair]]] = defaultdict(lambda: defaultdict(list))
    for entry in Manifest.read(directory):
        with entry.opened(directory) as shard:
            found = _of_shard(shard, entry)
        groups[entry.split, found[0].sequence][entry.source_sha256] += found
    if not groups:
        raise RefusedError(f"{printable(directory)}: holds no pairs")
    return sorted(_all_different(_numbered(groups, digits)), key=lambda pair: (pair.split, pair.sequence, pair.frame))


def _of_shard(shard: Shard, entry: Entry) -> list[NamedPair]:
    origins, told = Origin.of_shard(shard), _told(shard)
    sequence = safe_name(told.get("sequence", "").replace("/", "-") or Path(entry.source).stem)
    common = NamedPair(entry.shard, 0, shard.size, entry.split, sequence, "", "", told.get("track", ""))
    if origins is None:
        rows = shard.rows()
        return [replace(common, index=index, frame=_numbers(rows[index])) for index in range(len(shard))]
    return [
        replace(common, index=index, frame=safe_name(origin.frame), flat=safe_name(origin.name.replace("/", "-")))
        for index, origin in enumerate(origins)
    ]


def _told(shard: Shard) -> dict[str, str]:
    """Return what an imported shard says of its origin; nothing of others, and nothing that is no text."""
    try:
        values: Any = json.loads(shard.attributes.get("origin", "{}"))
    except (TypeError, ValueError, RecursionError):
        return {}
    return {name: value for name, value in values.items() if isinstance(value, str)} if isinstance(values, dict) else {}


def _numbers(row: NDArray[Any] | np.void) -> str:
    """Return the centre frame and the number of a pair that was made, for `_numbered` to choose from."""
    return f"{int(row['centre_frame'])} {int(row['number'])}"


def _numbered(groups: dict[tuple[str, str], dict[str, list[NamedPair]]], digits: int) -> Iterator[NamedPair]:
    """Give pairs that were made their frame numbers, and sources of one name their marks."""
    for sources in groups.values():
        for sha256, pairs in sorted(sources.items()):
            mark = f"-{sha256[:8]}" if len(sources) > 1 else ""
            frames = _frames(pairs, digits) if not pairs[0].flat else [pair.frame for pair in pairs]
            for pair, frame in zip(pairs, frames, strict=True):
                sequence = f"{pair.sequence}{mark}"
                yield replace(pair, sequence=sequence, frame=frame, flat=pair.flat or f"{sequence}-{frame}")


def _frames(pairs: Sequence[NamedPair], digits: int) -> list[str]:
    """Return the numbers of the centre frames; where two pairs share one, of the pairs, or else of their places."""
    columns = zip(*(map(int, pair.frame.split()) for pair in pairs), strict=True)
    for numbers in (*columns, range(len(pairs))):
        if len(set(numbers)) == len(pairs) and min(numbers) >= 0:
            return [f"{number:0{digits}}" for number in numbers]
    raise AssertionError  # places are always different


def _all_different(pairs: Iterator[NamedPair]) -> Iterator[NamedPair]:
    """Number the names that would be the same, on file systems too that do not tell a from A."""
    taken: set[tuple[str, ...]] = set()

    def free(name: str, *where: str) -> str:
        count, found = 1, name
        while (*where, found.casefold()) in taken:
            count += 1
            found = f"{name}-{count}"
        taken.add((*where, found.casefold()))
        return found

    for pair in pairs:
        frame = free(pair.frame, "frame", pair.split, pair.sequence.casefold())
        yield replace(pair, frame=frame, flat=free(pair.flat, "flat", pair.split))
