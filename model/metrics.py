"""PSNR and SSIM of display codes, by the definitions that published GOPRO tables can be compared with.

Several definitions share these two names and differ by far more than methods do: PSNR of luma alone is 1.5 to 2.5 dB
higher, SSIM over the colour volume 0.02 to 0.25 higher. No formula leads from one to the other. These two are the RGB
PSNR that everyone reports, and the two-dimensional Gaussian SSIM of Wang et al. that scikit-image and BasicSR compute.
"""

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["psnr", "ssim"]

_PEAK = 255.0
_C1 = (0.01 * _PEAK) ** 2
_C2 = (0.03 * _PEAK) ** 2
_RADIUS = 5  # 3.5 sigma, rounded
_TAPS = np.exp(-0.5 * (np.arange(-_RADIUS, _RADIUS + 1) / 1.5) ** 2)
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
    _check_images(restored, sharp)
    squared_error = 0
    for start in range(0, sharp.shape[0], _STRIP):  # in strips: the differences of a large photograph need no memory
        difference = np.subtract(restored[start : start + _STRIP], sharp[start : start + _STRIP], dtype=np.int32)
        squared_error += int(np.square(difference).sum(dtype=np.int64))
    if squared_error == 0:
        return math.inf
    return 10 * math.log10(_PEAK**2 * sharp.size / squared_error)


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
    _check_images(restored, sharp)
    height, width, _ = sharp.shape
    num_rows = height - 2 * _RADIUS
    total = 0.0
    for start in range(0, num_rows, _STRIP):
        rows = slice(start, min(start + _STRIP, num_rows) + 2 * _RADIUS)
        total += _similarity_sum(restored[rows], sharp[rows])
    num_windows: int = num_rows * (width - 2 * _RADIUS) * 3
    return total / num_windows


def _check_images(restored: NDArray[np.uint8], sharp: NDArray[np.uint8]) -> None:
    for name, image in (("restored", restored), ("sharp", sharp)):
        if image.dtype != np.uint8:
            msg = f"{name} has dtype {image.dtype}, not uint8: pass display codes from 0 to 255"
            raise ValueError(msg)
    smallest = 2 * _RADIUS + 1
    shape = sharp.shape
    if restored.shape != shape or len(shape) != 3 or shape[2] != 3 or min(shape[:2]) < smallest:
        msg = (
            f"shapes {restored.shape} of restored and {shape} of sharp: "
            f"expected one (H, W, 3) with H and W of at least {smallest}"
        )
        raise ValueError(msg)


def _similarity_sum(restored: NDArray[np.uint8], sharp: NDArray[np.uint8]) -> float:
    """Return the sum of the similarity over all windows of one strip."""
    num_rows = len(sharp)
    fields = np.empty((4, num_rows, sharp[0].size))  # (4, rows, 3 W): the channels stay interleaved
    fields[0] = restored.reshape(num_rows, -1)
    fields[1] = sharp.reshape(num_rows, -1)
    np.multiply(fields[0], fields[1], out=fields[2])
    # Only the sum of the two variances is needed, so four fields do instead of five.
    np.add(np.square(fields[0]), np.square(fields[1]), out=fields[3])
    means = _gaussian_means(_gaussian_means(fields, axis=1, step=1), axis=2, step=3)  # (4, rows - 10, 3 (W - 10))

    mean_restored, mean_sharp, mean_product, mean_squares = means
    product = mean_restored * mean_sharp
    squares = mean_restored**2 + mean_sharp**2
    numerator = (2 * product + _C1) * (2 * (mean_product - product) + _C2)
    denominator = (squares + _C1) * (mean_squares - squares + _C2)
    return float((numerator / denominator).sum())


def _gaussian_means(fields: NDArray[np.float64], axis: int, step: int) -> NDArray[np.float64]:
    """Return the Gaussian means along one axis, of neighbours ``step`` apart, where all of them are inside."""
    size = fields.shape[axis] - 2 * _RADIUS * step

    def neighbors(k: int) -> NDArray[np.float64]:
        return fields[(slice(None),) * axis + (slice(k * step, k * step + size),)]

    means: NDArray[np.float64] = neighbors(_RADIUS) * _TAPS[_RADIUS]
    pair = np.empty_like(means)
    for k in range(_RADIUS):
        np.add(neighbors(k), neighbors(2 * _RADIUS - k), out=pair)
        pair *= _TAPS[k]
        means += pair
    return means
