"""Interpolated light, and its mean over poses: what `blursynth.shake.kernel` does, as tensor operations."""

import torch
from torch import Tensor
from torch.nn import functional as F

from .poses import displacements

__all__ = ["darkest", "mean_of_views"]


def darkest(light: Tensor) -> Tensor:
    """Return a quarter of the least of the sixteen pixels that interpolation right and below each pixel looks at.

    Parameters
    ----------
    light
        (N, H, W, 3) float32.

    Returns
    -------
    The same shape; values within two pixels of the border are not to be used.
    """
    planes = F.pad(light.permute(0, 3, 1, 2), (1, 2, 1, 2), mode="replicate")
    least = -F.max_pool2d(-planes, 4, stride=1)
    return (0.25 * least).permute(0, 2, 3, 1).contiguous()


def mean_of_views(
    light: Tensor, limits: Tensor, alphas: Tensor, coefficients: Tensor, weights: Tensor, x: Tensor, reach_px: int
) -> Tensor:
    """Return the weighted sum of what some poses see, and of how much of it clips.

    Parameters
    ----------
    light
        (N, H, W, 3) float32: the crop with ``reach_px`` more on all sides.
    limits
        The same shape, see `darkest`.
    alphas
        (L - 1, N, H, W) float32: what each nearer layer covers.
    coefficients
        (L, N, K, h, 1, 7) float32, see `RowPoses.coefficients`.
    weights
        (N, K, h) float32.
    x
        (N, w) float32: columns of the crop, from the middle of the photograph, in focal lengths.
    reach_px
        No displacement is as large, but for two pixels.

    Returns
    -------
    (N, h, w, 6) float32: light, then the share of the poses for which the pixel saw light of 1 or more.
    """
    places = _places(light, coefficients[0], x, reach_px)
    seen = _light_at(light, limits, *places)
    for layer in range(1, coefficients.shape[0]):
        places = _places(light, coefficients[layer], x, reach_px)
        alpha = _mask_at(alphas[layer - 1], *places)
        seen = seen + alpha * (_light_at(light, limits, *places) - seen)
    return (weights[..., None, None] * seen).sum(dim=1)


def _places(light: Tensor, coefficients: Tensor, x: Tensor, reach_px: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the pixel above and to the left of where light comes from, counted through ``light``, and the rest."""
    num, height, width = light.shape[:3]
    to_right, down = displacements(coefficients, x)  # (N, K, h, w)
    whole_x, whole_y = to_right.floor(), down.floor()
    rows = torch.arange(to_right.shape[2], device=x.device)[:, None] + reach_px
    columns = torch.arange(to_right.shape[3], device=x.device) + reach_px
    column = (columns + whole_x.int()).clamp(1, width - 3)
    row = (rows + whole_y.int()).clamp(1, height - 3)
    first = torch.arange(num, device=x.device)[:, None, None, None] * height
    return (first + row) * width + column, (to_right - whole_x)[..., None], (down - whole_y)[..., None]


def _keys(t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the weights of the four pixels around a place: Keys' cubic kernel, a = -1/2."""
    square = t * t
    cube = square * t
    return (
        square - 0.5 * (t + cube),
        1 + 1.5 * cube - 2.5 * square,
        0.5 * t + 2 * square - 1.5 * cube,
        0.5 * (cube - square),
    )


def _light_at(light: Tensor, limits: Tensor, index: Tensor, tx: Tensor, ty: Tensor) -> Tensor:
    """Interpolate light, limited as in the kernel, and by bilinear interpolation whether it clips: (N, K, h, w, 6)."""
    width = light.shape[2]
    pixels = light.reshape(-1, 3)
    along_x, along_y = _keys(tx), _keys(ty)
    lines, bent, clipped = [], [], []
    for j in range(4):
        taps = [pixels[index + ((j - 1) * width + i - 1)] for i in range(4)]
        lines.append(along_x[0] * taps[0] + along_x[1] * taps[1] + along_x[2] * taps[2] + along_x[3] * taps[3])
        if j in {1, 2}:
            bent.append(taps[1] + tx * (taps[2] - taps[1]))
            left, right = (taps[1] >= 1).float(), (taps[2] >= 1).float()
            clipped.append(left + tx * (right - left))
    cubic = along_y[0] * lines[0] + along_y[1] * lines[1] + along_y[2] * lines[2] + along_y[3] * lines[3]
    linear, clipping = (line + ty * (below - line) for line, below in (bent, clipped))
    limit = limits.reshape(-1, 3)[index]
    return torch.cat([linear + (cubic - linear).clamp(min=-limit, max=limit), clipping], dim=-1)


def _mask_at(mask: Tensor, index: Tensor, tx: Tensor, ty: Tensor) -> Tensor:
    """Interpolate a mask bilinearly: (N, K, h, w, 1)."""
    width = mask.shape[2]
    pixels = mask.reshape(-1, 1)
    above, above_right, below, below_right = (pixels[index + step] for step in (0, 1, width, width + 1))
    first, second = above + tx * (above_right - above), below + tx * (below_right - below)
    return first + ty * (second - first)
