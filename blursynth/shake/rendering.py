"""Rendering a shaken photograph: the mean, in linear light, of what the camera saw from every pose."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blursynth.errors import PhotoError, SettingsError
from blursynth.shake.camera import Exposure, expose, homographies, seen_box, warp
from blursynth.shake.kernel import render
from blursynth.shake.layers import Layers
from blursynth.shake.rule import generator
from blursynth.shake.trajectory import Trajectory

__all__ = ["Shaken", "shaken"]

Array = NDArray[Any]

_MIN_SIDE = 16
_STREAM = 3  # of the generator
_GRID = 9
_NUM_DIRECTIONS = 16


@dataclass(frozen=True, slots=True, eq=False)
class Shaken:
    """A photograph, shaken.

    Parameters
    ----------
    blurry_linear
        (h, w, 3) float32 linear light.
    saturation
        (h, w, 3) float32 in [0, 1]: the fraction of the exposure for which a pixel saw light at the clipping code.
    sharp_linear
        (h, w, 3) float32 linear light: the same part of the photograph, unchanged.
    top, left
        Where that part lies in the photograph, px.
    motion_p50_px, motion_p95_px, motion_max_px
        How wide the blur is (the largest distance between two places of a point during its exposure): median, 95th
        percentile and maximum over a grid of 9 by 9 points.
    num_poses
        How many poses were rendered.
    """

    blurry_linear: NDArray[np.float32]
    saturation: NDArray[np.float32]
    sharp_linear: NDArray[np.float32]
    top: int
    left: int
    motion_p50_px: float
    motion_p95_px: float
    motion_max_px: float
    num_poses: int


def shaken(
    photo_linear: NDArray[np.float32],
    trajectory: Trajectory,
    layers: Layers | None = None,
    *,
    size: tuple[int, int] | None = None,
    key: int | None = None,
    step_px: float = 0.5,
) -> Shaken:
    """Expose a photograph along a trajectory.

    Nothing outside the photograph is ever made up: the result is the part that every pose sees.

    Parameters
    ----------
    photo_linear
        (H, W, 3) float32 linear light; 1.0 is the code that clips, highlights may be higher.
    trajectory, layers
        The camera's motion, and the depths of the photograph: one plane if not given.
    size
        (height, width) of the result; without it, the largest centred part.
    key
        Draws the place of a part of that ``size``; without it, the part is centred.
    step_px
        Largest motion between two rendered poses.

    Returns
    -------
    A pure function of the arguments, the same bytes on any number of threads.

    Raises
    ------
    PhotoError
        If the photograph is too small for the motion and ``size``.
    SettingsError
        If the arguments make no sense.
    """
    if layers is None:
        layers = Layers((1.0,), np.empty((0, *photo_linear.shape[:2]), np.float32))
    _check(photo_linear, layers)
    height, width = photo_linear.shape[:2]
    exposure = expose(trajectory, (height, width), depths=layers.depths, step_px=step_px)
    matrices = np.stack([_homographies(exposure, trajectory, (height, width), depth) for depth in layers.depths])
    top, left, out_height, out_width = _place(matrices, (height, width), size, key)
    rows, columns = slice(top, top + out_height), slice(left, left + out_width)

    clips = photo_linear >= 1
    planes: list[Array] = [photo_linear[..., channel] for channel in range(3)]
    clipping = [channel for channel in range(3) if clips[..., channel].any()]
    planes += [clips[..., channel] for channel in clipping]
    means = np.empty((len(planes), out_height, out_width), np.float32)
    weights = exposure.weights.astype(np.float32)
    render(np.stack(planes, dtype=np.float32), 3, layers.alphas, matrices, weights, top, left, means)
    saturation = np.zeros((out_height, out_width, 3), np.float32)
    for channel, mean in zip(clipping, means[3:], strict=True):
        saturation[..., channel] = np.clip(mean, 0, 1)
    extents = _extents(matrices, layers, (height, width), (top, left, out_height, out_width))
    return Shaken(
        blurry_linear=np.ascontiguousarray(np.moveaxis(means[:3], 0, -1)),
        saturation=saturation,
        sharp_linear=photo_linear[rows, columns].copy(),
        top=top,
        left=left,
        motion_p50_px=float(np.percentile(extents, 50)),
        motion_p95_px=float(np.percentile(extents, 95)),
        motion_max_px=float(extents.max()),
        num_poses=exposure.weights.shape[1],
    )


def _check(photo_linear: NDArray[np.float32], layers: Layers) -> None:
    if photo_linear.ndim != 3 or photo_linear.shape[2] != 3 or photo_linear.dtype != np.float32:
        raise SettingsError(f"photo: {photo_linear.shape} {photo_linear.dtype} must be (H, W, 3) float32 linear light")
    if not np.isfinite(photo_linear).all() or photo_linear.min(initial=0) < 0:
        raise SettingsError("photo: linear light must be finite and not negative")
    if layers.alphas.shape[1:] != photo_linear.shape[:2]:
        raise SettingsError(f"layers: masks of {layers.alphas.shape[1:]} px for a photo of {photo_linear.shape[:2]} px")


def _homographies(exposure: Exposure, trajectory: Trajectory, size: tuple[int, int], depth: float) -> Array:
    return homographies(exposure.rotations, exposure.translations, focal_px=trajectory.focal_px, size=size, depth=depth)


def _place(
    matrices: Array, size: tuple[int, int], wanted: tuple[int, int] | None, key: int | None
) -> tuple[int, int, int, int]:
    """Return top, left, height and width of the result."""
    margins = seen_box(matrices, size)
    seen = [side - 2 * margin for side, margin in zip(size, margins, strict=True)]
    needed = wanted or (_MIN_SIDE, _MIN_SIDE)
    if min(needed) < 1 or seen[0] < needed[0] or seen[1] < needed[1]:
        raise PhotoError(
            f"photo of {size[1]}x{size[0]} px: {max(seen[1], 0)}x{max(seen[0], 0)} px of it stay in view, "
            f"{needed[1]}x{needed[0]} px are needed; take a larger photo, a smaller size or less blur"
        )
    if wanted is None:
        return margins[0], margins[1], seen[0], seen[1]
    shares = (0.5, 0.5) if key is None else generator(key, _STREAM).random(2)
    spare = [int(share * (have - need + 1)) for share, have, need in zip(shares, seen, needed, strict=True)]
    return margins[0] + spare[0], margins[1] + spare[1], needed[0], needed[1]


def _extents(matrices: Array, layers: Layers, size: tuple[int, int], box: tuple[int, int, int, int]) -> Array:
    """Return how wide the blur is at 9 x 9 points, in the nearest layer that covers most of each: (81,) px."""
    top, left, height, width = box
    grid = np.meshgrid(
        np.rint(np.linspace(top, top + height - 1, _GRID)).astype(np.int64),
        np.rint(np.linspace(left, left + width - 1, _GRID)).astype(np.int64),
        indexing="ij",
    )
    ys, xs = grid[0].ravel(), grid[1].ravel()
    front = np.zeros(ys.size, np.int64)
    for layer, alpha in enumerate(layers.alphas, 1):
        front[alpha[ys, xs] >= 0.5] = layer
    rows = ys if matrices.shape[1] == size[0] else np.zeros_like(ys)
    places = warp(matrices[front, rows], xs[:, None].astype(np.float64), ys[:, None].astype(np.float64))  # (81, K, 2)
    angles = np.pi * np.arange(_NUM_DIRECTIONS) / _NUM_DIRECTIONS
    along = places @ np.stack([np.cos(angles), np.sin(angles)])
    return np.asarray((along.max(axis=1) - along.min(axis=1)).max(axis=1))
