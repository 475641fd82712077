"""The poses of every row of a crop, and where its pixels come from; what `blursynth.shake.expose` does, for batches.

In tensors, N counts samples, R rows, K poses, T times. Geometry is float64 until it is down to displacements.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["RowPoses", "displacements", "row_poses"]

_SMALL = 1e-8  # radians squared, below which Rodrigues' formula is taken from its series


@dataclass(frozen=True, slots=True, eq=False)
class RowPoses:
    """Poses about the barycentre of each row's exposure.

    Parameters
    ----------
    rotations
        (N, R, K, 3, 3) float64.
    translations
        (N, R, K, 3) float64, in units of the depth of the farthest layer.
    """

    rotations: Tensor
    translations: Tensor

    def coefficients(self, y: Tensor, focal_px: Tensor, depths: Tensor) -> Tensor:
        """Return what `displacements` needs to know of a layer.

        A pixel looks along (x, y, 1) / focal_px from the middle of the photograph, and comes from where the homography
        M = (1 - t_z/d) R + (t/d) (row 3 of R) takes that ray. Its displacement is a quotient in which everything large
        has been subtracted before rounding to float32.

        Parameters
        ----------
        y
            (N, R) float64: rows, from the middle, in focal lengths.
        focal_px, depths
            (N,) float64.

        Returns
        -------
        (N, K, R, 1, 7) float32.
        """
        depth = depths[:, None, None, None]
        shifts = self.translations / depth
        matrices = (1 - shifts[..., 2:])[..., None] * self.rotations
        matrices = matrices + shifts[..., :, None] * self.rotations[..., 2:, :]
        y = y[:, :, None]
        per_x, rest = matrices[..., 0], matrices[..., 1] * y[..., None] + matrices[..., 2]  # (N, R, K, 3): M ray
        focal = focal_px[:, None, None]
        terms = (
            focal * rest[..., 0],
            focal * (per_x[..., 0] - rest[..., 2]),
            focal * per_x[..., 2],
            focal * (rest[..., 1] - y * rest[..., 2]),
            focal * (per_x[..., 1] - y * per_x[..., 2]),
            rest[..., 2],
            per_x[..., 2],
        )
        return torch.stack(terms, dim=-1).float().transpose(1, 2)[:, :, :, None].contiguous()


def displacements(coefficients: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return how far to the right and below a pixel its light comes from.

    Parameters
    ----------
    coefficients
        (N, K, R, 1, 7) float32.
    x
        (N, W) float32: columns, from the middle, in focal lengths.

    Returns
    -------
    Two of (N, K, R, W) float32, in px.
    """
    a, b, c, d, e, f, g = coefficients.unbind(-1)
    x = x[:, None, None, :]
    scale = 1 / (f + g * x)
    return (a + x * (b - c * x)) * scale, (d + e * x) * scale


def row_poses(tracks: Tensor, starts: Tensor, num_poses: Tensor, most_poses: int) -> tuple[RowPoses, Tensor]:
    """Lay the poses of each row evenly along its path; see `blursynth.shake.expose`.

    Parameters
    ----------
    tracks
        (N, 8, T) float64, see `Shot`.
    starts
        (N, R) float64: when the exposure of each row begins; it lasts 1.
    num_poses
        (N,) int64.
    most_poses
        K, at least the largest of ``num_poses``; poses beyond a sample's own weigh nothing.

    Returns
    -------
    The poses, and (N, R, K) float64 weights, whose sum over K is 1.
    """
    times, travelled = tracks[:, 0].contiguous(), tracks[:, 1].contiguous()
    begins, ends = (_interpolated(starts + shift, times, travelled[:, None])[:, 0] for shift in (0.0, 1.0))
    counted = torch.arange(most_poses + 1, dtype=torch.float64, device=tracks.device)
    shares = (counted / num_poses[:, None]).clamp(max=1)[:, None]  # (N, 1, K + 1)
    edges_px = begins[..., None] + (ends - begins)[..., None] * shares
    edges = _interpolated(edges_px, travelled, times[:, None])[:, 0]
    edges = torch.where(shares == 0, starts[..., None], torch.where(shares == 1, starts[..., None] + 1, edges))
    weights = edges.diff(dim=-1)
    middles = _interpolated((edges_px[..., 1:] + edges_px[..., :-1]) / 2, travelled, times[:, None])[:, 0]
    poses = _interpolated(middles, times, tracks[:, 2:]).movedim(1, -1)  # (N, R, K, 6)
    mean_shift = (weights[..., None] * poses[..., 3:]).sum(dim=2, keepdim=True)
    rotations = _rotation_matrices(poses[..., :3])
    for _ in range(2):  # the mean of vectors is that of rotations but for the second order
        mean = (weights[..., None] * _rotation_vectors(rotations)).sum(dim=2, keepdim=True)
        rotations = _product(_rotation_matrices(-mean), rotations)
    return RowPoses(rotations, poses[..., 3:] - mean_shift), weights


def _interpolated(places: Tensor, grid: Tensor, values: Tensor) -> Tensor:
    """Interpolate (N, C, T) values between the increasing grid (N, T), at places (N, ...): (N, C, ...)."""
    flat = places.reshape(len(grid), -1)
    after = torch.searchsorted(grid, flat, right=True).clamp_(1, grid.shape[1] - 1)
    low, high = grid.gather(1, after - 1), grid.gather(1, after)
    share = ((flat - low) / (high - low)).clamp_(0, 1)
    wanted = after[:, None].expand(-1, values.shape[1], -1)
    first, second = values.gather(2, wanted - 1), values.gather(2, wanted)
    return (first + share[:, None] * (second - first)).reshape(*values.shape[:2], *places.shape[1:])


def _product(left: Tensor, right: Tensor) -> Tensor:
    # Written out: batches of matrix products of 3 by 3 are slow.
    return (left[..., :, :, None] * right[..., None, :, :]).sum(dim=-2)


def _rotation_matrices(vectors: Tensor) -> Tensor:
    """Turn rotation vectors (..., 3) into matrices: Rodrigues' formula."""
    squared = (vectors**2).sum(dim=-1)
    is_small = squared < _SMALL
    safe = torch.where(is_small, 1.0, squared)
    angle = safe.sqrt()
    a = torch.where(is_small, 1 - squared / 6, angle.sin() / angle)
    b = torch.where(is_small, 0.5 - squared / 24, (1 - angle.cos()) / safe)
    x, y, z = (a[..., None] * vectors).unbind(-1)
    outer = b[..., None, None] * vectors[..., :, None] * vectors[..., None, :]
    one = 1 - b * squared
    cross = torch.stack([one, -z, y, z, one, -x, -y, x, one], dim=-1).reshape(*squared.shape, 3, 3)
    return cross + outer


def _rotation_vectors(matrices: Tensor) -> Tensor:
    """Turn rotation matrices (..., 3, 3) into vectors; good for angles below 3."""
    m = matrices
    skew = torch.stack([m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]], dim=-1)
    sine = (skew**2).sum(dim=-1).sqrt() / 2
    trace = m[..., 0, 0] + m[..., 1, 1] + m[..., 2, 2]
    is_small = sine < 1e-6
    factor = torch.where(is_small, 0.5, torch.atan2(sine, (trace - 1) / 2) / (2 * torch.where(is_small, 1.0, sine)))
    return skew * factor[..., None]
