"""What keeps painted surfaces from being flat: light, the noise of clouds and weather, bricks."""

import math
from collections.abc import Sequence
from typing import TypeAlias

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

__all__ = ["Pixels", "cloud", "light", "masonry"]

Pixels: TypeAlias = NDArray[np.uint8]


def light(pixels: Pixels, factor: NDArray[np.float32]) -> None:
    """Multiply colours in place by (H or 1, W or 1, 1 or 3) factors; premultiplied ones stay valid."""
    pixels[..., :3] = np.clip(pixels[..., :3] * factor, 0, pixels[..., 3:])


def cloud(shape: Sequence[int], rng: Generator, *, finest: int = 0, stretch: int = 0) -> NDArray[np.float32]:
    """Return noise with the 1/f amplitudes of natural pictures.

    Parameters
    ----------
    shape
        Of the picture to be filled, (H, W, ...).
    finest
        The power of two of pixels that the finest grain measures.
    stretch
        By how many powers of two a grain is higher than wide; negative: wider than high.

    Returns
    -------
    (H, W, 1) float32, mean about 0, deviation about 1.
    """
    octaves = max(shape).bit_length() - finest
    noise = np.zeros((1, 1), np.float32)
    for octave in range(finest + octaves, finest - 1, -1):
        height, width = (shape[0] >> max(octave + stretch, 0)) + 1, (shape[1] >> octave) + 1
        coarser = cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)
        noise = rng.standard_normal((height, width), np.float32) + np.asarray(coarser, np.float32)
    whole = np.asarray(cv2.resize(noise, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR), np.float32)
    return whole[..., None] * np.float32(1.4 / math.sqrt(octaves))


def masonry(shape: Sequence[int], scale: float, brick: tuple[float, float], rng: Generator) -> NDArray[np.float32]:
    """Return (H, W, 1) factors: courses of bricks (length, height), each of its own shade, with pale joints."""
    y, x = np.arange(shape[0])[:, None] / scale, np.arange(shape[1])[None] / scale
    course = (y // brick[1]).astype(np.intp)
    x = x + course % 2 * brick[0] / 2
    column = (x // brick[0]).astype(np.intp)
    shades = rng.normal(1.0, 0.11, (int(course.max()) + 1, int(column.max()) + 1))
    joint = (y % brick[1] < 1.1) | (x % brick[0] < 1.1)
    return np.where(joint, 1.2, shades[course, column]).astype(np.float32)[..., None]
