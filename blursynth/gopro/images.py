"""Frames in, blurry images out; PNG files as they are."""

import struct
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from blursynth.crf import ResponseCurve
from blursynth.errors import PhotoError
from blursynth.files import check_regular_file, printable
from blursynth.photos.png import is_whole

__all__ = ["Image", "encode_png", "largest_difference", "linear_light_mean", "read_png", "rounded_mean"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MAX_PIXELS = 64_000_000  # those of GOPRO have one million

# (H, W, 3) in the order in which OpenCV decodes and encodes: nothing between the two looks at channels.
Image = NDArray[np.uint8]


def read_png(path: Path) -> Image:
    """Read an 8-bit colour PNG, without any conversion.

    Raises
    ------
    PhotoError
        If it is missing, cut short, damaged, or not of three channels of 8 bits.
    """
    check_regular_file(path, PhotoError)
    try:
        data = path.read_bytes()
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if _is_sound(data) else None
    except (OSError, cv2.error) as error:
        raise PhotoError(f"{printable(path)}: cannot be read: {error}") from error
    if pixels is None:
        raise PhotoError(f"{printable(path)}: damaged or no PNG; fetch it again")
    if pixels.dtype != np.uint8 or pixels.shape[2:] != (3,):
        raise PhotoError(f"{printable(path)}: {pixels.dtype} of shape {pixels.shape}, not 8-bit colour as in GOPRO")
    return pixels.astype(np.uint8, copy=False)


def _is_sound(data: bytes) -> bool:
    """Return whether the chunks of a PNG are all there and as they were written, and the image no larger than sane.

    OpenCV would tell too, but on stderr, past us.
    """
    if not is_whole(data):
        return False
    width, height = struct.unpack_from(">II", data, 16)
    return bool(0 < width * height <= _MAX_PIXELS)


def is_whole_png(path: Path) -> bool:
    """Return whether a regular file begins and ends as a PNG does; what we wrote, we wrote whole."""
    try:
        if path.is_symlink() or not path.is_file():
            return False
        data = path.read_bytes()
    except OSError:
        return False
    return data.startswith(_SIGNATURE) and data.endswith(b"IEND\xaeB`\x82")


def encode_png(image: Image) -> bytes:
    """Return the bytes of a PNG file."""
    _, data = cv2.imencode(".png", image)
    return data.tobytes()


def rounded_mean(frames: Sequence[Image]) -> Image:
    """Return the mean of the codes, rounded to the nearest; of an odd number of frames there are no ties.

    This is GOPRO's ``blur``, bit for bit, according to the map of ID-Blau.
    """
    total = np.zeros(frames[0].shape, np.uint32)
    for frame in frames:
        total += frame
    count = len(frames)
    return ((2 * total + count) // (2 * count)).astype(np.uint8)


def linear_light_mean(frames: Sequence[Image], curve: ResponseCurve) -> Image:
    """Return the mean in linear light as codes, rounded to the nearest (Nah et al., CVPR 2017, section 3)."""
    linear = curve.linear_of_codes()
    light = np.zeros(frames[0].shape)
    for frame in frames:
        light += linear[frame]
    return curve.from_linear(light / len(frames))


def largest_difference(ours: Image, theirs: Image) -> int:
    """Return by how many codes two images differ at most; 255 if their sizes differ."""
    return int(cv2.absdiff(ours, theirs).max()) if ours.shape == theirs.shape else 255
