"""An exposure bracket: photographs and how long each was exposed, read from their files."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ExifTags import IFD, Base

from blursynth.errors import PhotoError, SettingsError
from blursynth.files import printable
from blursynth.photos import read_photo

__all__ = ["Bracket", "parse_exposure", "read_bracket"]

_MAX_IMAGES = 32
_MAX_PIXELS = 100_000_000  # of all photographs together, so that they fit into memory


@dataclass(frozen=True, slots=True, eq=False)
class Bracket:
    """Photographs of one scene at several exposure times."""

    names: tuple[str, ...]
    images: tuple[NDArray[np.uint8], ...]
    """Each (H, W, 3) RGB display codes."""
    exposure_seconds: tuple[float, ...]


def parse_exposure(text: str) -> float:
    """Read an exposure time in seconds, written ``1/250`` or ``0.004``.

    Raises
    ------
    SettingsError
        If it is not a positive number.
    """
    try:
        if not re.fullmatch(r"\s*[0-9]{0,9}([.][0-9]{0,12})?(/[0-9]{1,9})?\s*", text):
            raise ValueError("not a plain number")  # an exponent could ask for a billion digits
        over, _, under = text.strip().partition("/")
        seconds = float(Fraction(over) / Fraction(under or 1))
    except (ValueError, ZeroDivisionError) as error:
        raise SettingsError(f"exposure time {text!r}: write seconds, such as 1/250 or 0.004") from error
    if not seconds > 0:
        raise SettingsError(f"exposure time {text!r}: it must be more than nought")
    return seconds


def read_bracket(paths: Sequence[Path], exposure_seconds: Sequence[float] | None = None) -> Bracket:
    """Read photographs of 8 bits and their exposure times.

    Parameters
    ----------
    paths
        Of the photographs.
    exposure_seconds
        Of each, in the same order; None takes them from EXIF, which must then show the same aperture and sensitivity
        everywhere.

    Raises
    ------
    SettingsError
        If the number of exposure times is not that of the photographs, or there are too many photographs.
    PhotoError
        If a photograph cannot be read, has 16 bits, or its EXIF does not say what is needed.
    """
    names = tuple(printable(path) for path in paths)
    if exposure_seconds is not None and len(exposure_seconds) != len(paths):
        raise SettingsError(f"{len(paths)} photographs, but {len(exposure_seconds)} exposure times; give one for each")
    if len(paths) > _MAX_IMAGES:
        raise SettingsError(f"{len(paths)} photographs; {_MAX_IMAGES} are the most, and five to nine are enough")
    images, exposures = [], []
    for path, name in zip(paths, names, strict=True):
        photo = read_photo(path, max_pixels=_MAX_PIXELS)
        if photo.pixels.dtype != np.uint8:
            raise PhotoError(f"{name}: 16 bits; the curve is that of 8-bit pictures, as the camera writes JPEG")
        images.append(_part(photo.pixels.astype(np.uint8, copy=False), len(paths)))
        if exposure_seconds is None:
            exposures.append(_Exposure.of(photo.exif, name))
    if exposure_seconds is None:
        _check_alike(exposures)
        exposure_seconds = [exposure.seconds for exposure in exposures]
    return Bracket(names, tuple(images), tuple(exposure_seconds))


def _part(pixels: NDArray[np.uint8], num_images: int) -> NDArray[np.uint8]:
    """Return the middle of a picture of which as many as there are would fill the memory."""
    height, width = pixels.shape[:2]
    share = min(1.0, math.sqrt(_MAX_PIXELS / (num_images * height * width)))
    if share == 1.0:
        return pixels
    top, left = int(height * (1 - share) / 2), int(width * (1 - share) / 2)
    return pixels[top : height - top, left : width - left].copy()


@dataclass(frozen=True, slots=True)
class _Exposure:
    name: str
    seconds: float
    f_number: float | None
    sensitivity: float | None

    @classmethod
    def of(cls, exif: bytes | None, name: str) -> "_Exposure":
        tags = Image.Exif()
        tags.load(exif or b"")
        inner = tags.get_ifd(IFD.Exif)
        seconds = _number(inner.get(Base.ExposureTime))
        if seconds is None or not seconds > 0:
            raise PhotoError(f"{name}: its EXIF has no exposure time; give them all with --exposures")
        return cls(name, seconds, _number(inner.get(Base.FNumber)), _number(inner.get(Base.ISOSpeedRatings)))


def _number(value: object) -> float | None:
    """Read an EXIF value; what is damaged or 0/0 counts as absent."""
    if isinstance(value, tuple) and value:
        value = value[0]
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) else None


def _check_alike(exposures: Sequence[_Exposure]) -> None:
    first = exposures[0]
    for other in exposures[1:]:
        for what, one, two in (
            ("aperture", first.f_number, other.f_number),
            ("ISO", first.sensitivity, other.sensitivity),
        ):
            if one != two:
                raise PhotoError(
                    f"{other.name}: {what} {two}, but {one} in {first.name}; only the exposure time may change, "
                    "or give times of the same effect with --exposures"
                )
