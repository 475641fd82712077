"""Deblurring: a photograph's array in, the restored array out, tile by tile, in bounded memory."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from blursynth.errors import SettingsError

from .checkpoint import newest_checkpoint
from .device import autocast, choose_device, memory_errors
from .networks import restore_images
from .published import AnyNetwork, load_any

__all__ = ["Deblurrer"]

_TILE, _OVERLAP = 512, 96
_RUNS = Path("runs")


class Deblurrer:
    """Makes photographs sharp; loads its network once and can be called again and again.

    Large photographs are cut into tiles that overlap. Where they do, a smooth ramp leads from one to the next, so that
    no seam shows. Besides input and output, memory holds one row of tiles.

    Parameters
    ----------
    network
        In evaluation mode, on ``device``.
    device
        Where to compute.
    tile, overlap
        Side of a tile, and how much of it is shared with the next, in px.
    """

    def __init__(
        self, network: AnyNetwork, *, device: torch.device | None = None, tile: int = _TILE, overlap: int | None = None
    ) -> None:
        overlap = min(_OVERLAP, tile // 3) if overlap is None else overlap
        least = max(64, 4 * network.size_multiple)
        if tile < least or not 0 <= overlap <= tile // 3:
            raise SettingsError(f"tile {tile}: {least} px or more, and three times the overlap of {overlap}")
        self._device = device or choose_device()
        self._network = network.eval().to(self._device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._tile, self._overlap = tile, overlap

    @classmethod
    def load(cls, checkpoint: Path | None = None, *, device: str = "auto", tile: int = _TILE) -> Self:
        """Load a checkpoint or published PyTorch weights; without a path, the best of the run that improved last.

        Raises
        ------
        CheckpointError
            If there is none, or it cannot be used.
        DeviceError
            If the device is not there.
        """
        path = checkpoint or newest_checkpoint(_RUNS)
        chosen = choose_device(device)
        return cls(load_any(path), device=chosen, tile=tile)

    def num_tiles(self, height: int, width: int) -> int:
        """Return how many tiles a photograph is cut into."""
        return len(self._starts(height)) * len(self._starts(width))

    def _starts(self, length: int) -> list[int]:
        return _starts(length, self._tile, self._overlap, self._network.size_multiple)

    def __call__(self, pixels: NDArray[Any], *, on_tile: Callable[[bool], None] | None = None) -> NDArray[Any]:
        """Restore a photograph.

        Parameters
        ----------
        pixels
            (H, W, 3) uint8 or uint16, R'G'B' codes; any size. Left as they are.
        on_tile
            Called after each tile; with False if the network gave values that are not finite there, in which case the
            tile stays as it was.

        Returns
        -------
        (H, W, 3), the dtype of ``pixels``.

        Raises
        ------
        ValueError
            If ``pixels`` has another shape or dtype.
        MachineError
            If memory runs out.
        """
        is_image = pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.size > 0
        if not is_image or pixels.dtype not in {np.dtype(np.uint8), np.dtype(np.uint16)}:
            raise ValueError(f"pixels are {pixels.dtype} {pixels.shape}: expected (H, W, 3) uint8 or uint16")
        with memory_errors(f"choose a --tile smaller than {self._tile}"):
            return self._restore(pixels, on_tile or (lambda _is_finite: None))

    def _restore(self, pixels: NDArray[Any], on_tile: Callable[[bool], None]) -> NDArray[Any]:
        height, width = pixels.shape[:2]
        peak = np.iinfo(pixels.dtype).max
        rows, columns = self._starts(height), self._starts(width)
        restored = np.empty_like(pixels)
        carried = np.zeros((0, width, 3), np.float32)  # the lower part of the tiles above, weighted
        for i, top in enumerate(rows):
            bottom = min(top + self._tile, height)
            band = np.zeros((bottom - top, width, 3), np.float32)
            band[: carried.shape[0]] += carried
            down = _ramp(rows, i, bottom - top, self._tile, self._overlap)
            for j, left in enumerate(columns):
                right = min(left + self._tile, width)
                tile, is_finite = self._restore_tile(pixels[top:bottom, left:right], peak)
                weights = down[:, None] * _ramp(columns, j, right - left, self._tile, self._overlap)
                band[:, left:right] += tile * weights[:, :, None]
                on_tile(is_finite)
            finished = rows[i + 1] - top if i + 1 < len(rows) else bottom - top
            np.rint(band[:finished] * peak, out=band[:finished])
            restored[top : top + finished] = np.clip(band[:finished], 0, peak)
            carried = band[finished:]
        return restored

    @torch.inference_mode()
    def _restore_tile(self, pixels: NDArray[Any], peak: int) -> tuple[NDArray[np.float32], bool]:
        unit = pixels.astype(np.float32) / np.float32(peak)
        images = torch.from_numpy(unit).to(self._device).permute(2, 0, 1)[None]  # (1, 3, H, W)
        # The paper's network ends in bfloat16 under autocast, which has fewer steps than 16-bit codes.
        with autocast(self._device) if peak < 256 else nullcontext():
            restored = restore_images(self._network, images)[0].permute(1, 2, 0)
        is_finite = bool(torch.isfinite(restored).all())
        return (restored.cpu().numpy() if is_finite else unit), is_finite


def _starts(length: int, tile: int, overlap: int, multiple: int) -> list[int]:
    """Return where tiles begin so that they cover a side; the last one may be a little shorter than the others.

    They begin on multiples of what the network divides its images by, so that it sees the same squares as in the whole
    photograph.
    """
    if length <= tile:
        return [0]
    step = (tile - overlap) // multiple * multiple
    count = 1 + -(-(length - tile) // step)
    return [-(-i * (length - tile) // ((count - 1) * multiple)) * multiple for i in range(count)]


def _ramp(starts: list[int], index: int, length: int, tile: int, overlap: int) -> NDArray[np.float32]:
    """Return the weights of a tile along one side, (length,); those of all tiles add up to one everywhere.

    Two neighbours blend over ``overlap`` px in the middle of what they share, which may be more.
    """
    weights = np.ones(length, np.float32)
    if index > 0:
        begin, stop = _blend(starts[index - 1], starts[index], tile, overlap)
        weights[: begin - starts[index]] = 0
        weights[begin - starts[index] : stop - starts[index]] = _rise(stop - begin)
    if index + 1 < len(starts):
        begin, stop = _blend(starts[index], starts[index + 1], tile, overlap)
        weights[begin - starts[index] : stop - starts[index]] = 1 - _rise(stop - begin)
        weights[stop - starts[index] :] = 0
    return weights


def _blend(start: int, next_start: int, tile: int, overlap: int) -> tuple[int, int]:
    shared = start + tile - next_start
    length = min(overlap, shared)
    begin = next_start + (shared - length) // 2
    return begin, begin + length


def _rise(length: int) -> NDArray[np.float32]:
    """Return a smooth way from 0 to 1, half a cosine."""
    return (0.5 - 0.5 * np.cos(np.pi * (np.arange(length) + 0.5) / length)).astype(np.float32)
