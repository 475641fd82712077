"""The camera: poses into homographies, exposures of rows into poses, and the part of a photograph that they see.

Pixel (x, y) of a view looks along K^-1 (x, y, 1), where K has the focal length on its diagonal and the centre of the
photograph as principal point; pixel centres are whole numbers.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blursynth.errors import SettingsError
from blursynth.shake.trajectory import Trajectory

__all__ = [
    "Exposure",
    "expose",
    "focal_px_of_35mm",
    "homographies",
    "rotation_matrices",
    "rotation_vectors",
    "seen_box",
    "warp",
]

_MAX_POSES = 4096
_DIAGONAL_MM = 43.2666  # of 36 by 24 mm
_STILL_PX = 0.01  # counted as motion over the whole trajectory, so that a camera at rest moves on in time


@dataclass(frozen=True, slots=True, eq=False)
class Exposure:
    """The rendered poses of every row.

    Parameters
    ----------
    rotations
        (R, K, 3, 3) float64: R is 1 if all rows are exposed together, else the height of the photograph.
    translations
        (R, K, 3) float64, in units of the depth of the farthest layer.
    weights
        (R, K) float64: the share of the exposure that each pose lasts; each row sums to 1.
    """

    rotations: NDArray[np.float64]
    translations: NDArray[np.float64]
    weights: NDArray[np.float64]


def focal_px_of_35mm(focal_mm: float, size: tuple[int, int]) -> float:
    """Return the focal length in pixels of a photograph (height, width), from its equivalent on 35 mm film.

    Raises
    ------
    SettingsError
        If it is not from 4 to 4000 mm; 0 in the EXIF data means unknown.
    """
    if not 4 <= focal_mm <= 4000:
        raise SettingsError(f"focal length {focal_mm:g} mm (35 mm equivalent): must be from 4 to 4000")
    return focal_mm * math.hypot(*size) / _DIAGONAL_MM


def rotation_matrices(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn rotation vectors (..., 3) in radians into matrices (..., 3, 3): Rodrigues' formula."""
    squared = np.einsum("...i,...i->...", vectors, vectors)
    angle = np.sqrt(squared)
    is_small = angle < 1e-4
    safe = np.where(is_small, 1.0, angle)
    a = np.where(is_small, 1 - squared / 6, np.sin(safe) / safe)[..., None, None]
    b = np.where(is_small, 0.5 - squared / 24, (1 - np.cos(safe)) / safe**2)[..., None, None]
    x, y, z = np.moveaxis(vectors, -1, 0)
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(*x.shape, 3, 3)
    outer = vectors[..., :, None] * vectors[..., None, :]
    matrices: NDArray[np.float64] = np.eye(3) * (1 - b * squared[..., None, None]) + a * cross + b * outer
    return matrices


