"""Photographs held in memory, on the device that renders them; read with Pillow alone."""

import hashlib
import io
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from blursynth.crf import ResponseCurve, response_curve
from blursynth.errors import PhotoError, SettingsError
from blursynth.files import check_regular_file, printable

from .transfer import sent

__all__ = ["PHOTO_SUFFIXES", "SHAKE_ROOM_PX", "PhotoSet", "detail", "photo_set", "read_pixels", "read_set"]

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff")
_MODES = {"RGB", "L", "RGBA", "RGBX", "P", "1", "LA"}
_MAX_PIXELS = 150_000_000
_MIN_SIDE = 48
SHAKE_ROOM_PX = 16  # that a photograph must be larger than its crops
_BLOCK = 32
_BUSY_CODES = 6.0  # the mean gradient from which a block counts as full of detail
_LEAST_WEIGHT = 0.02


@dataclass(frozen=True, slots=True, eq=False)
class PhotoSet:
    """Photographs as 8-bit codes.

    Parameters
    ----------
    names
        For messages.
    sizes
        (height, width) of each.
    pixels
        (P, 3) uint8: the pixels of all photographs, row by row, one after the other.
    firsts
        (N,) int64: where each photograph begins.
    widths, heights
        (N,) int64.
    table
        (256,) float32: the linear light of the codes.
    weights
        How often each is chosen, relative to the others; more than 0.
    sha256
        Of names, sizes, pixels and response curve.
    curve
        Response curve of the photographs.
    """

    names: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    pixels: Tensor
    firsts: Tensor
    heights: Tensor
    widths: Tensor
    table: Tensor
    weights: tuple[float, ...]
    sha256: str
    curve: ResponseCurve

    def __len__(self) -> int:
        return len(self.names)

    @property
    def device(self) -> torch.device:
        """Where the pixels are."""
        return self.pixels.device

    def to(self, device: torch.device) -> "PhotoSet":
        """Return the set on a device."""
        names = ("pixels", "firsts", "heights", "widths", "table")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})

    def seen_through(self, curve: ResponseCurve) -> "PhotoSet":
        """Return the same codes as another response curve would have made them."""
        return replace(self, table=_light(curve).to(self.device), curve=curve)

    def select(self, chosen: Sequence[int]) -> "PhotoSet":
        """Return some of the photographs, to train with and to validate."""
        images = [(self.names[i], self.picture(i)) for i in chosen]
        return photo_set(images, self.curve).to(self.device)

    def picture(self, number: int) -> NDArray[np.uint8]:
        """Return one photograph, (H, W, 3) uint8."""
        first = int(self.firsts[number])
        height, width = self.sizes[number]
        return self.pixels[first : first + height * width].cpu().numpy().reshape(height, width, 3)

    def for_patch(self, patch: int) -> "PhotoSet":
        """Return the photographs that crops of ``patch`` px and a little shake fit into.

        Raises
        ------
        SettingsError
            If there are none.
        """
        chosen = [i for i, size in enumerate(self.sizes) if min(size) >= patch + SHAKE_ROOM_PX]
        if not chosen:
            raise SettingsError(f"patch {patch}: no photograph has {patch + SHAKE_ROOM_PX} px on each side")
        return self if len(chosen) == len(self) else self.select(chosen)

    def cut_out(self, photos: Sequence[int], rows: Tensor, columns: Tensor) -> Tensor:
        """Return parts of photographs; places outside show the nearest pixel.

        Parameters
        ----------
        photos
            Numbers of N photographs.
        rows, columns
            (N, H) and (N, W), whole numbers of any type.

        Returns
        -------
        (N, H, W, 3) uint8.
        """
        wanted = sent(torch.tensor(photos), self.device)
        heights, widths = self.heights[wanted][:, None], self.widths[wanted][:, None]
        zero = torch.zeros_like(heights)
        row, column = rows.long().clamp(zero, heights - 1), columns.long().clamp(zero, widths - 1)
        firsts = self.firsts[wanted][:, None] + row * widths
        return self.pixels[firsts[:, :, None] + column[:, None, :]]

    def linear(self, codes: Tensor) -> Tensor:
        """Turn uint8 codes into float32 linear light, any shape."""
        return self.table[codes.int()]


