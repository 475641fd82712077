"""Deblurring: a photograph's array in, the restored array out, tile by tile, in bounded memory."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from blursynth.errors import SettingsError

from .allocation import reused_memory
from .device import autocast, choose_device, computes_bfloat16, is_out_of_memory, memory_errors
from .lite import Lite
from .memory import bytes_per_pixel, free_bytes, free_gpu_bytes
from .networks import restore_images
from .published import AnyNetwork, NAFNet, load_network
from .tiles import TileGrid, join_tiles

__all__ = ["Deblurrer"]

_SIDE, _OVERLAP = 4096, 384  # px; with 320, blurred photographs differed by up to 3 codes from themselves untiled
_USUAL_BYTES = 4 << 30  # for a tile of networks that need more for a pixel than ours
_NAFNET_SIDE, _NAFNET_OVERLAP = 384, 96  # it looks at all of a tile, measured with this much (Chu et al., ECCV 2022)
_LEAST_SIDE = 64
_SHARE_OF_MEMORY = 0.8  # the rest is for what is not counted
_LARGE = 10_000_000  # samples; the tensors of smaller photographs are small enough for glibc to keep by itself
_CELL = 64  # px
_MAX_MEAN_CHANGE, _MAX_RMS_CHANGE = 0.2, 0.4  # of a cell, with white as 1

OnTile = Callable[[bool], None]


class Deblurrer:
    """Makes photographs sharp; loads its network once and can be called again and again.

    Large photographs are cut into tiles that overlap (`TileGrid`). Besides input and output, memory holds one row of
    them. When memory runs out in a tile, that tile and all later ones are computed in smaller pieces.

    A tile stays as it was where the network gave numbers that are not finite, or changed a square of 64 px beyond what
    the removal of blur can: its mean by more than 0.2 of the range of codes in any channel, or the root of the mean
    square of all changes above 0.4. Between real blurry and sharp pictures of moving cameras they are at most 0.03 and
    0.2, since blur moves light about but hardly any of it over so far.

    Parameters
    ----------
    network
        Put into evaluation mode, on ``device``.
    device
        Where to compute. On CUDA 8-bit photographs are restored in bfloat16. So they are on the CPU if it has
        instructions for that and the network is a `Lite`, where only what is added to the photograph is rounded.
    tile
        Largest side of a tile, in px; without it 4096 px, of a `NAFNet` 384 px, or less if memory does not suffice or
        the network would take more than 4 GiB for a tile.
    overlap
        How much of a tile is shared with the next, in px; without it 384, with which `tiny` gives what it gives
        without tiles within one code; of a `NAFNet` 96; or a third of small tiles.
    strength
        From 0, the photograph as it was, to 1, all that the network says.
    self_ensemble
        Take the mean of what becomes of the photograph in eight positions, turned and mirrored: a little better, in
        eight times the time (Lim et al., CVPRW 2017, section 3.3).
    is_guarded
        Whether changes beyond what is said above are refused; numbers that are not finite always are.
    memory_bytes
        What the whole process may take: tiles become smaller than ``tile`` if they have to. Without it, all that is
        free, as long as ``tile`` is not given.

    Raises
    ------
    SettingsError
        If a number makes no sense.
    """

    def __init__(
        self,
        network: AnyNetwork,
        *,
        device: torch.device | None = None,
        tile: int | None = None,
        overlap: int | None = None,
        strength: float = 1.0,
        self_ensemble: bool = False,
        is_guarded: bool = True,
        memory_bytes: int | None = None,
    ) -> None:
        self._least = max(_LEAST_SIDE, 4 * network.size_multiple)
        usual, most = (_NAFNET_SIDE, _NAFNET_OVERLAP) if isinstance(network, NAFNet) else (_SIDE, _OVERLAP)
        side = max(usual, self._least) if tile is None else tile
        shared = min(most, side // 3) if overlap is None else overlap
        if side < self._least or not 0 <= shared <= side // 3:
            raise SettingsError(f"tile {side}: {self._least} px or more, and three times the overlap of {shared}")
        if not 0 <= strength <= 1:
            raise SettingsError(f"strength {strength}: from 0, no change, to 1, all of it")
        if memory_bytes is not None and memory_bytes <= 0:
            raise SettingsError(f"memory {memory_bytes}: a positive number of bytes")
        self._device = device or choose_device()
        self._network = network.eval().to(self._device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._side, self._overlap, self._is_auto = side, shared, tile is None
        self._strength, self._num_positions, self._is_guarded = strength, 8 if self_ensemble else 1, is_guarded
        self._memory_bytes = memory_bytes
        self._fitting_side = side  # larger pieces have been too much for the memory
        self._bytes_per_pixel = 0.0  # not known yet
        self._is_fast_in_bfloat16 = isinstance(network, Lite) and computes_bfloat16(self._device)

    @classmethod
    def load(
        cls,
        model: str | Path | None = None,
        *,
        device: str = "auto",
        tile: int | None = None,
        strength: float = 1.0,
        self_ensemble: bool = False,
        memory_bytes: int | None = None,
    ) -> Self:
        """Load a network by name or file, see `load_network`; the other settings are those of `Deblurrer`.

        Raises
        ------
        CheckpointError
            If there is none, or it cannot be used.
        DeviceError
            If the device is not there.
        """
        chosen = choose_device(device)
        network = load_network(model)
        return cls(
            network,
            device=chosen,
            tile=tile,
            strength=strength,
            self_ensemble=self_ensemble,
            memory_bytes=memory_bytes,
        )

    @classmethod
    def default(cls, *, device: str = "auto") -> Self:
        """Load the network that comes with blursynth.

        Examples
        --------
        >>> deblur = Deblurrer.default(device="cpu")  # doctest: +SKIP
        >>> sharp = [deblur(pixels) for pixels in photographs]  # doctest: +SKIP
        """
        return cls.load(device=device)

    def grid(self, height: int, width: int) -> TileGrid:
        """Return where the tiles of a photograph will lie, by the memory that there is now."""
        side = self._side_for(height, width)
        return TileGrid(height, width, side, self._overlap_of(side), self._multiple)

    @property
    def _multiple(self) -> int:
        return int(self._network.size_multiple)

    def _overlap_of(self, side: int) -> int:
        return min(self._overlap, side // 3)

    def _side_for(self, height: int, width: int) -> int:
        """Return the side of tiles for which memory suffices, or the least one."""
        side = self._side
        is_told = not self._is_auto and self._memory_bytes is None
        if is_told or max(height, width) <= self._least:
            return side
        self._bytes_per_pixel = self._bytes_per_pixel or bytes_per_pixel(self._network, self._multiple)
        is_host = self._device.type != "cuda"
        host = _SHARE_OF_MEMORY * free_bytes(self._memory_bytes)
        free = host if is_host else _SHARE_OF_MEMORY * free_gpu_bytes(self._device)
        free = min(free, _USUAL_BYTES) if self._is_auto else free
        # A row of tiles, and the part that the next one shares with it, in float32 with three channels.
        while side > self._least and (
            min(side, height) * min(side, width) * self._bytes_per_pixel
            > free - is_host * 24 * width * min(side, height)
            or 24 * width * min(side, height) > host
        ):
            side = max(self._least, side * 7 // 8)
        return side

    @torch.inference_mode()
    def __call__(
        self,
        pixels: NDArray[Any],
        *,
        grid: TileGrid | None = None,
        on_tile: OnTile | None = None,
        out: NDArray[Any] | None = None,
    ) -> NDArray[Any]:
        """Restore a photograph.

        Parameters
        ----------
        pixels
            (H, W, 3) uint8 or uint16, R'G'B' codes; any size. Left as they are.
        grid
            What `grid` returned for them, if it was asked before.
        on_tile
            Called after each tile; with False if it stays as it was, wholly or in part, because of what the network
            gave.
        out
            Where to write the result; ``pixels`` itself, to save memory, or another array of the same kind.

        Returns
        -------
        (H, W, 3), the dtype of ``pixels``; ``out`` if that was given.

        Raises
        ------
        ValueError
            If ``pixels`` or ``out`` has another shape or dtype.
        MachineError
            If memory does not suffice for the smallest tile.
        """
        is_image = pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.size > 0
        if not is_image or pixels.dtype not in {np.dtype(np.uint8), np.dtype(np.uint16)}:
            raise ValueError(f"pixels are {pixels.dtype} {pixels.shape}: expected (H, W, 3) uint8 or uint16")
        keeping = reused_memory() if pixels.size >= _LARGE else nullcontext()
        with keeping, memory_errors("give more with --memory, or close other programs"):
            restored = np.empty_like(pixels) if out is None else out
            if (restored.shape, restored.dtype) != (pixels.shape, pixels.dtype):
                raise ValueError(f"out is {restored.dtype} {restored.shape}: expected {pixels.dtype} {pixels.shape}")
            tell, peak = on_tile or (lambda _is_restored: None), np.iinfo(pixels.dtype).max

            def restore_tile(view: NDArray[Any]) -> Tensor:
                unit, is_restored = self._restore(view, peak)
                tell(is_restored)
                return unit

            for band in join_tiles(pixels, grid or self.grid(*pixels.shape[:2]), restore_tile):
                codes = band.unit.mul_(peak).round_().clamp_(0, peak)
                rows = restored[band.top : band.top + len(codes)]
                rows[...] = (codes.byte() if peak < 256 else codes).numpy()
        return restored

    def _restore(self, pixels: NDArray[Any], peak: int) -> tuple[Tensor, bool]:
        """Restore a tile, in pieces if that is all that memory allows."""
        height, width = pixels.shape[:2]
        if max(height, width) <= self._fitting_side:
            try:
                return self._restore_whole(pixels, peak)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or max(height, width) <= self._least:
                    raise
            self._fitting_side = max(self._least, max(height, width) // 2)
            if self._device.type == "cuda":
                torch.cuda.empty_cache()
        side, are_restored = self._fitting_side, []

        def restore_piece(view: NDArray[Any]) -> Tensor:
            unit, is_restored = self._restore(view, peak)
            are_restored.append(is_restored)
            return unit

        grid = TileGrid(height, width, side, self._overlap_of(side), self._multiple)
        bands = [band.unit for band in join_tiles(pixels, grid, restore_piece)]
        return torch.cat(bands), all(are_restored)

    def _restore_whole(self, pixels: NDArray[Any], peak: int) -> tuple[Tensor, bool]:
        height, width = pixels.shape[:2]
        blurry = self._images(pixels, peak)
        # bfloat16 has fewer steps than 16-bit codes. And what fails in it may be well in float32.
        attempts = [self._fast, nullcontext] if peak < 256 else [nullcontext]
        for precision in attempts:
            with precision():
                restored = self._run(blurry)
            if restored is not None and (not self._is_guarded or _is_plausible(blurry, restored)):
                if self._strength < 1:
                    restored = blurry.lerp(restored, self._strength)
                return _pixels_last(restored, height, width), True
        return _pixels_last(blurry, height, width), False

    def _images(self, pixels: NDArray[Any], peak: int) -> Tensor:
        """Return pixels as (1, 3, H, W) float32 in [0, 1] on the device, channels last, padded to sides that fit."""
        height, width = pixels.shape[:2]
        below, right = -height % self._multiple, -width % self._multiple
        # Padded here and not later: as codes, and the same side of the picture in each position of the ensemble.
        mode: Literal["reflect", "edge"] = "reflect" if below < height and right < width else "edge"
        padded = np.pad(pixels, ((0, below), (0, right), (0, 0)), mode)
        codes = torch.from_numpy(padded if peak < 256 else padded.astype(np.float32))
        return codes.to(self._device).permute(2, 0, 1)[None].float().mul_(1 / peak)

    def _fast(self) -> AbstractContextManager[object]:
        is_cpu = self._device.type == "cpu"
        return autocast(self._device, "bfloat16" if is_cpu and self._is_fast_in_bfloat16 else "auto")

    def _run(self, blurry: Tensor) -> Tensor | None:
        """Return (1, 3, H, W) float32 in [0, 1], or None if the network gave numbers that are not finite."""
        watched = _Watched(self._network)
        # Networks of others may change their images.
        total = restore_images(watched, blurry if isinstance(self._network, Lite) else blurry.clone())
        for position in range(1, self._num_positions):
            total += _turned_back(restore_images(watched, _turned(blurry, position)), position)
        return total.div_(self._num_positions) if watched.is_finite else None


class _Watched:
    """A network that remembers whether all it gave was finite, which cannot be seen once that is clipped."""

    def __init__(self, network: AnyNetwork) -> None:
        self._network = network
        self.is_finite = True

    @property
    def size_multiple(self) -> int:
        return self._network.size_multiple

    def __call__(self, blurry: Tensor, /) -> list[Tensor]:
        restored: list[Tensor] = self._network(blurry)
        self.is_finite = self.is_finite and bool(restored[0].sum(dtype=torch.float32).isfinite())
        return restored


def _turned(images: Tensor, position: int) -> Tensor:
    turned = torch.rot90(images, position % 4, (2, 3))
    return turned.flip(3) if position >= 4 else turned


def _turned_back(images: Tensor, position: int) -> Tensor:
    upright = images.flip(3) if position >= 4 else images
    return torch.rot90(upright, -(position % 4), (2, 3))


def _pixels_last(images: Tensor, height: int, width: int) -> Tensor:
    """Return the one image, (1, 3, H, W), cut to its size, as (height, width, 3) on the CPU."""
    return images[0, :, :height, :width].permute(1, 2, 0).cpu()


def _is_plausible(blurry: Tensor, restored: Tensor) -> bool:
    """Say whether no square of about 64 px has changed beyond the bounds of `Deblurrer`."""
    change = restored - blurry
    if change.device.type == "mps":  # it pools into equal cells only
        change = change.cpu()
    means = _cell_means(change)
    squares = _cell_means(change.square_())
    return bool(means.abs().max() <= _MAX_MEAN_CHANGE and squares.mean(dim=1).max() <= _MAX_RMS_CHANGE**2)


def _cell_means(images: Tensor) -> Tensor:
    """Return the means of squares of about 64 px, as nearly equal as whole pixels allow: (1, 3, rows, columns)."""
    height, width = images.shape[2:]
    return F.adaptive_avg_pool2d(images, (max(1, height // _CELL), max(1, width // _CELL)))
