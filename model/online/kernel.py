"""Rendering on the CPU with the compiled kernel of `blursynth shake`, where numba is installed; far faster there."""

from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor

from blursynth.shake import homographies

from .poses import RowPoses
from .shots import Shot

__all__ = ["is_available", "mean_by_kernel"]


def is_available() -> bool:
    """Return whether numba can be imported."""
    return find_spec("numba") is not None


def mean_by_kernel(light: Tensor, alphas: Tensor, poses: RowPoses, weights: Tensor, shot: Shot) -> Tensor:
    """Return what `mean_of_views` returns for all poses of one shot, within rounding.

    Parameters
    ----------
    light
        (1, H, W, 3) float32: the crop with the shot's reach more on all sides.
    alphas
        (L - 1, 1, H, W) float32.
    poses, weights
        Of the crop's rows, see `row_poses`.
    shot
        What is rendered.

    Returns
    -------
    (1, h, w, 6) float32.
    """
    from blursynth.shake.kernel import render  # noqa: PLC0415  # numba takes a second to import, and may be missing

    reach, num_rows = shot.reach_px, weights.shape[1]
    pixels = light[0].numpy()
    clips = pixels >= 1
    planes = np.concatenate([np.moveaxis(pixels, -1, 0), np.moveaxis(clips, -1, 0)[clips.any(axis=(0, 1))]])
    matrices = np.zeros((len(shot.cut.depths), reach + num_rows, shot.num_poses, 3, 3))
    to_photo, to_region = np.eye(3), np.eye(3)
    to_photo[:2, 2] = shot.left - reach, shot.top - reach
    to_region[:2, 2] = -to_photo[:2, 2]
    for layer, depth in enumerate(shot.cut.depths):
        places = homographies(
            poses.rotations[0].numpy(),
            poses.translations[0].numpy(),
            focal_px=shot.focal_px,
            size=shot.size,
            depth=depth,
        )
        matrices[layer, reach:] = to_region @ places @ to_photo
    shares = np.zeros((reach + num_rows, shot.num_poses), np.float32)
    shares[reach:] = weights[0].numpy()
    means = np.empty((len(planes), num_rows, pixels.shape[1] - 2 * reach), np.float32)
    render(planes.astype(np.float32), 3, alphas[:, 0].numpy(), matrices, shares, reach, reach, means)
    seen = np.zeros((*means.shape[1:], 6), np.float32)
    seen[..., :3] = np.moveaxis(means[:3], 0, -1)
    seen[..., 3:][..., clips.any(axis=(0, 1))] = np.moveaxis(means[3:], 0, -1)
    return torch.from_numpy(seen)[None]
