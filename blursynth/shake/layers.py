"""Depth: a photograph cut into layers that move differently when the camera moves sideways."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blursynth.errors import SettingsError
from blursynth.shake.rule import ShakeRule, generator

__all__ = ["Layers", "draw_layers"]

_STREAM = 2  # of the generator
_NUM_WAVES = 6


@dataclass(frozen=True, slots=True, eq=False)
class Layers:
    """Layers of a photograph, the farthest first.

    Every layer shows the photograph, so that nothing behind a near one is missing and still layers change nothing.

    Parameters
    ----------
    depths
        (L,) in units of the farthest layer's: 1.0 first, then falling.
    alphas
        (L - 1, H, W) float32 in [0, 1]: how much each nearer layer covers of what is behind it.
    """

    depths: tuple[float, ...]
    alphas: NDArray[np.float32]

    def __post_init__(self) -> None:
        if not self.depths or self.alphas.ndim != 3 or len(self.alphas) != len(self.depths) - 1:
            raise SettingsError(f"layers: {len(self.depths)} depths and masks of shape {self.alphas.shape} do not fit")
        if self.depths[0] != 1 or not all(0.05 <= depth <= 1 for depth in self.depths):
            raise SettingsError(f"layers: depths {self.depths} must begin with 1 and be from 0.05 to 1")
        if self.alphas.size and not (self.alphas.min() >= 0 and self.alphas.max() <= 1):
            raise SettingsError("layers: masks must be from 0 to 1")


def draw_layers(rule: ShakeRule, key: int, size: tuple[int, int]) -> Layers:
    """Draw a cut of the photograph: near ground below a wavy horizon, or near blobs, with soft edges.

    Each layer is at 0.45 to 0.8 of the depth of the one behind it. The edges know nothing of the objects in the
    photograph, so they are wide, 2 to 15 % of its long side: the motion changes gradually, without a seam.

    Parameters
    ----------
    rule, key
        As for `draw_trajectory`; the number of layers is drawn from the rule.
    size
        (height, width) of the photograph in px.
    """
    rng = generator(key, _STREAM)
    num_layers = rule.layer_range.whole(rng)
    is_ground = rng.random() < 0.5
    depths = [1.0]
    alphas = np.empty((num_layers - 1, *size), np.float32)
    for layer in range(1, num_layers):
        depths.append(depths[-1] * (0.45 + 0.35 * rng.random()))
        level = (layer - 0.5 + rng.random()) / num_layers
        waves = _waves(rng, size)
        if is_ground:  # in long sides below the edge
            rows = np.arange(size[0], dtype=np.float32)[:, None]
            field = (rows - np.float32(level * size[0])) / np.float32(max(size)) + np.float32(0.05) * waves
        else:
            field = np.float32(0.12) * (waves - np.float32(1.6 * level - 0.8))
        softness = 0.02 + 0.13 * rng.random()
        ramp = np.clip(field / np.float32(softness) + np.float32(0.5), 0, 1)
        alphas[layer - 1] = ramp * ramp * (3 - 2 * ramp)
    return Layers(tuple(depths), alphas)


def _waves(rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.float32]:
    """Draw a smooth random field (H, W) with a standard deviation of about 1 and some waves to the long side."""
    field = np.zeros(size, np.float32)
    y, x = (np.arange(side) / max(size) for side in size)
    for _ in range(_NUM_WAVES):
        fx, fy = rng.uniform(-2, 2, 2) * 2 * np.pi
        phase = rng.uniform(0, 2 * np.pi)
        # cos(a + b), taken apart so that only vectors go through the cosine
        cos_x, sin_x = np.cos(fx * x).astype(np.float32), np.sin(fx * x).astype(np.float32)
        cos_y, sin_y = np.cos(fy * y + phase).astype(np.float32), np.sin(fy * y + phase).astype(np.float32)
        field += cos_y[:, None] * cos_x - sin_y[:, None] * sin_x
    return field * np.float32((2 / _NUM_WAVES) ** 0.5)
