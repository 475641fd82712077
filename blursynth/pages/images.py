"""Pictures inside a page: made smaller, cut out, and encoded into the text."""

import base64
import io
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["busiest_window", "data_uri", "encode", "reduced"]

Format = Literal["JPEG", "PNG"]
_TYPES: dict[Format, str] = {"JPEG": "image/jpeg", "PNG": "image/png"}


def encode(image: NDArray[np.uint8], kind: Format = "JPEG", quality: int = 90) -> bytes:
    """Encode an (H, W, 3) or (H, W) uint8 image: PNG, or JPEG with its colours at full resolution."""
    buffer = io.BytesIO()
    if kind == "PNG":
        Image.fromarray(image).save(buffer, "PNG", compress_level=9)
    else:
        Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def data_uri(data: bytes, kind: Format = "JPEG") -> str:
    """Return encoded bytes as an address that holds the picture itself."""
    return f"data:{_TYPES[kind]};base64,{base64.b64encode(data).decode()}"


def reduced(image: NDArray[np.uint8], max_side_px: int) -> NDArray[np.uint8]:
    """Return an (H, W, 3) uint8 image whose longer side is ``max_side_px`` at most; for a look, not for measuring."""
    height, width = image.shape[:2]
    if max(height, width) <= max_side_px:
        return image
    share = max_side_px / max(height, width)
    size = max(1, round(width * share)), max(1, round(height * share))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


def busiest_window(before: NDArray[np.uint8], after: NDArray[np.uint8], side_px: int) -> tuple[slice, slice]:
    """Return the rows and columns, ``side_px`` of each at most, in which two (H, W, 3) uint8 images differ most."""
    height, width = before.shape[:2]
    rows, columns = min(height, side_px), min(width, side_px)
    difference = np.abs(before[..., 1].astype(np.int32) - after[..., 1]).astype(np.int64)
    sums = np.pad(difference, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    inside = sums[rows:, columns:] - sums[:-rows, columns:] - sums[rows:, :-columns] + sums[:-rows, :-columns]
    y, x = np.unravel_index(np.argmax(inside), inside.shape)
    return slice(int(y), int(y) + rows), slice(int(x), int(x) + columns)
