"""What is kept of a frame: a reduced picture, a sparse grid of pixels and some tiles, both at full resolution."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from blursynth.errors import SettingsError

__all__ = ["View", "view"]

_REDUCED_PX = 400  # the reduced picture's long side is at most this, and mostly about 320
_SAMPLES = 183  # samples along the long side: every 7th pixel of 1280
_TILES = 16  # tiles along the long side
_TILE_PITCH_PX = 80
_TILE_PX = 32


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What is kept of one frame, about 240 KB; all codes are 8-bit luma.

    Parameters
    ----------
    size
        (height, width) of the frame in pixels.
    reduced
        (h, w) uint8: the frame made smaller by area.
    factor
        How many pixels of the frame lie along one of ``reduced``.
    samples
        (R, C) uint8: pixels of the frame on a square grid, about every 7th of 720p.
    tiles
        (rows * side, columns * side) uint8: square pieces of the frame, laid side by side.
    tile_px
        Side of a tile.
    """

    size: tuple[int, int]
    reduced: NDArray[np.uint8]
    factor: int
    samples: NDArray[np.uint8]
    tiles: NDArray[np.uint8]
    tile_px: int


def view(luma: NDArray[Any], peak: int = 255) -> View:
    """Keep what `step` and `worth` need of a frame.

    Parameters
    ----------
    luma
        (H, W) uint8 or uint16, luma codes; not held on to.
    peak
        Largest code: 255, or 1023 for 10 bits. Codes are brought to 8 bits by 255 / peak.

    Raises
    ------
    SettingsError
        If the plane is of another shape or type, or the peak does not fit it.
    """
    if luma.ndim != 2 or not luma.size or luma.dtype not in {np.dtype(np.uint8), np.dtype(np.uint16)}:
        raise SettingsError(f"luma of shape {luma.shape}, {luma.dtype}: must be (H, W), uint8 or uint16")
    if not 1 <= peak <= np.iinfo(luma.dtype).max:
        raise SettingsError(f"peak {peak}: must be from 1 to {np.iinfo(luma.dtype).max}, the largest {luma.dtype}")
    reduced, factor = _reduced(luma)
    # An odd pitch falls on every phase of the blocks that codecs divide frames into.
    pitch = round(max(luma.shape) / _SAMPLES) | 1
    top, left = (min(pitch // 2, side // 2) for side in luma.shape)  # of what is very flat, its middle line
    tiles, tile_px = _tiles(luma)
    return View(
        size=(luma.shape[0], luma.shape[1]),
        reduced=_to_8_bits(reduced, peak),
        factor=factor,
        samples=_to_8_bits(luma[top::pitch, left::pitch], peak),
        tiles=_to_8_bits(tiles, peak),
        tile_px=tile_px,
    )


def _reduced(luma: NDArray[Any]) -> tuple[NDArray[Any], int]:
    """Make a plane small, by halves and perhaps a third, which are fast; what is left over at the end is left out."""
    factor = 1
    while max(luma.shape) > _REDUCED_PX and min(luma.shape) >= _TILE_PX:
        # 1920 and 2048 would be too fine in quarters and too coarse in eighths.
        by = 3 if 2 * _REDUCED_PX < max(luma.shape) <= 3 * _REDUCED_PX else 2
        height, width = luma.shape[0] // by, luma.shape[1] // by
        luma = luma[: by * height, : by * width]
        if max(luma.shape) <= 3 * _REDUCED_PX:
            luma = cv2.blur(luma, (by, by))  # fine texture would turn into false coarse one, and move otherwise
        luma = cv2.resize(luma, (width, height), interpolation=cv2.INTER_AREA)
        factor *= by
    return luma, factor


def _tiles(luma: NDArray[Any]) -> tuple[NDArray[Any], int]:
    """Cut out the middle of every cell of a grid."""
    pitch = max(_TILE_PITCH_PX, max(luma.shape) // _TILES)
    rows, columns = max(1, luma.shape[0] // pitch), max(1, luma.shape[1] // pitch)
    cell_height, cell_width = luma.shape[0] // rows, luma.shape[1] // columns
    side = min(_TILE_PX, cell_height, cell_width)
    top, left = (cell_height - side) // 2, (cell_width - side) // 2
    cells = luma[: rows * cell_height, : columns * cell_width]
    tiles = np.empty((rows * side, columns * side), luma.dtype)
    for row in range(rows):
        strip = cells[row * cell_height + top : row * cell_height + top + side]
        inside = strip.reshape(side, columns, cell_width)[:, :, left : left + side]
        tiles[row * side : (row + 1) * side] = inside.reshape(side, columns * side)
    return tiles, side


def _to_8_bits(codes: NDArray[Any], peak: int) -> NDArray[np.uint8]:
    if codes.dtype == np.uint8 and peak == 255:
        return codes.copy()
    return np.asarray(np.rint(np.minimum(codes, peak) * np.float32(255 / peak)), np.uint8)