def photo_set(images: Iterable[tuple[str, NDArray[np.uint8]]], curve: ResponseCurve | None = None) -> PhotoSet:
    """Hold photographs in host memory.

    Parameters
    ----------
    images
        Names and (H, W, 3) uint8 codes.
    curve
        Their response curve, sRGB's if not given.

    Raises
    ------
    SettingsError
        If there are none.
    PhotoError
        If one is too small.
    """
    curve = curve or response_curve("srgb")
    digest = hashlib.sha256(f"{curve.name}\n".encode())
    names, sizes, weights, parts = [], [], [], []
    for name, pixels in images:
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
            raise PhotoError(f"{printable(name)}: {pixels.dtype} of {pixels.shape}: must be uint8 of (H, W, 3)")
        height, width = pixels.shape[:2]
        if min(height, width) < _MIN_SIDE:
            raise PhotoError(f"{printable(name)}: {width}x{height} px; a side needs {_MIN_SIDE} at least")
        digest.update(f"{name}\n{height}x{width}\n".encode())
        digest.update(np.ascontiguousarray(pixels).data)
        names.append(name)
        sizes.append((height, width))
        weights.append(max(_LEAST_WEIGHT, detail(pixels)))
        parts.append(torch.from_numpy(np.array(pixels)).reshape(-1, 3))
    if not names:
        raise SettingsError("no photographs were given")
    counts = torch.tensor([height * width for height, width in sizes])
    return PhotoSet(
        names=tuple(names),
        sizes=tuple(sizes),
        pixels=torch.cat(parts),
        firsts=counts.cumsum(0) - counts,
        heights=torch.tensor([height for height, _ in sizes]),
        widths=torch.tensor([width for _, width in sizes]),
        table=_light(curve),
        weights=tuple(weights),
        sha256=digest.hexdigest(),
        curve=curve,
    )


def _light(curve: ResponseCurve) -> Tensor:
    return torch.from_numpy(curve.linear_of_codes().astype(np.float32))


def read_set(paths: Sequence[Path], curve: ResponseCurve | None = None) -> PhotoSet:
    """Read photographs into host memory.

    Raises
    ------
    PhotoError
        If one cannot be used.
    """
    return photo_set(((printable(path.name), _read_file(path)) for path in paths), curve)


def _read_file(path: Path) -> NDArray[np.uint8]:
    check_regular_file(path, PhotoError)
    return read_pixels(path.read_bytes(), printable(path))


def read_pixels(data: bytes, name: str) -> NDArray[np.uint8]:
    """Decode a photograph of 8 bits, turned upright as its EXIF data say.

    Parameters
    ----------
    data
        A file that Pillow reads.
    name
        For messages.

    Returns
    -------
    (H, W, 3) uint8 RGB codes; transparency is dropped, colour profiles are not looked at.

    Raises
    ------
    PhotoError
        If it is damaged, too large, or has other colours or more bits.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow, about large pictures and odd EXIF data
            with Image.open(io.BytesIO(data)) as image:
                _check(image, name)
                return np.array((ImageOps.exif_transpose(image) or image).convert("RGB"))
    except PhotoError:
        raise
    except Exception as error:  # Pillow's decoders raise anything
        raise PhotoError(f"{name}: cannot be read as a photograph: {error}") from error


def _check(image: Image.Image, name: str) -> None:
    if image.width * image.height > _MAX_PIXELS:
        raise PhotoError(f"{name}: {image.width}x{image.height} px; at most {_MAX_PIXELS:,} can be trained on")
    if image.mode not in _MODES:
        raise PhotoError(f"{name}: pixels of kind {image.mode}; 8-bit grey or RGB is needed")


def detail(pixels: NDArray[np.uint8]) -> float:
    """Return how much there is to learn from: the mean over blocks of 32 by 32 pixels of how busy each is, 0 to 1.

    A block is busy by its mean gradient, up to 6 codes: dark, soft and flat ones count for little, and strong edges
    somewhere cannot make up for emptiness elsewhere.

    Parameters
    ----------
    pixels
        (H, W, 3) uint8, 32 px a side at least.
    """
    grey = pixels.astype(np.int32).sum(axis=2)  # whole numbers: the same on every machine
    gradient = np.abs(np.diff(grey, axis=0))[:, :-1] + np.abs(np.diff(grey, axis=1))[:-1]
    rows, columns = ((side - 1) // _BLOCK for side in grey.shape)
    blocks = gradient[: rows * _BLOCK, : columns * _BLOCK].reshape(rows, _BLOCK, columns, _BLOCK)
    mean_codes = blocks.sum(axis=(1, 3)) / (2 * 3 * _BLOCK**2)
    return float(np.minimum(mean_codes / _BUSY_CODES, 1).mean())
