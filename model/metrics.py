"""PSNR and SSIM of display codes, by the definitions that published GOPRO tables can be compared with.

Several definitions share these two names and differ by far more than methods do: PSNR of luma alone is 1.5 to 2.5 dB
higher, SSIM over the colour volume 0.02 to 0.25 higher. No formula leads from one to the other. These two are the RGB
PSNR that everyone reports, and the two-dimensional Gaussian SSIM of Wang et al. that scikit-image and BasicSR compute;
`blursynth.model.evaluation` has the others.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["C1", "C2", "PEAK", "RADIUS", "check_images", "psnr", "similarity_means", "ssim"]

PEAK = 255.0
C1 = (0.01 * PEAK) ** 2
C2 = (0.03 * PEAK) ** 2
RADIUS = 5  # of the window: 3.5 sigma, rounded
_TAPS = np.exp(-0.5 * (np.arange(-RADIUS, RADIUS + 1) / 1.5) ** 2)
_TAPS /= _TAPS.sum()
_STRIP = 12  # rows worked on at once: what is in between stays in the processor's cache


def psnr(restored: NDArray[np.uint8], sharp: NDArray[np.uint8]) -> float:
    """Return the peak signal-to-noise ratio of one image.

    Parameters
    ----------
    restored, sharp
        (H, W, 3) uint8, RGB display codes, equal sizes of at least 11 × 11 (what `ssim` needs).

    Returns
    -------
    10 log10(255² / MSE) in dB over all pixels of all three channels, no border left out; infinite for equal images.

    Raises
    ------
    ValueError
        If the arrays are not two uint8 RGB images of one size.

    Notes
    -----
    Of a data set, the literature reports the mean of this number over the images, not the number of the mean error.
    """
    check_images(restored, sharp)
    squared_error = 0
    for start in range(0, sharp.shape[0], _STRIP):  # in strips: the differences of a large photograph need no memory
        difference = np.subtract(restored[start : start + _STRIP], sharp[start : start + _STRIP], dtype=np.int32)
        squared_error += int(np.square(difference).sum(dtype=np.int64))
    if squared_error == 0:
        return math.inf
    return 10 * math.log10(PEAK**2 * sharp.size / squared_error)


def ssim(restored: NDArray[np.uint8], sharp: NDArray[np.uint8]) -> float:
    """Return the structural similarity of one image, the mean over pixels and over the channels R, G and B.

    Parameters
    ----------
    restored, sharp
        (H, W, 3) uint8, RGB display codes, equal sizes of at least 11 × 11.

    Returns
    -------
    In [-1, 1], 1 for equal images.

    Raises
    ------
    ValueError
        If the arrays are not two uint8 RGB images of one size of at least 11 × 11.

    Notes
    -----
    Wang et al., IEEE TIP 2004, eq. 13 to 16: 11 × 11 Gaussian window with sigma 1.5, K1 = 0.01, K2 = 0.03, peak 255,
    population covariance, only windows that lie inside the image. It is scikit-image's ``structural_similarity`` with
    ``channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255``, and not the SSIM
    over the colour volume that MATLAB computes from an RGB array (Nah et al., CVPR 2017, print that one).

    It works in double precision: single precision is off by up to 6e-5 where the image is flat, because a variance is
    a difference of large numbers.
    """
    check_images(restored, sharp)
    similarity, _ = similarity_means(restored, sharp)
    return float(similarity.mean())


def check_images(restored: NDArray[np.uint8], sharp: NDArray[np.uint8]) -> None:
    """Refuse all but two (H, W, 3) uint8 images of one size of at least 11 × 11.

    Raises
    ------
    ValueError
        It names the dtype or the shapes.
    """
    for name, image in (("restored", restored), ("sharp", sharp)):
        if image.dtype != np.uint8:
            msg = f"{name} has dtype {image.dtype}, not uint8: pass display codes from 0 to 255"
            raise ValueError(msg)
    smallest = 2 * RADIUS + 1
    shape = sharp.shape
    if restored.shape != shape or len(shape) != 3 or shape[2] != 3 or min(shape[:2]) < smallest:
        msg = (
            f"shapes {restored.shape} of restored and {shape} of sharp: "
            f"expected one (H, W, 3) with H and W of at least {smallest}"
        )
        raise ValueError(msg)


def similarity_means(
    restored: NDArray[Any], sharp: NDArray[Any], mixing: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the means of SSIM, and of SSIM without its luminance term, over all windows inside the image.

    Parameters
    ----------
    restored, sharp
        (H, W, C), codes from 0 to 255, whole or not, of one size of at least 11 × 11.
    mixing
        (C, C) whose columns sum to 1: a channel's statistics are taken over channels with these weights. Without it,
        every channel stands alone.

    Returns
    -------
    Two times (C,) float64: l·c·s and c·s of Wang et al., with c·s = (2 cov + C2) / (var + var' + C2).
    """
    height, width, channels = sharp.shape
    num_rows = height - 2 * RADIUS
    sums = np.zeros((2, (width - 2 * RADIUS) * channels))
    for start in range(0, num_rows, _STRIP):
        rows = slice(start, min(start + _STRIP, num_rows) + 2 * RADIUS)
        _kernel()(_fields(restored[rows], sharp[rows], mixing), channels, _TAPS, C1, C2, sums[0], sums[1])
    similarity, structure = sums.reshape(2, -1, channels).sum(axis=1) / (num_rows * (width - 2 * RADIUS))
    return similarity, structure


