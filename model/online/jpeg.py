"""JPEG as tensor operations: what a picture looks like after it was stored, without storing it.

ITU-T T.81 and JFIF, with the rounding of libjpeg: whole numbers after the change of colours, halved and interpolated
chroma ("fancy upsampling"), and rounded samples. Its integer cosine transform is not copied, so that now and then a
coefficient near the middle between two steps is rounded the other way; what is lost is as much, within 3 %.
"""

import io
import math
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from .transfer import sent

__all__ = ["quantisation_tables", "through_jpeg", "through_libjpeg"]

_FULL_CHROMA_FROM = 90  # as `blursynth.radiometry.render` stores them
# ITU-T T.81, tables K.1 and K.2
_LUMA = """
16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99
"""
_CHROMA = """
17 18 24 47 99 99 99 99 18 21 26 66 99 99 99 99 24 26 56 99 99 99 99 99 47 66 99 99 99 99 99 99
99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99
"""


def quantisation_tables(quality: int) -> Tensor:
    """Return libjpeg's tables for a quality from 1 to 100: (2, 8, 8) float64, luma and chroma."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    base = [[int(number) for number in text.split()] for text in (_LUMA, _CHROMA)]
    scaled = [[min(max((entry * scale + 50) // 100, 1), 255) for entry in table] for table in base]
    return torch.tensor(scaled, dtype=torch.float64).reshape(2, 8, 8)


def through_jpeg(codes: Tensor, qualities: list[int], phases: list[tuple[int, int]] | None = None) -> Tensor:
    """Store pictures and read them again; from quality 90 on without halving the colour's resolution.

    Parameters
    ----------
    codes
        (N, H, W, 3) uint8.
    qualities
        N, from 1 to 100.
    phases
        How many rows and columns of the blocks of 16 lie before each picture, 0 to 15; none if not given.

    Returns
    -------
    The same shape.
    """
    num, height, width = codes.shape[:3]
    spare = 15 if phases else 0
    phases = phases or [(0, 0)] * num
    rows, columns = (sent(torch.tensor([phase[axis] for phase in phases]), codes.device)[:, None] for axis in (0, 1))
    whole = _shifted(codes, rows, columns, spare)
    luma, blue, red = _to_ycc(whole.permute(0, 3, 1, 2).double())
    tables = sent(torch.stack([quantisation_tables(quality) for quality in qualities]), codes.device)
    luma = _requantised(luma[:, None], tables[:, :1])[:, 0]
    chroma = _chroma(torch.stack([blue, red], dim=1), tables[:, 1:], qualities)
    pixels = _to_rgb(luma, chroma[:, 0], chroma[:, 1])
    each = torch.arange(num, device=codes.device)[:, None, None]
    up, along = (torch.arange(side, device=codes.device) for side in (height, width))
    return pixels[each, (up + rows)[:, :, None], (along + columns)[:, None, :]]


def through_libjpeg(codes: Tensor, qualities: list[int], phases: list[tuple[int, int]]) -> Tensor:
    """Do the same with libjpeg itself, which is faster for tensors of the CPU."""
    stored = [
        _stored(np.pad(picture, ((phase[0], 0), (phase[1], 0), (0, 0)), mode="edge"), quality)[phase[0] :, phase[1] :]
        for picture, quality, phase in zip(codes.numpy(), qualities, phases, strict=True)
    ]
    return torch.from_numpy(np.stack(stored))


def _stored(codes: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    file = io.BytesIO()
    subsampling = "4:4:4" if quality >= _FULL_CHROMA_FROM else "4:2:0"
    Image.fromarray(codes).save(file, "JPEG", quality=quality, subsampling=subsampling)
    with Image.open(file) as image:
        return np.array(image)


def _shifted(codes: Tensor, rows: Tensor, columns: Tensor, spare: int) -> Tensor:
    """Put each picture so many rows and columns into a frame of whole blocks; its border pixels fill the rest."""
    num, height, width = codes.shape[:3]
    full = [16 * math.ceil((side + spare) / 16) for side in (height, width)]
    up, along = (torch.arange(side, device=codes.device) for side in full)
    each = torch.arange(num, device=codes.device)[:, None, None]
    y, x = (up - rows).clamp(0, height - 1), (along - columns).clamp(0, width - 1)
    return codes[each, y[:, :, None], x[:, None, :]]


def _to_ycc(rgb: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    r, g, b = rgb.unbind(1)
    luma = (0.299 * r + 0.587 * g + 0.114 * b).round()
    blue = (-0.168735892 * r - 0.331264108 * g + 0.5 * b + 128).round().clamp(max=255)
    red = (0.5 * r - 0.418687589 * g - 0.081312411 * b + 128).round().clamp(max=255)
    return luma, blue, red


def _to_rgb(luma: Tensor, blue: Tensor, red: Tensor) -> Tensor:
    """Return (N, H, W, 3) uint8."""
    blue, red = blue - 128, red - 128
    planes = (
        luma + (1.402 * red).round(),
        luma + (-0.344136286 * blue - 0.714136286 * red).round(),
        luma + (1.772 * blue).round(),
    )
    return torch.stack(planes, dim=-1).clamp(0, 255).to(torch.uint8)


def _chroma(planes: Tensor, tables: Tensor, qualities: list[int]) -> Tensor:
    """Return chroma (N, 2, H, W) after storage, whole or halved as the quality says."""
    is_full = [quality >= _FULL_CHROMA_FROM for quality in qualities]
    if all(is_full):
        return _requantised(planes, tables)
    halved = _doubled(_requantised(_halved(planes), tables))
    if not any(is_full):
        return halved
    wanted = sent(torch.tensor(is_full), planes.device)[:, None, None, None]
    return torch.where(wanted, _requantised(planes, tables), halved)


def _halved(planes: Tensor) -> Tensor:
    """Average 2 by 2 samples; halves are rounded down and up in turn."""
    sums = 4 * F.avg_pool2d(planes, 2)
    bias = 1 + torch.arange(sums.shape[-1], device=planes.device) % 2
    return ((sums.round() + bias) / 4).floor()


def _doubled(planes: Tensor) -> Tensor:
    """Interpolate to twice the size: 9, 3, 3 and 1 sixteenths of the nearest samples."""
    padded = F.pad(planes, (1, 1, 1, 1), mode="replicate")
    here = 3 * padded[..., 1:-1, :]
    tall = torch.stack([here + padded[..., :-2, :], here + padded[..., 2:, :]], dim=-2).flatten(-3, -2)
    here = 3 * tall[..., 1:-1]
    left, right = ((here + tall[..., :-2] + 8) / 16).floor(), ((here + tall[..., 2:] + 7) / 16).floor()
    return torch.stack([left, right], dim=-1).flatten(-2)


@lru_cache(maxsize=8)
def _cosines(device: torch.device) -> Tensor:
    """Return the orthonormal cosine transform of 8 samples, (8, 8) float64."""
    k = torch.arange(8, dtype=torch.float64)
    waves = 0.5 * torch.cos(math.pi * k[:, None] * (2 * k + 1) / 16)
    waves[0] *= 0.5**0.5
    return waves.to(device)


def _requantised(planes: Tensor, tables: Tensor) -> Tensor:
    """Transform blocks of 8 by 8, round as the tables (N, 1, 8, 8) say, and transform back: (N, C, H, W) samples."""
    num, channels, height, width = planes.shape
    waves = _cosines(planes.device)  # float64, since CUDA may round float32 to 11 bits in products
    blocks = (planes - 128).reshape(num, channels, height // 8, 8, width // 8, 8).transpose(3, 4)
    steps = tables[:, :, None, None]
    levels = (waves @ blocks @ waves.T) / steps
    whole = levels.sign() * (levels.abs() + 0.5).floor()
    samples = waves.T @ (whole * steps) @ waves
    return (samples + 128).round().clamp(0, 255).transpose(3, 4).reshape(planes.shape)
