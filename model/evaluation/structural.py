"""Relatives of SSIM: over the colour volume, and over scales.

The plain one is `blursynth.model.metrics.ssim`. All work on its windows, in double precision.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blursynth.errors import SettingsError

from ..metrics import C1, C2, RADIUS, check_images, similarity_means

__all__ = [
    "MS_SSIM_EXPONENTS",
    "MS_SSIM_MIN_SIDE",
    "WindowStatistics",
    "check_side",
    "ms_ssim",
    "ssim_3d",
    "window_statistics",
]

MS_SSIM_EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # finest scale first; they sum to 1
MS_SSIM_MIN_SIDE = 176  # the coarsest of five scales must hold one window of 11


def ssim_3d(restored: NDArray[np.uint8], sharp: NDArray[np.uint8]) -> float:
    """Return what MATLAB's ``ssim`` returns when it is given RGB images: SSIM of the volume H × W × 3.

    Parameters
    ----------
    restored, sharp
        (H, W, 3) uint8, RGB display codes, equal sizes of at least 11 × 11.

    Returns
    -------
    In [-1, 1], 1 for equal images; 0.02 to 0.25 above `blursynth.model.metrics.ssim` on the same images.

    Raises
    ------
    ValueError
        If the arrays are not two uint8 RGB images of one size.

    Notes
    -----
    An 11 × 11 × 11 Gaussian window with sigma 1.5 around every value of the volume, whose border values are repeated
    outwards along all three axes; K1 = 0.01, K2 = 0.03, peak 255, population covariance, the mean over the whole
    volume. Nah et al. (CVPR 2017) and most that followed print it; NAFNet's ``ssim3d`` rebuilds it in single precision.
    The Gaussian is separable, so along the colour axis it is a weighted mean of three channels.
    """
    check_images(restored, sharp)
    border = ((RADIUS, RADIUS), (RADIUS, RADIUS), (0, 0))
    first, second = (np.pad(image, border, mode="edge") for image in (restored, sharp))
    similarity, _ = similarity_means(first, second, _colour_weights())
    return float(similarity.mean())


def _colour_weights() -> NDArray[np.float64]:
    """Return (from, to): how much of each channel the window around a channel sees, the last ones repeated outwards."""
    taps = np.exp(-0.5 * (np.arange(-RADIUS, RADIUS + 1) / 1.5) ** 2)
    weights = np.zeros((3, 3))
    for channel in range(3):
        for offset, tap in zip(range(-RADIUS, RADIUS + 1), taps / taps.sum(), strict=True):
            weights[min(max(channel + offset, 0), 2), channel] += tap
    return weights


def ms_ssim(restored: NDArray[np.uint8], sharp: NDArray[np.uint8]) -> float:
    """Return the multi-scale structural similarity of one image, the mean over the channels R, G and B.

    Parameters
    ----------
    restored, sharp
        (H, W, 3) uint8, RGB display codes, equal sizes of at least 176 × 176.

    Returns
    -------
    In [0, 1], 1 for equal images.

    Raises
    ------
    SettingsError
        If a side is shorter than 176 px.
    ValueError
        If the arrays are not two uint8 RGB images of one size.

    Notes
    -----
    Wang, Simoncelli and Bovik, Asilomar 2003, eq. 7: five scales; the mean of the contrast-structure term at the four
    finer ones and of full SSIM at the coarsest, to the powers 0.0448, 0.2856, 0.3001, 0.2363 and 0.1333, multiplied. A
    negative mean counts as 0. Between scales, the mean of 2 × 2 pixels, of which every second is kept; at an odd side
    the last one is repeated. On even sides this is what TensorFlow's ``ssim_multiscale`` and pytorch-msssim compute.
    The MSSIM of the Köhler benchmark is another one, see `blursynth.model.evaluation.kohler`.
    """
    check_images(restored, sharp)
    check_side("ms-ssim", sharp.shape)
    first, second = restored.astype(np.float64), sharp.astype(np.float64)
    product = np.ones(3)
    for exponent in MS_SSIM_EXPONENTS[:-1]:
        _, structure = similarity_means(first, second)
        product *= np.maximum(structure, 0) ** exponent
        first, second = _halved(first), _halved(second)
    similarity, _ = similarity_means(first, second)
    product *= np.maximum(similarity, 0) ** MS_SSIM_EXPONENTS[-1]
    return float(product.mean())


def check_side(name: str, shape: tuple[int, ...]) -> None:
    """Refuse images that five scales do not fit into.

    Raises
    ------
    SettingsError
        It names the metric and the size.
    """
    if min(shape[:2]) < MS_SSIM_MIN_SIDE:
        raise SettingsError(
            f"{name} of {shape[1]}x{shape[0]} px: its five scales need {MS_SSIM_MIN_SIDE} px on each side; "
            "leave it out or take larger pictures"
        )


def _halved(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the means of 2 × 2 pixels."""
    height, width, _ = image.shape
    even = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    rows = even[::2] + even[1::2]
    mean: NDArray[np.float64] = (rows[:, ::2] + rows[:, 1::2]) / 4
    return mean


@dataclass(frozen=True, slots=True, eq=False)
class WindowStatistics:
    """What two images look like in every window of 11 × 11 that lies inside them; each (H - 10, W - 10, ...) float64.

    Parameters
    ----------
    mean, sharp_mean
        Gaussian means.
    variance, sharp_variance, covariance
        Of the population. Rounding can leave a variance a little below zero where there is no structure.
    """

    mean: NDArray[np.float64]
    sharp_mean: NDArray[np.float64]
    variance: NDArray[np.float64]
    sharp_variance: NDArray[np.float64]
    covariance: NDArray[np.float64]

    def luminance(self) -> NDArray[np.float64]:
        """Return l of Wang et al., IEEE TIP 2004, eq. 6."""
        product = self.mean * self.sharp_mean
        means: NDArray[np.float64] = (2 * product + C1) / (self.mean**2 + self.sharp_mean**2 + C1)
        return means

    def similarity(self) -> NDArray[np.float64]:
        """Return SSIM of every window, eq. 13."""
        structure = (2 * self.covariance + C2) / (self.variance + self.sharp_variance + C2)
        return self.luminance() * structure


def window_statistics(restored: NDArray[np.float64], sharp: NDArray[np.float64]) -> WindowStatistics:
    """Return the statistics of all windows of two images (H, W) or (H, W, C), codes from 0 to 255."""
    import cv2  # noqa: PLC0415  # the metrics above do without

    taps = cv2.getGaussianKernel(2 * RADIUS + 1, 1.5, cv2.CV_64F)
    inside = np.s_[RADIUS:-RADIUS, RADIUS:-RADIUS]

    def means(image: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(cv2.sepFilter2D(image, cv2.CV_64F, taps, taps)[inside], np.float64)

    mean, sharp_mean = means(restored), means(sharp)
    return WindowStatistics(
        mean,
        sharp_mean,
        means(restored**2) - mean**2,
        means(sharp**2) - sharp_mean**2,
        means(restored * sharp) - mean * sharp_mean,
    )