def _fields(restored: NDArray[Any], sharp: NDArray[Any], mixing: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """Return what is averaged, (4, rows, W·C), the channels interleaved: both images, their product, their squares.

    Only the sum of the two variances is needed, so four fields do instead of five.
    """
    fields = np.empty((4, *sharp.shape))
    fields[0] = restored
    fields[1] = sharp
    np.multiply(fields[0], fields[1], out=fields[2])
    np.add(np.square(fields[0]), np.square(fields[1]), out=fields[3])
    if mixing is not None:
        fields = fields @ mixing
    return fields.reshape(4, len(sharp), -1)


@functools.cache
def _kernel() -> Callable[..., None]:
    """Compile on first use: training, which only needs `psnr`, does without numba."""
    from blursynth.compiling import compiled  # noqa: PLC0415

    return compiled(_add_similarity)


def _add_similarity(
    fields: Any, step: int, taps: Any, c1: float, c2: float, similarity: Any, structure: Any
) -> None:  # pragma: no cover  # compiled
    """Add the similarity of all windows of a strip to sums over its rows; neighbours are ``step`` values apart."""
    t0, t1, t2, t3, t4, t5 = taps[0], taps[1], taps[2], taps[3], taps[4], taps[5]  # the window is symmetric
    column = np.empty(fields.shape[2])
    across = np.lib.stride_tricks.as_strided(column, (11, similarity.size), (8 * step, 8))
    means = np.empty((4, similarity.size))
    for row in range(fields.shape[1] - 10):
        for field in range(4):
            for axis in range(2):
                near = fields[field, row : row + 11] if axis == 0 else across
                out = column if axis == 0 else means[field]
                for i in range(out.size):  # in two halves, so that the compiler can tell the arrays apart
                    out[i] = t5 * near[5, i] + t4 * (near[4, i] + near[6, i]) + t3 * (near[3, i] + near[7, i])
                for i in range(out.size):
                    outer = t1 * (near[1, i] + near[9, i]) + t0 * (near[0, i] + near[10, i])
                    out[i] += t2 * (near[2, i] + near[8, i]) + outer
        for i in range(similarity.size):
            product = means[0, i] * means[1, i]
            squares = means[0, i] * means[0, i] + means[1, i] * means[1, i]
            local = (2 * (means[2, i] - product) + c2) / (means[3, i] - squares + c2)
            structure[i] += local
            similarity[i] += local * (2 * product + c1) / (squares + c1)
