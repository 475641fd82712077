"""The depth layers of `blursynth.shake.draw_layers`, drawn as numbers and painted for a part of a photograph alone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blursynth.shake import ShakeRule
from blursynth.shake.rule import generator

from .transfer import sent

__all__ = ["Cut", "draw_cut", "masks"]

_STREAM = 2  # of the generator: the one from which `draw_layers` draws
_NUM_WAVES = 6
_GROUND_WAVES, _BLOB_WAVES, _BLOB_LEVELS = 0.05, 0.12, 1.6
_AMPLITUDE = (2 / _NUM_WAVES) ** 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """Layers, the farthest first.

    Parameters
    ----------
    depths
        (L,) in units of the farthest layer's: 1.0 first, then falling.
    is_ground
        Whether near layers are below a wavy horizon; else they are blobs.
    edges
        (L - 1, 2) float64: level and softness of each nearer layer's edge.
    waves
        (L - 1, 6, 3) float64: frequencies to the right and down in radians to the long side, and phase.
    """

    depths: tuple[float, ...]
    is_ground: bool
    edges: NDArray[np.float64]
    waves: NDArray[np.float64]


def draw_cut(rule: ShakeRule, key: int) -> Cut:
    """Draw what `draw_layers` draws for the same rule and key, in the same order."""
    rng = generator(key, _STREAM)
    num_layers = rule.layer_range.whole(rng)
    is_ground = rng.random() < 0.5
    depths = [1.0]
    edges, waves = np.empty((num_layers - 1, 2)), np.empty((num_layers - 1, _NUM_WAVES, 3))
    for layer in range(1, num_layers):
        depths.append(depths[-1] * (0.45 + 0.35 * rng.random()))
        level = (layer - 0.5 + rng.random()) / num_layers
        for wave in waves[layer - 1]:
            wave[:2] = rng.uniform(-2, 2, 2) * 2 * math.pi
            wave[2] = rng.uniform(0, 2 * math.pi)
        edges[layer - 1] = level, 0.02 + 0.13 * rng.random()
    return Cut(tuple(depths), is_ground, edges, waves)


def masks(cuts: Sequence[Cut], rows: Tensor, columns: Tensor, heights: Tensor, sides: Tensor) -> Tensor:
    """Paint how much each nearer layer covers.

    Parameters
    ----------
    cuts
        N of them, with the same number of layers L.
    rows, columns
        (N, H) and (N, W) float64: pixels of the photographs.
    heights, sides
        (N,) float64: heights and long sides of the photographs.

    Returns
    -------
    (L - 1, N, H, W) float32 in [0, 1].
    """
    device = rows.device
    waves = sent(torch.from_numpy(np.stack([cut.waves for cut in cuts], axis=1)), device)  # (L - 1, N, 6, 3)
    edges = sent(torch.from_numpy(np.stack([cut.edges for cut in cuts], axis=1)), device)[..., None, None]
    along_x = waves[..., 0, None] * (columns / sides[:, None])[:, None]  # (L - 1, N, 6, W)
    along_y = waves[..., 1, None] * (rows / sides[:, None])[:, None] + waves[..., 2, None]
    field = torch.zeros(*along_x.shape[:2], rows.shape[1], columns.shape[1], dtype=torch.float32, device=device)
    for wave in range(_NUM_WAVES):  # cos(a + b), taken apart so that only vectors go through the cosine
        x, y = along_x[:, :, wave, None, :], along_y[:, :, wave, :, None]
        field = field + y.cos().float() * x.cos().float() - y.sin().float() * x.sin().float()
    field = field * _AMPLITUDE
    level, softness = edges[..., 0, :, :], edges[..., 1, :, :]
    below = (rows[:, :, None] - level * heights[:, None, None]) / sides[:, None, None]
    ground, blobs = (
        below.float() + _GROUND_WAVES * field,
        _BLOB_WAVES * (field - (_BLOB_LEVELS * (level - 0.5)).float()),
    )
    is_ground = sent(torch.tensor([cut.is_ground for cut in cuts]), device)[:, None, None]
    ramp = (torch.where(is_ground, ground, blobs) / softness.float() + 0.5).clamp(0, 1)
    return ramp * ramp * (3 - 2 * ramp)
