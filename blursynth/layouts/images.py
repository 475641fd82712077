"""Encoded pictures: their bytes, what their headers say, their pixels."""

import os
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from blursynth.errors import PhotoError
from blursynth.files import printable
from blursynth.layouts.basicsr import DATA_NAME, lmdb_library
from blursynth.layouts.pairs import Place
from blursynth.photos.jpeg import is_whole_jpeg
from blursynth.photos.png import is_whole

__all__ = ["PNG_LEVEL", "PictureReader", "decode", "encode_png", "size_of"]

Image = NDArray[np.uint8]

_MAX_BYTES = 1 << 29
_MAX_PIXELS = 1 << 28
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_RGB = (8, 2)
_JPEG_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_JPEG_START_OF_SCAN = 0xDA
PNG_LEVEL = 1
# Of what OpenCV offers, this is nearly the fastest to write and to read (720p), and 13 % smaller than its default.
_PNG_OPTIONS = (
    (cv2.IMWRITE_PNG_COMPRESSION, PNG_LEVEL, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FAST_FILTERS)
    if hasattr(cv2, "IMWRITE_PNG_FILTER")
    else (cv2.IMWRITE_PNG_COMPRESSION, PNG_LEVEL)
)
_AS_STORED = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION


class PictureReader:
    """Reads the bytes of pictures wherever they are; keeps LMDB folders open. Threads may share it, processes not."""

    def __init__(self) -> None:
        self._folders: dict[Path, Any] = {}
        self._opening = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._folders:
            self._folders.popitem()[1].close()

    def read(self, place: Place) -> bytes:
        """Return the bytes of a picture.

        Raises
        ------
        PhotoError
            If they are not there or far too many.
        """
        try:
            data = self._value(place) if place.key and place.num_bytes < 0 else _file_part(place)
        except OSError as error:
            raise PhotoError(f"{place}: cannot be read: {error.strerror or error}") from error
        if len(data) > _MAX_BYTES:
            raise PhotoError(f"{place}: larger than any picture of a pair")
        return data

    def _value(self, place: Place) -> bytes:
        library = lmdb_library()
        try:
            with self._opening:
                if place.path not in self._folders:
                    self._folders[place.path] = library.open(
                        str(place.path / DATA_NAME), subdir=False, readonly=True, lock=False, readahead=False
                    )
            with self._folders[place.path].begin() as transaction:
                value = transaction.get(os.fsencode(place.key))
        except library.Error as error:
            raise PhotoError(f"{place}: {printable(str(error))}; write the folder again") from error
        if value is None:
            raise PhotoError(f"{place}: listed, but not in {DATA_NAME}; write the folder again")
        return bytes(value)


def _file_part(place: Place) -> bytes:
    descriptor = os.open(place.path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe could block for ever
    with open(descriptor, "rb") as file:  # noqa: PTH123  # of a descriptor
        file.seek(place.offset)
        data = file.read(min(place.num_bytes, _MAX_BYTES + 1) if place.num_bytes >= 0 else _MAX_BYTES + 1)
    if 0 <= len(data) < place.num_bytes:
        raise PhotoError(f"{place}: cut short")
    return data


def size_of(data: bytes, name: object) -> tuple[int, int]:
    """Return (height, width) of a whole PNG or JPEG of three channels of 8 bits, by its header.

    Parameters
    ----------
    data
        All bytes of the file.
    name
        For messages.

    Raises
    ------
    PhotoError
        If it is none: another format, cut short, 16 bits, grey, a palette, transparency, CMYK.
    """
    read: Callable[[bytes], tuple[int, int, str]] | None = None
    if data.startswith(_PNG):
        read = _png_header
    elif data.startswith(b"\xff\xd8\xff"):
        read = _jpeg_header
    if read is None:
        raise PhotoError(f"{name}: {'no PNG or JPEG' if data else 'empty file'}; pairs are 8-bit RGB PNG or JPEG")
    try:
        height, width, fault = read(data)
    except (struct.error, IndexError) as error:
        raise PhotoError(f"{name}: damaged or cut short; fetch it again") from error
    if fault:
        raise PhotoError(f"{name}: {fault}")
    if not 0 < height * width <= _MAX_PIXELS:
        raise PhotoError(f"{name}: {width}x{height} px are more than a picture of a pair has")
    return height, width


def _png_header(data: bytes) -> tuple[int, int, str]:
    width, height, depth, colour = struct.unpack_from(">IIBB", data, 16)
    if not is_whole(data):  # OpenCV would tell too, but on stderr, past us
        return height, width, "damaged or cut short; fetch it again"
    if (depth, colour) == _PNG_RGB and data.find(b"tRNS", 33, data.find(b"IDAT", 33)) >= 0:  # not in all the pixels
        return height, width, "RGB with a transparent colour; pairs are 8-bit RGB: convert it first"
    if (depth, colour) != _PNG_RGB:
        kind = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGB with alpha"}.get(colour, "unknown")
        return height, width, f"{depth}-bit {kind}; pairs are 8-bit RGB: convert it first"
    return height, width, ""


def _jpeg_header(data: bytes) -> tuple[int, int, str]:
    position, height, width, fault = 2, 0, 0, "no frame in it; fetch it again"
    while data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # padding
            position += 1
            continue
        (length,) = struct.unpack_from(">H", data, position + 2)
        if marker in _JPEG_FRAMES:
            depth, height, width, channels = struct.unpack_from(">BHHB", data, position + 4)
            fault = "" if (depth, channels) == (8, 3) else f"{depth}-bit of {channels} channels; pairs are 8-bit RGB"
        if marker == _JPEG_START_OF_SCAN:
            is_whole = data.find(b"\xff\xd9", position) >= 0
            return height, width, fault if is_whole else "cut short; fetch it again"
        position += 2 + length
    raise IndexError


def decode(data: bytes, name: object) -> Image:
    """Return the pixels of a PNG or JPEG: (H, W, 3) uint8 R'G'B', as stored, no orientation or profile applied.

    Raises
    ------
    PhotoError
        If it cannot be decoded, or not to three channels of 8 bits.
    """
    size = size_of(data, name)
    if not data.startswith(_PNG) and not is_whole_jpeg(data):  # OpenCV would complain on stderr, past us, and go on
        raise PhotoError(f"{name}: damaged: its scan breaks off or makes no sense; fetch it again")
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), _AS_STORED)
    except cv2.error as error:
        raise PhotoError(f"{name}: cannot be decoded: {printable(str(error).splitlines()[0])}") from error
    if pixels is None:
        raise PhotoError(f"{name}: damaged; fetch it again")
    if pixels.dtype != np.uint8 or pixels.shape != (*size, 3):
        raise PhotoError(f"{name}: {pixels.dtype} of shape {pixels.shape}; pairs are 8-bit RGB: convert it first")
    return pixels.astype(np.uint8, copy=False)


def encode_png(image: Image) -> bytes:
    """Return an image, (H, W, 3) uint8 R'G'B', as a PNG file."""
    _, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), _PNG_OPTIONS)
    return data.tobytes()
