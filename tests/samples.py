"""Moving pictures for the tests."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ClipMaker = Callable[..., Path]


def moving_texture(num_frames: int, height: int, width: int, *, speed: float = 2.0, seed: int = 0) -> NDArray[np.uint8]:
    """(T, H, W, 3) uint8: a smooth random texture that moves to the right by ``speed`` px a frame."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width].astype(np.float64)
    frames = np.zeros((num_frames, height, width, 3))
    for channel in range(3):
        for _ in range(6):
            fx, fy = rng.uniform(-0.6, 0.6, 2)
            phase, size = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 1)
            for t in range(num_frames):
                frames[t, :, :, channel] += size * np.sin(fx * (x - speed * t) + fy * y + phase)
    frames -= frames.min()
    codes: NDArray[np.uint8] = np.rint(frames * (255 / frames.max())).astype(np.uint8)
    return codes
