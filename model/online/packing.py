"""Photographs in a single file, small enough to travel to a machine that trains.

A pack is a line that names the format, a line of JSON (the manifest: names, lengths and SHA-256 of the pictures, and
how they were made smaller), and the pictures' files one after the other. It holds nothing that could be run.
"""

import hashlib
import io
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from blursynth.crf import ResponseCurve
from blursynth.errors import PhotoError, SettingsError
from blursynth.files import check_regular_file, printable, write_bytes

from .photos import PhotoSet, photo_set, read_pixels

__all__ = ["MAX_BYTES", "PackResult", "is_pack", "load_pack", "pack_photos"]

MAX_BYTES = 45_000_000
_MAGIC = b"blursynth photographs 1\n"
_MAX_MANIFEST_BYTES = 16_000_000
_QUALITY, _LEAST_QUALITY = 85, 75
_FIRST_SIDE = 2048
_LEAST_SIDE = 256
_AIM = 0.98  # of the room there is, when a smaller size is guessed


@dataclass(frozen=True, slots=True)
class PackResult:
    """A pack: how many photographs and bytes, and the long side they were reduced to; None if they are as they were."""

    photos: int
    num_bytes: int
    long_side: int | None


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    num_bytes: int
    sha256: str


def pack_photos(
    paths: Sequence[Path], out: Path, *, max_bytes: int = MAX_BYTES, quality: int = _QUALITY, overwrite: bool = False
) -> PackResult:
    """Put photographs into one file.

    Their own files go in as they are, if there is room. If not, pictures are reduced to one long side, as long as there
    is room for, and stored as JPEG: a smaller picture is sharper, one of low quality would teach a network to draw
    blocks.

    Parameters
    ----------
    paths
        JPEG, PNG and what else `read_pixels` reads.
    out
        File to write.
    max_bytes
        How large it may be.
    quality
        Of JPEG, 75 to 100, where pictures are stored anew; from 90 on without halving the colour's resolution.

    Raises
    ------
    PhotoError
        If a photograph cannot be used.
    SettingsError
        If there are none, or they do not fit with 256 px a side.
    OutputError
        If the disk says no.
    """
    if not paths:
        raise SettingsError("no photographs were given to pack")
    if not _LEAST_QUALITY <= quality <= 100:
        raise SettingsError(f"quality {quality}: must be from {_LEAST_QUALITY} to 100")
    names = [printable(path.name) for path in paths]
    files = [_read(path) for path in paths]
    pack, side = _joined(names, files, None), None
    if len(pack) > max_bytes:
        pictures = [Image.fromarray(read_pixels(data, name)) for data, name in zip(files, names, strict=True)]
        side = min(_FIRST_SIDE, max(max(picture.size) for picture in pictures))
        pack = _joined(names, _reduced(pictures, side, quality), side)
        while len(pack) > max_bytes:
            side = int(side * math.sqrt(_AIM * max_bytes / len(pack)))
            if side < _LEAST_SIDE:
                raise SettingsError(f"{len(paths)} photographs do not fit into {max_bytes:,} bytes; pack fewer")
            pack = _joined(names, _reduced(pictures, side, quality), side)
    write_bytes(out, pack, overwrite=overwrite)
    return PackResult(len(paths), len(pack), side)


def _read(path: Path) -> bytes:
    check_regular_file(path, PhotoError)
    data = path.read_bytes()
    read_pixels(data, printable(path))
    return data


def _reduced(pictures: Sequence[Image.Image], side: int, quality: int) -> list[bytes]:
    return [_encoded(picture, side, quality) for picture in pictures]


def _encoded(picture: Image.Image, side: int, quality: int) -> bytes:
    longest = max(picture.size)
    if longest > side:
        width, height = (max(1, round(length * side / longest)) for length in picture.size)
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality, subsampling="4:4:4" if quality >= 90 else "4:2:0")
    return file.getvalue()


def _joined(names: Sequence[str], files: Sequence[bytes], side: int | None) -> bytes:
    entries = [
        _Entry(name, len(data), hashlib.sha256(data).hexdigest()) for name, data in zip(names, files, strict=True)
    ]
    manifest = {"long_side": side, "photos": [asdict(entry) for entry in entries]}
    return b"".join([_MAGIC, json.dumps(manifest).encode(), b"\n", *files])


def is_pack(path: Path) -> bool:
    """Return whether a file begins as packs do."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def load_pack(path: Path, curve: ResponseCurve | None = None) -> PhotoSet:
    """Read the photographs of a pack into host memory.

    Parameters
    ----------
    curve
        Their response curve, sRGB's if not given.

    Raises
    ------
    PhotoError
        If the file is no pack, or is not what its manifest says.
    """
    check_regular_file(path, PhotoError)
    data = path.read_bytes()
    try:
        return photo_set(_pictures(data), curve)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        if isinstance(error, (PhotoError, SettingsError)):
            raise
        raise PhotoError(f"{printable(path)}: not a pack of photographs, or damaged: {error}") from error


def _pictures(data: bytes) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    if not data.startswith(_MAGIC):
        raise ValueError("it does not begin as one")
    end = data.find(b"\n", len(_MAGIC), len(_MAGIC) + _MAX_MANIFEST_BYTES)
    if end < 0:
        raise ValueError("its manifest does not end")
    entries = [_entry(values) for values in json.loads(data[len(_MAGIC) : end])["photos"]]
    if not entries:
        raise ValueError("it holds no photographs")
    begin = end + 1
    if begin + sum(entry.num_bytes for entry in entries) != len(data):
        raise ValueError("it is shorter or longer than its manifest says")
    for entry in entries:
        part = data[begin : begin + entry.num_bytes]
        begin += entry.num_bytes
        if hashlib.sha256(part).hexdigest() != entry.sha256:
            raise ValueError(f"the SHA-256 of {printable(entry.name)} is wrong")
        yield entry.name, read_pixels(part, printable(entry.name))


def _entry(values: Any) -> _Entry:
    entry = _Entry(**values)
    if not (isinstance(entry.name, str) and type(entry.num_bytes) is int and isinstance(entry.sha256, str)):
        raise TypeError(f"{values} is no entry of a manifest")
    if entry.num_bytes < 1:
        raise ValueError(f"{printable(entry.name)} has {entry.num_bytes} bytes")
    return entry
