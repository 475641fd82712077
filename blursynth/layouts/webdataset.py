"""WebDataset: plain tars of ``KEY.blurry.png``, ``KEY.sharp.png`` and ``KEY.json``, a pair's files side by side.

A tar called ``train-000000.tar`` belongs to that side of a split; so do those in a folder ``train``.
"""

import json
import re
import tarfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from blursynth.errors import RefusedError
from blursynth.files import check_regular_file, printable
from blursynth.layouts.folders import BLURRY_NAMES, SHARP_NAMES
from blursynth.layouts.pairs import PICTURE_SUFFIXES, Place, StoredPair, sequence_and_frame, sides_of
from blursynth.recordings import SPLITS

__all__ = ["pairs", "sides", "title", "tracks"]

_SIDE = re.compile(rf"({'|'.join(SPLITS)})(?![A-Za-z0-9])")
_KINDS = {**dict.fromkeys(BLURRY_NAMES, "blurry"), **dict.fromkeys(SHARP_NAMES, "sharp")}
_LOOKED_AT = 16  # members that tell whether a tar is one of pairs
_MAX_JSON_BYTES = 1 << 16


def title(root: Path, track: str) -> str:
    """Return what the data set is called: as its folder, or tar."""
    del track
    return root.resolve().stem


def sides(root: Path) -> tuple[str, ...]:
    """Return the sides of the split that are there; none if this is no such tree."""
    return tuple(side for side, paths in _tars(root).items() if _is_of_pairs(paths[0]))


def tracks(root: Path, side: str) -> tuple[str, ...]:
    """Return that there is one track only."""
    del root, side
    return ("",)


def _tars(root: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for side, folder in sides_of(root).items() if root.is_dir() else [("", root)]:
        paths = sorted(folder.glob("*.tar")) if folder.is_dir() else [folder] if folder.suffix == ".tar" else []
        for path in paths:
            match = _SIDE.match(path.name)
            found.setdefault(side or (match[1] if match else ""), []).append(path)
    return dict(sorted(found.items()))


def _is_of_pairs(path: Path) -> bool:
    return any(kind in {"blurry", "sharp"} for _, kind, _ in islice(_members(path), _LOOKED_AT))


def pairs(root: Path, side: str, track: str) -> list[StoredPair]:
    """Return the pairs of all tars of a side.

    Raises
    ------
    RefusedError
        If a tar is damaged or compressed, a key has one picture only, or stands there twice.
    """
    del track
    found: dict[str, StoredPair] = {}
    for path in _tars(root)[side]:
        for key, parts in _samples(path).items():
            if len(parts.keys() & {"blurry", "sharp"}) == 1:
                only, other = ("blurry", "sharp") if "blurry" in parts else ("sharp", "blurry")
                raise RefusedError(f"{parts[only]}: no {other} twin in this tar; write the tar again")
            if key in found:
                raise RefusedError(f"{printable(path)}: {printable(key)} is in {found[key].blurry.path.name} too")
            if "blurry" in parts:
                sequence, frame = _told(parts.get("json")) or sequence_and_frame(key)
                found[key] = StoredPair(key, sequence, frame, parts["blurry"], parts["sharp"])
    return list(found.values())


def _samples(path: Path) -> dict[str, dict[str, Place]]:
    samples: dict[str, dict[str, Place]] = {}
    for key, kind, place in _members(path):
        if kind in samples.setdefault(key, {}):
            raise RefusedError(f"{place}: stands there twice; write the tar again")
        samples[key][kind] = place
    return samples


def _members(path: Path) -> Iterator[tuple[str, str, Place]]:
    """Yield key, kind (``blurry``, ``sharp``, ``json``) and place of what belongs to pairs; nothing is unpacked."""
    num_bytes = check_regular_file(path, RefusedError).st_size
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                folder, slash, last = member.name.rpartition("/")
                stem, _, ending = last.partition(".")
                word, _, suffix = ending.lower().rpartition(".")
                kind = "json" if ending.lower() == "json" else _KINDS.get(word, "")
                if not kind or member.issparse() or not member.isfile():
                    continue
                if kind != "json" and f".{suffix}" not in PICTURE_SUFFIXES:
                    continue
                if member.offset_data + member.size > num_bytes:
                    raise RefusedError(f"{printable(path)}: cut short; fetch it again")
                yield folder + slash + stem, kind, Place(path, member.name, member.offset_data, member.size)
    except (tarfile.TarError, OSError, ValueError) as error:
        raise RefusedError(
            f"{printable(path)}: not a plain tar, or damaged ({printable(str(error))}); unpack a .tar.gz first"
        ) from error


def _told(place: Place | None) -> tuple[str, str] | None:
    """Return the sequence and frame that a pair's JSON tells, None where it tells none."""
    if place is None or place.num_bytes > _MAX_JSON_BYTES:
        return None
    with place.path.open("rb") as file:
        file.seek(place.offset)
        try:
            values: Any = json.loads(file.read(place.num_bytes))
        except (ValueError, RecursionError):
            return None
    told = (values.get("sequence"), values.get("frame")) if isinstance(values, dict) else (None, None)
    return (told[0], told[1]) if isinstance(told[0], str) and isinstance(told[1], str) and told[1] else None
