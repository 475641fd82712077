"""What a photograph is in memory, and which formats there are for it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, cast

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = [
    "FORMAT_OF_SUFFIX",
    "PHOTO_SUFFIXES",
    "PNG_COLOUR",
    "JpegCoding",
    "Photo",
    "PhotoFormat",
    "Samples",
    "recolour",
]

PhotoFormat: TypeAlias = Literal["JPEG", "PNG", "TIFF", "WEBP", "BMP", "AVIF", "HEIF"]
Samples: TypeAlias = NDArray[np.uint8 | np.uint16]

FORMAT_OF_SUFFIX: dict[str, PhotoFormat] = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), "JPEG"),
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    ".png": "PNG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".avif": "AVIF",
    **dict.fromkeys((".heic", ".heif", ".hif"), "HEIF"),
}
PHOTO_SUFFIXES = frozenset(FORMAT_OF_SUFFIX)
PNG_COLOUR = {b"cHRM", b"cICP", b"cLLI", b"gAMA", b"mDCV", b"sRGB"}  # the chunks that say what colours the codes are


@dataclass(frozen=True, slots=True)
class JpegCoding:
    """How a JPEG was coded, in the words of Pillow's encoder: coding it again so loses little and keeps the size."""

    qtables: tuple[tuple[int, ...], ...]
    """Quantisation tables of the components, 64 numbers each, row by row."""
    subsampling: int
    """Of chroma: 0 is 4:4:4, 1 is 4:2:2, 2 is 4:2:0."""
    progressive: bool
    comment: bytes
    extra: bytes
    """The segments that hold IPTC: caption, keywords, credit."""


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """A photograph in memory, upright, with what is needed to write it back in kind."""

    pixels: Samples
    """(H, W, 3) uint8 or uint16, RGB display codes; the three are equal if ``is_grey``."""
    alpha: Samples | None
    """(H, W), dtype of ``pixels``, not premultiplied; None if there is no transparency."""
    format: PhotoFormat
    is_grey: bool = False
    is_lossless: bool = True
    """Whether the file was coded without loss."""
    exif: bytes | None = None
    """A TIFF structure (from "II*" or "MM" on); orientation 1, no thumbnail."""
    icc_profile: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    """Pixels per inch: horizontal, vertical."""
    jpeg: JpegCoding | None = None
    png_chunks: tuple[tuple[bytes, bytes], ...] = ()
    """(type, body) of the chunks with colour and text."""
    nclx: Mapping[str, Any] | None = None
    """What colours the codes of a HEIF are (H.273), in the words of pillow-heif."""

    def __post_init__(self) -> None:
        """Refuse arrays that are not what is said above, with a ValueError."""
        shape, dtype = self.pixels.shape, self.pixels.dtype
        if len(shape) != 3 or shape[2] != 3 or dtype not in {np.dtype(np.uint8), np.dtype(np.uint16)}:
            raise ValueError(f"pixels must be (H, W, 3) uint8 or uint16, not {shape} {dtype}")
        if self.alpha is not None and (self.alpha.shape, self.alpha.dtype) != (shape[:2], dtype):
            raise ValueError(f"alpha must be {shape[:2]} {dtype}, not {self.alpha.shape} {self.alpha.dtype}")

    def stripped(self) -> "Photo":
        """Return the photograph without EXIF, XMP, IPTC, comments and text, but with what its colours depend on."""
        jpeg = self.jpeg and replace(self.jpeg, comment=b"", extra=b"")
        colour = tuple(chunk for chunk in self.png_chunks if chunk[0] in PNG_COLOUR)
        return replace(self, exif=None, xmp=None, jpeg=jpeg, png_chunks=colour)


def recolour(samples: Samples, code: int) -> Samples:
    """Return the samples after one of OpenCV's conversions of colour, such as ``cv2.COLOR_BGR2RGB``."""
    return cast("Samples", cv2.cvtColor(samples, code))  # OpenCV's own types do not say that the depth stays
