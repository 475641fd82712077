"""Cutting a photograph into tiles that overlap, and joining what becomes of them so that no seam shows."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Band", "TileGrid", "join_tiles"]


@dataclass(frozen=True, slots=True)
class TileGrid:
    """Where the tiles of a photograph lie.

    Tiles begin on multiples of what the network divides its images by, so that it sees the same squares as in the whole
    photograph. They are as small as their number allows; the last of a row or column may be smaller than the others.

    Parameters
    ----------
    height, width
        Of the photograph, in px.
    side
        The largest side of a tile, in px.
    overlap
        What two neighbours share, in px. They blend in the middle third of it: nearer to its border, a tile lacks what
        the network would see beyond.
    multiple
        What the network divides its images by, in px.
    """

    height: int
    width: int
    side: int
    overlap: int
    multiple: int

    @property
    def rows(self) -> list[tuple[int, int]]:
        """Where the tiles begin and stop from top to bottom."""
        return _spans(self.height, self.side, self.overlap, self.multiple)

    @property
    def columns(self) -> list[tuple[int, int]]:
        """Where the tiles begin and stop from left to right."""
        return _spans(self.width, self.side, self.overlap, self.multiple)

    @property
    def num_tiles(self) -> int:
        """How many tiles there are."""
        return len(self.rows) * len(self.columns)


@dataclass(frozen=True, slots=True, eq=False)
class Band:
    """Finished rows of a joined photograph.

    ``unit`` is (n, W, 3) float32 in [0, 1], on the CPU and nobody else's; its first row is row ``top``.
    """

    top: int
    unit: Tensor


def join_tiles(pixels: NDArray[Any], grid: TileGrid, restore_tile: Callable[[NDArray[Any]], Tensor]) -> Iterator[Band]:
    """Restore a photograph tile by tile; memory holds one row of tiles.

    Parameters
    ----------
    pixels
        (H, W, 3), as ``grid`` was told. Rows that have been given out are not looked at again: they may be overwritten.
    grid
        Where the tiles lie.
    restore_tile
        Takes a view of ``pixels``, (h, w, 3), and returns (h, w, 3) float32 in [0, 1], on the CPU.

    Yields
    ------
    Bands from top to bottom that together are the whole photograph.
    """
    rows, columns = grid.rows, grid.columns
    if len(rows) == len(columns) == 1:
        yield Band(0, restore_tile(pixels))
        return
    carried = torch.zeros(0, grid.width, 3)  # the lower part of the tiles above, weighted
    for i, (top, bottom) in enumerate(rows):
        joined = torch.zeros(bottom - top, grid.width, 3)
        joined[: len(carried)] = carried
        down = _weights(rows, i, grid.overlap)
        for j, (left, right) in enumerate(columns):
            weights = down[:, None, None] * _weights(columns, j, grid.overlap)[:, None]
            joined[:, left:right].addcmul_(restore_tile(pixels[top:bottom, left:right]), weights)
        finished = rows[i + 1][0] - top if i + 1 < len(rows) else bottom - top
        carried = joined[finished:].clone()
        yield Band(top, joined[:finished])


def _spans(length: int, side: int, overlap: int, multiple: int) -> list[tuple[int, int]]:
    """Return where the tiles along one side begin and stop: as few as reach, and then as short as that number allows.

    Since a longest step is a multiple too, the last tile is longer than what it shares with the one before.
    """
    if length <= side:
        return [(0, length)]
    longest_step = (side - overlap) // multiple * multiple
    count = -(-(length - overlap) // longest_step)
    step = -(-(length - overlap) // (count * multiple)) * multiple
    return [(i * step, min(i * step + step + overlap, length)) for i in range(count)]


def _weights(spans: list[tuple[int, int]], index: int, overlap: int) -> Tensor:
    """Return the weights of a tile along one side, (length,); those of all tiles add up to one everywhere."""
    start, stop = spans[index]
    weights = torch.ones(stop - start)
    rise = _rise(overlap)
    if index > 0:
        weights[:overlap] = rise
    if index + 1 < len(spans):
        weights[stop - start - overlap :] = 1 - rise
    return weights


def _rise(overlap: int) -> Tensor:
    """Return a smooth way from 0 to 1, half a cosine over the middle third."""
    third = overlap // 3
    middle = overlap - 2 * third
    ramp = 0.5 - 0.5 * torch.cos(torch.pi * (torch.arange(middle, dtype=torch.float64) + 0.5) / max(middle, 1))
    return torch.cat([torch.zeros(third), ramp, torch.ones(third)]).float()
