"""Scale pyramids of images; scale 0 is the finest."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["average_pyramid", "check_images", "gaussian_pyramid"]

_SIGMA_PX = 0.75
_SIDE_TAP = math.exp(-0.5 / _SIGMA_PX**2)
_CENTER_WEIGHT = 1 / (1 + 2 * _SIDE_TAP)
_SIDE_WEIGHT = _SIDE_TAP * _CENTER_WEIGHT


def check_images(images: Tensor, size_multiple: int) -> None:
    """Refuse what is not a batch of RGB images whose sides can be halved evenly.

    Parameters
    ----------
    images
        (N, 3, H, W), any floating dtype.
    size_multiple
        What H and W must be multiples of.

    Raises
    ------
    ValueError
        If the shape or the dtype is another; the message names it.
    """
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        msg = (
            f"images have shape {tuple(images.shape)} and dtype {images.dtype}: expected (N, 3, H, W) floats in [0, 1]"
        )
        raise ValueError(msg)
    height, width = images.shape[2:]
    if height % size_multiple or width % size_multiple or not height or not width:
        msg = f"images are {height} × {width} (height × width): both must be multiples of {size_multiple}, so pad them"
        raise ValueError(msg)


def gaussian_pyramid(images: Tensor, num_scales: int) -> list[Tensor]:
    """Blur and take every second pixel, again and again: the pyramid that the paper's network works on.

    Parameters
    ----------
    images
        (N, 3, H, W) float in [0, 1]; H and W multiples of 2^(num_scales - 1). Left as they are.
    num_scales
        Number of scales, at least 1.

    Returns
    -------
    `num_scales` tensors, finest first: ``images`` itself, then (N, 3, H/2, W/2), … in the same dtype, layout and
    range, up to rounding.

    Raises
    ------
    ValueError
        If the images cannot be halved that often.

    Notes
    -----
    As the code released with Nah et al., CVPR 2017, does it: 3 × 3 Gaussian with sigma 0.75 px,
    normalised, then the pixels with even row and column, successively. The convolution sees zeros beyond the border of
    an image whose channel means were subtracted, once, from the finest scale; that is, the image continues with its
    mean colour. Pixel (i, j) of scale k lies over pixel (2^k i, 2^k j) of scale 0, so crops have to start on
    multiples of 2^(num_scales - 1), or the scales are shifted against each other.

    Sums are formed in float32 at least. They are written as sums and not as a convolution, so that autocast does
    not lower the precision of what a loss compares with.
    """
    _check_num_scales(num_scales)
    check_images(images, 2 ** (num_scales - 1))
    precise = images.to(torch.promote_types(images.dtype, torch.float32))
    mean = precise.mean(dim=(2, 3), keepdim=True)  # (N, 3, 1, 1)
    level = precise - mean
    pyramid = [images]
    for _ in range(num_scales - 1):
        level = F.pad(level, (1, 0, 1, 0))  # no pixel is kept whose neighbour lies beyond the right or lower border
        level = _blur_pairs(level[:, :, 0:-1:2], level[:, :, 1::2], level[:, :, 2::2])  # (N, 3, H/2, 1 + W)
        level = _blur_pairs(level[..., 0:-1:2], level[..., 1::2], level[..., 2::2])  # (N, 3, H/2, W/2)
        pyramid.append((level + mean).to(images.dtype))
    return pyramid


def _blur_pairs(before: Tensor, center: Tensor, after: Tensor) -> Tensor:
    return center * _CENTER_WEIGHT + (before + after) * _SIDE_WEIGHT


def average_pyramid(images: Tensor, num_scales: int) -> list[Tensor]:
    """Average squares of 2 × 2 pixels, again and again.

    Parameters
    ----------
    images
        (N, 3, H, W) float in [0, 1]; H and W multiples of 2^(num_scales - 1). Left as they are.
    num_scales
        Number of scales, at least 1.

    Returns
    -------
    `num_scales` tensors, finest first: ``images`` itself, then (N, 3, H/2, W/2), … in the same dtype and range.

    Raises
    ------
    ValueError
        If the images cannot be halved that often.

    Notes
    -----
    Pixel (i, j) of scale k is centred on its square of 2^k × 2^k pixels, where pixel shuffling puts it too.
    """
    _check_num_scales(num_scales)
    check_images(images, 2 ** (num_scales - 1))
    pyramid = [images]
    for _ in range(num_scales - 1):
        pyramid.append(F.avg_pool2d(pyramid[-1], 2))  # (N, 3, H/2, W/2)
    return pyramid


def _check_num_scales(num_scales: int) -> None:
    if num_scales < 1:
        msg = f"num_scales is {num_scales}: a pyramid has at least one scale"
        raise ValueError(msg)