def rotation_vectors(matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn rotation matrices (..., 3, 3) into vectors (..., 3) in radians; good for angles below 3."""
    skew = np.stack(
        [
            matrices[..., 2, 1] - matrices[..., 1, 2],
            matrices[..., 0, 2] - matrices[..., 2, 0],
            matrices[..., 1, 0] - matrices[..., 0, 1],
        ],
        axis=-1,
    )
    sine = np.sqrt(np.einsum("...i,...i->...", skew, skew)) / 2
    angle = np.arctan2(sine, (np.trace(matrices, axis1=-2, axis2=-1) - 1) / 2)
    is_small = sine < 1e-6
    factor = np.where(is_small, 0.5, angle / (2 * np.where(is_small, 1.0, sine)))
    return np.asarray(skew * factor[..., None], np.float64)


def homographies(
    rotations: NDArray[np.float64],
    translations: NDArray[np.float64],
    *,
    focal_px: float,
    size: tuple[int, int],
    depth: float = 1.0,
) -> NDArray[np.float64]:
    """Return where each pixel of a view comes from in the photograph.

    Parameters
    ----------
    rotations, translations
        (..., 3, 3) and (..., 3) float64: the camera's, relative to where the photograph was taken from.
    focal_px
        Focal length.
    size
        (height, width) of the photograph.
    depth
        Of the layer, in units of the farthest one's.

    Returns
    -------
    (..., 3, 3) float64, (x, y, 1) of the view to (x, y, 1) w of the photograph: K ((1 - t_z/d) I + t e_z^T / d) R K^-1,
    the homography of a plane z = d (Hartley & Zisserman, Multiple View Geometry, section 13.1).
    """
    height, width = size
    intrinsics = np.array([[focal_px, 0, (width - 1) / 2], [0, focal_px, (height - 1) / 2], [0, 0, 1]])
    plane = np.zeros((*translations.shape[:-1], 3, 3))
    plane[..., :, 2] = translations / depth
    plane += (1 - translations[..., 2] / depth)[..., None, None] * np.eye(3)
    return intrinsics @ plane @ rotations @ np.linalg.inv(intrinsics)


def warp(matrices: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Apply homographies (..., 3, 3) to points that broadcast against (...): (..., 2) float64, x and y."""
    rows = [matrices[..., i, 0] * x + matrices[..., i, 1] * y + matrices[..., i, 2] for i in range(3)]
    return np.stack([rows[0] / rows[2], rows[1] / rows[2]], axis=-1)


def expose(
    trajectory: Trajectory, size: tuple[int, int], *, depths: tuple[float, ...] = (1.0,), step_px: float = 0.5
) -> Exposure:
    """Choose the poses to render: each row's are relative to the barycentre of its own exposure.

    So the mean motion is zero in every row, and the sharp image of every row is the photograph itself; the bending of
    the picture by a rolling shutter is taken to be in the photograph already. Poses are laid so that nothing in the
    picture moves by more than ``step_px`` from one to the next, each weighted with the time that it lasts.

    Parameters
    ----------
    trajectory
        The camera's.
    size
        (height, width) of the photograph.
    depths
        Of the layers.
    step_px
        Largest motion between poses.

    Raises
    ------
    SettingsError
        If the motion is so long that it would take more than 4096 poses.
    """
    height = size[0]
    readout = trajectory.readout_fraction
    num_rows = height if readout > 0 else 1
    starts = readout * ((np.arange(num_rows) + 0.5) / num_rows - 0.5)
    travelled = _travelled_px(trajectory, size, depths)
    begins, ends = (np.interp(starts + shift, trajectory.times, travelled) for shift in (0.0, 1.0))
    num_poses = max(1, math.ceil(float((ends - begins).max() - _STILL_PX) / step_px))
    if num_poses > _MAX_POSES:
        longest = float((ends - begins).max())
        raise SettingsError(
            f"motion of {longest:.0f} px: too long, at most {_MAX_POSES * step_px:g} px can be rendered"
        )
    edges_px = begins[:, None] + (ends - begins)[:, None] * np.linspace(0, 1, num_poses + 1)
    edges = np.interp(edges_px, travelled, trajectory.times)
    edges[:, 0], edges[:, -1] = starts, starts + 1
    weights = np.diff(edges, axis=1)
    middles = np.interp((edges_px[:, 1:] + edges_px[:, :-1]) / 2, travelled, trajectory.times)
    poses = trajectory.at(middles)  # (R, K, 6)
    rotations = _about_the_mean(rotation_matrices(poses[..., :3]), weights)
    translations = poses[..., 3:] - np.einsum("rk,rki->ri", weights, poses[..., 3:])[:, None]
    return Exposure(rotations, translations, weights)


def _about_the_mean(rotations: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn rotations (R, K, 3, 3) so that their weighted mean is none."""
    for _ in range(2):  # the mean of vectors is that of rotations but for the second order
        mean = np.einsum("rk,rki->ri", weights, rotation_vectors(rotations))
        rotations = rotation_matrices(-mean)[:, None] @ rotations
    return rotations


def _travelled_px(trajectory: Trajectory, size: tuple[int, int], depths: tuple[float, ...]) -> NDArray[np.float64]:
    """Return how far the farthest-moving of nine points of the picture has come at each time: (T,) increasing."""
    height, width = size
    ys, xs = (g.ravel() for g in np.meshgrid([0, (height - 1) / 2, height - 1], [0, (width - 1) / 2, width - 1]))
    steps = np.zeros(trajectory.times.size - 1)
    for depth in depths:
        matrices = homographies(
            rotation_matrices(trajectory.poses[:, :3]),
            trajectory.poses[:, 3:],
            focal_px=trajectory.focal_px,
            size=size,
            depth=depth,
        )
        places = warp(matrices[:, None], xs, ys)  # (T, 9, 2)
        steps = np.maximum(steps, np.sqrt((np.diff(places, axis=0) ** 2).sum(axis=-1)).max(axis=1))
    span = trajectory.times[-1] - trajectory.times[0]
    travelled = np.concatenate([[0], np.cumsum(steps)])
    return np.asarray(travelled + _STILL_PX * (trajectory.times - trajectory.times[0]) / span, np.float64)


def seen_box(matrices: NDArray[np.float64], size: tuple[int, int]) -> tuple[int, int]:
    """Return the margins (top and bottom, left and right) inside which every view sees the photograph.

    Parameters
    ----------
    matrices
        (L, R, K, 3, 3) float64 from `homographies`; R is 1 or the height.
    size
        (height, width) of the photograph.

    Returns
    -------
    Margins in px: for every pixel between them, every source pixel has two neighbours on all sides. A homography maps a
    row to a straight line, so only the ends of rows need to be looked at. Where there is no such pixel, the margins
    are half the size or more.
    """
    height, width = size
    vertical = horizontal = 2
    least = 1 + 1e-6  # the renderer's arithmetic may differ in the last bits
    while 2 * vertical < height and 2 * horizontal < width:
        rows = np.arange(vertical, height - vertical)
        chosen = matrices if matrices.shape[1] == 1 else matrices[:, rows]
        ends = np.array([horizontal, width - 1 - horizontal], np.float64)
        if matrices.shape[1] == 1:
            rows = rows[[0, -1]]
            chosen = np.repeat(chosen, 2, axis=1)
        places = warp(chosen[..., None, :, :], ends, rows[None, :, None, None].astype(np.float64))
        short_x = max(least - float(places[..., 0].min()), float(places[..., 0].max()) - (width - 1 - least))
        short_y = max(least - float(places[..., 1].min()), float(places[..., 1].max()) - (height - 1 - least))
        if short_x <= 0 and short_y <= 0:
            return vertical, horizontal
        horizontal += max(0, math.ceil(short_x))
        vertical += max(0, math.ceil(short_y))
    return max(vertical, height), max(horizontal, width)
