"""Rendering shots: blurry crops in linear light, many at once, on any device."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from .kernel import is_available, mean_by_kernel
from .masks import masks
from .photos import PhotoSet
from .poses import row_poses
from .sampling import darkest, mean_of_views
from .shots import Shot
from .transfer import sent

__all__ = ["Crops", "Renderer", "shake_crops"]

_MAX_SHOTS = {"cpu": 1, "cuda": 16}  # rendered together
_MAX_VIEWS = {"cpu": 1 << 14, "cuda": 1 << 23}  # pixels of poses at once; without torch.compile each takes 300 bytes

Renderer = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, int], Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Crops:
    """What the shots saw.

    Parameters
    ----------
    blurry_linear
        (N, h, w, 3) float32 linear light.
    saturation
        (N, h, w, 3) float32 in [0, 1]: the share of the exposure for which a pixel saw light at the clipping code.
    sharp
        (N, h, w, 3) uint8: the same part of the photograph, unchanged.
    """

    blurry_linear: Tensor
    saturation: Tensor
    sharp: Tensor


def shake_crops(photos: PhotoSet, shots: Sequence[Shot], patch: int, *, renderer: Renderer | None = None) -> Crops:
    """Render shots of photographs, on the photographs' device.

    As `blursynth.shake.rendering.shaken` would render the same trajectories, layers and places, within one 8-bit code.

    Parameters
    ----------
    photos
        The photographs.
    shots
        N of them, placed so that the crop and what its light comes from lie inside their photographs.
    patch
        Side of the crops in px.
    renderer
        `mean_of_views`, or what torch.compile makes of it; if not given, the compiled kernel of `blursynth shake`
        on the CPU where numba is installed, else `mean_of_views`.

    Notes
    -----
    Nothing waits for the device. On the CPU the result is the same whatever shots are rendered together.
    """
    device = photos.device
    blurry = torch.empty(len(shots), patch, patch, 6, dtype=torch.float32, device=device)
    sharp = torch.empty(len(shots), patch, patch, 3, dtype=torch.uint8, device=device)
    for chosen in _alike(shots, _limit(_MAX_SHOTS, device)):
        places = sent(torch.tensor(chosen), device)
        seen, codes = _rendered(photos, [shots[i] for i in chosen], patch, renderer)
        blurry.index_copy_(0, places, seen)
        sharp.index_copy_(0, places, codes)
    return Crops(blurry[..., :3], blurry[..., 3:].clamp(0, 1), sharp)


def _alike(shots: Sequence[Shot], most: int) -> Iterator[list[int]]:
    """Group shots with equally many layers and about as many poses, those with the most first.

    Where groups may be larger than one, a shot that is left alone comes twice: torch.compile makes a kernel of its own
    for batches of one.
    """
    order = sorted(range(len(shots)), key=lambda i: (len(shots[i].cut.depths), -shots[i].num_poses))
    for _, chosen in groupby(order, key=lambda i: len(shots[i].cut.depths)):
        same = list(chosen)
        for first in range(0, len(same), most):
            group = same[first : first + most]
            yield group * 2 if len(group) == 1 < most else group


def _rendered(photos: PhotoSet, shots: list[Shot], patch: int, renderer: Renderer | None) -> tuple[Tensor, Tensor]:
    """Return light and saturation, (N, patch, patch, 6) float32, and the sharp codes, (N, patch, patch, 3) uint8."""
    device = photos.device
    reach = max(shot.reach_px for shot in shots)
    values = np.array([_numbers(shot) for shot in shots], np.float64).T
    tops, lefts, heights, widths, focal, readout, num_poses = sent(torch.from_numpy(values), device)
    tracks = sent(torch.from_numpy(np.stack([shot.track for shot in shots])), device)
    sides = torch.maximum(heights, widths)
    around, inside = torch.arange(-reach, patch + reach, device=device), slice(reach, reach + patch)
    all_rows, all_columns = tops[:, None] + around, lefts[:, None] + around
    rows, columns = all_rows[:, inside], all_columns[:, inside]

    codes = photos.cut_out([shot.photo for shot in shots], all_rows, all_columns)
    light, sharp = photos.linear(codes), codes[:, inside, inside]
    alphas = masks([shot.cut for shot in shots], all_rows, all_columns, heights, sides)
    starts = readout[:, None] * ((rows + 0.5) / heights[:, None] - 0.5)
    by_kernel = renderer is None and device.type == "cpu" and is_available()
    step = 1 if by_kernel else _poses_at_once(device, patch)
    most_poses = step * math.ceil(max(shot.num_poses for shot in shots) / step)
    poses, weights = row_poses(tracks, starts, num_poses.long(), most_poses)
    if by_kernel:
        return mean_by_kernel(light, alphas, poses, weights, shots[0]), sharp

    y = (rows - (heights[:, None] - 1) / 2) / focal[:, None]
    x = ((columns - (widths[:, None] - 1) / 2) / focal[:, None]).float()
    depths = sent(torch.tensor([shot.cut.depths for shot in shots], dtype=torch.float64).T, device)
    coefficients = torch.stack([poses.coefficients(y, focal, depth) for depth in depths])
    shares = weights.float().transpose(1, 2).contiguous()
    total = torch.zeros(len(shots), patch, patch, 6, dtype=torch.float32, device=device)
    limits, render = darkest(light), renderer or mean_of_views
    for first in range(0, most_poses, step):
        part = slice(first, first + step)
        busy = slice(max(2, sum(shot.num_poses > first for shot in shots)))  # those with the most poses come first
        view = (coefficients[:, busy, part], shares[busy, part], x[busy], reach)
        total[busy] += render(light[busy], limits[busy], alphas[:, busy], *view)
    return total, sharp


def _poses_at_once(device: torch.device, patch: int) -> int:
    # The same for all groups of shots, so that torch.compile sees few shapes.
    return max(1, _limit(_MAX_VIEWS, device) // (_limit(_MAX_SHOTS, device) * patch * patch))


def _limit(limits: dict[str, int], device: torch.device) -> int:
    return limits.get(device.type, limits["cpu"])


def _numbers(shot: Shot) -> tuple[float, ...]:
    return (shot.top, shot.left, *shot.size, shot.focal_px, shot.readout_fraction, shot.num_poses)
