"""Light that shards kept, developed anew on any device: the draws and tables of `blursynth.rendition`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from blursynth.rendition import Draw, Rendition

from .light import Darkroom, per_picture

__all__ = ["Archive", "StoredLight"]


class StoredLight(NamedTuple):
    """What shards keep of N windows, (N, H, W, 3) each.

    ``blurry`` and ``sharp`` are fine codes: uint16 bits in int16, for which torch has every operation. ``saturation``
    is uint8, 255 where light was clipped all the time.
    """

    blurry: Tensor
    saturation: Tensor
    sharp: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Archive:
    """Develops what shards kept.

    Parameters
    ----------
    darkroom
        Curves and light chain.
    light
        (65536,) float32: the light of each fine code.
    codes
        (C, 65536) uint8: what each curve makes of it; the clip's own curve comes last.
    """

    darkroom: Darkroom
    light: Tensor
    codes: Tensor

    @classmethod
    def build(cls, rendition: Rendition, device: torch.device) -> "Archive":
        """Prepare the rendition of a shard."""
        fine = np.arange(1 << 16).astype(np.uint16)
        light = rendition.curve.from_fine(fine)
        codes = [*(curve.from_linear(light) for curve in rendition.outputs), (fine >> 8).astype(np.uint8)]
        tables = torch.from_numpy(light.copy()).to(device), torch.from_numpy(np.stack(codes)).to(device)
        return cls(Darkroom.build(rendition, device), *tables)

    def develop(self, stored: StoredLight, draws: Sequence[Draw]) -> tuple[Tensor, Tensor]:
        """Return blurry and sharp, (N, H, W, 3) uint8 codes: those of `Rendition.blurry` and `Rendition.sharp`.

        Noise has their distribution, from torch's generators; JPEG is libjpeg's on the CPU, and nearly elsewhere.
        """
        glow = None
        if self.darkroom.rendition.chain.needs_saturation:
            alphas = [draw.light.highlights / 255 for draw in draws]
            glow = per_picture(alphas, stored.saturation.device) * stored.saturation
        blurry = self.darkroom.blurry(self.light[_unsigned(stored.blurry)], glow, draws, [(0, 0)] * len(draws))
        curves = self.darkroom.curves(draws, stored.sharp.device)
        return blurry, self.codes[curves[:, None, None, None], _unsigned(stored.sharp)]


def _unsigned(fine: Tensor) -> Tensor:
    return fine.int() & 0xFFFF
