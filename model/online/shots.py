"""What is drawn for a sample on the CPU: which photograph and where, how the camera moves, what the sensor does.

A shot is a few thousand numbers; everything as large as a picture is computed from it on the device.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from blursynth.errors import SettingsError
from blursynth.shake import ShakeRule, Trajectory, draw_trajectory, homographies
from blursynth.shake.camera import rotation_matrices, warp
from blursynth.shake.rule import generator

from .masks import Cut, draw_cut
from .poses import displacements, row_poses

__all__ = ["Shot", "draw_shot", "shot_of"]

_PLACE_STREAM = 3  # of the generator: the one from which `shaken` draws places
_STILL_PX = 0.01  # as `expose` counts it
_NUM_ROWS = 17  # looked at to find how far a crop must stay from the border
_SLACK_PX = 1.0
_TAPS_PX = 2.0  # that an interpolated pixel needs around it
_MAX_TRIES = 8


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """One sample before it is rendered.

    Parameters
    ----------
    photo
        Number of the photograph.
    size
        (height, width) of the photograph.
    top, left
        Place of the crop, px.
    track
        (8, T) float64: times, px travelled until then by what moves farthest in the picture, six columns of poses.
    focal_px, readout_fraction
        Of the trajectory.
    num_poses
        Poses of every row.
    reach_px
        No light of the crop comes from farther outside of it.
    cut
        The layers.
    key
        The sample's, from which its light is drawn.
    jpeg_phase
        (rows, columns) from the crop to the corner of the JPEG blocks before it, 0 to 15 each.
    """

    photo: int
    size: tuple[int, int]
    top: int
    left: int
    track: NDArray[np.float64]
    focal_px: float
    readout_fraction: float
    num_poses: int
    reach_px: int
    cut: Cut
    key: int = 0
    jpeg_phase: tuple[int, int] = (0, 0)


def draw_shot(rule: ShakeRule, key: int, size: tuple[int, int], patch: int, *, is_still: bool = False) -> Shot:
    """Draw a crop's shake, from the streams of the key that `shake` draws it from.

    A shake that would need light from outside the photograph is made as much shorter as it takes.

    Parameters
    ----------
    rule, key
        As for `blursynth.shake.draw_trajectory` and `draw_layers`.
    size
        (height, width) of the photograph.
    patch
        Side of the crop, px.
    is_still
        Whether the camera rests.

    Raises
    ------
    SettingsError
        If the photograph is too small for the crop.
    """
    trajectory = draw_trajectory(rule, key, size)
    cut = draw_cut(rule, key)
    scale = 0.0 if is_still else 1.0
    for _ in range(_MAX_TRIES):
        shot = shot_of(_scaled(trajectory, scale), cut, size, step_px=rule.step_px)
        spare = min(size) - patch - 2 * shot.reach_px
        if spare >= 0:
            shares = generator(key, _PLACE_STREAM).random(2)
            top, left = (_place(share, side, patch, shot.reach_px) for share, side in zip(shares, size, strict=True))
            return replace(shot, top=top, left=left)
        scale *= 0.8 * max(0.1, 1 + spare / (2 * shot.reach_px))
    raise SettingsError(f"photo of {size[1]}x{size[0]} px: too small for crops of {patch} px; choose a smaller patch")


def shot_of(trajectory: Trajectory, cut: Cut, size: tuple[int, int], *, step_px: float = 0.5) -> Shot:
    """Prepare a trajectory for rendering; the crop lies in the corner until it is placed."""
    travelled = _travelled_px(trajectory, size, cut.depths)
    track = np.vstack([trajectory.times, travelled, trajectory.poses.T])
    readout = trajectory.readout_fraction
    starts = readout * ((np.arange(size[0]) + 0.5) / size[0] - 0.5)
    begins, ends = (np.interp(starts + shift, trajectory.times, travelled) for shift in (0.0, 1.0))
    longest_px = float((ends - begins).max())
    num_poses = max(1, math.ceil((longest_px - _STILL_PX) / step_px))
    shot = Shot(0, size, 0, 0, track, trajectory.focal_px, readout, num_poses, 0, cut)
    return replace(shot, reach_px=_reach_px(shot, longest_px))


def _scaled(trajectory: Trajectory, scale: float) -> Trajectory:
    return trajectory if scale == 1 else replace(trajectory, poses=scale * trajectory.poses)


def _place(share: float, side: int, patch: int, reach_px: int) -> int:
    return reach_px + int(share * (side - patch - 2 * reach_px + 1))


def _travelled_px(trajectory: Trajectory, size: tuple[int, int], depths: tuple[float, ...]) -> NDArray[np.float64]:
    """Return how far the farthest-moving of nine points has come at each time, as `expose` measures it: (T,)."""
    height, width = size
    ys, xs = (g.ravel() for g in np.meshgrid([0, (height - 1) / 2, height - 1], [0, (width - 1) / 2, width - 1]))
    rotations = rotation_matrices(trajectory.poses[:, :3])
    steps = np.zeros(trajectory.times.size - 1)
    for depth in depths:
        matrices = homographies(
            rotations, trajectory.poses[:, 3:], focal_px=trajectory.focal_px, size=size, depth=depth
        )
        places = warp(matrices[:, None], xs, ys)  # (T, 9, 2)
        steps = np.maximum(steps, np.sqrt((np.diff(places, axis=0) ** 2).sum(axis=-1)).max(axis=1))
    span = trajectory.times[-1] - trajectory.times[0]
    travelled = np.concatenate([[0], np.cumsum(steps)])
    return np.asarray(travelled + _STILL_PX * (trajectory.times - trajectory.times[0]) / span, np.float64)


def _reach_px(shot: Shot, longest_px: float) -> int:
    """Return how far from its own place the light of any pixel comes from, and the interpolation around it."""
    # Rows between two of those that are looked at have poses of both, but another barycentre: the mean of a path moves
    # by no more than the share of the exposure times the path.
    between_px = shot.readout_fraction / (_NUM_ROWS - 1) * longest_px
    height, width = shot.size
    rows = torch.linspace(0, height - 1, _NUM_ROWS, dtype=torch.float64)[None]
    columns = torch.linspace(0, width - 1, 3, dtype=torch.float64)[None]
    poses, _ = row_poses(
        torch.from_numpy(shot.track)[None],
        shot.readout_fraction * ((rows + 0.5) / height - 0.5),
        torch.tensor([shot.num_poses]),
        shot.num_poses,
    )
    y = (rows - (height - 1) / 2) / shot.focal_px
    x = ((columns - (width - 1) / 2) / shot.focal_px).float()
    focal = torch.tensor([shot.focal_px], dtype=torch.float64)
    moved = [
        displacements(poses.coefficients(y, focal, torch.tensor([depth], dtype=torch.float64)), x)
        for depth in shot.cut.depths
    ]
    farthest = max(float(torch.stack(both).abs().max()) for both in moved)
    return math.ceil(farthest + between_px + _SLACK_PX + _TAPS_PX)
