"""Köhler's protocol: a restored image against every sharp frame along the camera's trajectory; the best one counts.

Köhler et al., Recording and Playback of Camera Shake: Benchmarking Blind Deconvolution with a Real-World Database, ECCV
2012, as in the authors' ``eval_image.m``. A shaken camera has no one right place for the sharp image: none is chosen.
"""

import math
from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from blursynth.errors import SettingsError

from ..metrics import C2, PEAK, check_images
from .alignment import intensity_scale
from .luma import full_luma
from .structural import MS_SSIM_EXPONENTS, check_side, window_statistics

__all__ = ["KOHLER_DEFINITION", "kohler_ms_ssim", "kohler_scores", "whole_pixel_shift"]

Plane = NDArray[np.float64]

KOHLER_DEFINITION = (
    "Koehler: best over the trajectory's frames; intensity scaled, whole-pixel shift, luma; MSSIM is MS-SSIM with 9/7"
)
# The low-pass filter of the biorthogonal 9/7 wavelet (Cohen, Daubechies and Feauveau 1992), from its centre outwards.
_LOW_PASS = (0.85269867900889, 0.37740285561283, -0.11062440441844, -0.02384946501956, 0.03782845550726)


def kohler_scores(restored: NDArray[np.uint8], sharp_frames: Iterable[NDArray[np.uint8]]) -> tuple[float, float]:
    """Return PSNR in dB and MS-SSIM ("MSSIM") of an image by Köhler's protocol.

    Parameters
    ----------
    restored
        (H, W, 3) uint8, RGB display codes, at least 176 × 176.
    sharp_frames
        Images of the same kind and size: what the camera saw along its trajectory. They are looked at one by one.

    Returns
    -------
    The largest PSNR and the largest MS-SSIM over the frames, which need not be of the same frame. Of the benchmark, the
    means over its 48 images are reported.

    Raises
    ------
    RefusedError
        If the restored image is black.
    SettingsError
        If there is no frame, or a side is shorter than 176 px.
    ValueError
        If the arrays are not uint8 RGB images of one size.

    Notes
    -----
    For every frame x, in double precision on codes from 0 to 255:

    1. The restored image z is multiplied by Σxz / Σz².
    2. `whole_pixel_shift` finds by how many whole pixels z must move, from the means of the channels.
    3. z moves; what comes in from outside is 0, and x is set to 0 there too. Nothing is rounded or clipped.
    4. Both become luma, 0.299 R + 0.587 G + 0.114 B.
    5. PSNR has the peak 255 and counts the zeroed border; MS-SSIM is `kohler_ms_ssim`.
    """
    luma, spectrum = full_luma(restored), np.fft.rfft2(restored.mean(axis=2))
    values = restored.astype(np.float64)
    best_psnr = best_ms_ssim = -math.inf
    for sharp in sharp_frames:
        check_images(restored, sharp)
        check_side("Köhler's MSSIM", sharp.shape)
        scale = intensity_scale(values, sharp.astype(np.float64))
        shift = whole_pixel_shift(spectrum, np.fft.rfft2(sharp.mean(axis=2)), luma.shape)
        moved = _moved(luma * scale, shift)
        seen = full_luma(sharp) * _moved(np.ones_like(luma), shift)
        best_psnr = max(best_psnr, _psnr(moved, seen))
        best_ms_ssim = max(best_ms_ssim, kohler_ms_ssim(moved, seen))
    if best_psnr == -math.inf:
        raise SettingsError("Köhler's protocol needs the sharp frames of a trajectory; there are none")
    return best_psnr, best_ms_ssim


def whole_pixel_shift(
    spectrum: NDArray[np.complex128], sharp_spectrum: NDArray[np.complex128], size: tuple[int, ...]
) -> tuple[int, int]:
    """Return by how many rows and columns an image must move to lie on another.

    The largest circular cross-correlation, found through spectra (``rfft2`` of (H, W) planes of ``size``):
    Guizar-Sicairos et al., Optics Letters 2008, with whole pixels. Down and right are positive.
    """
    correlation = np.fft.irfft2(sharp_spectrum * spectrum.conj(), s=size[:2])
    column, row = divmod(int(correlation.T.argmax()), size[0])  # of equals, MATLAB takes the first column
    return _signed(row, size[0]), _signed(column, size[1])


def _signed(place: int, side: int) -> int:
    return place - side if place >= side // 2 else place


def _moved(plane: Plane, shift: tuple[int, int]) -> Plane:
    """Move a plane by whole pixels; zeros come in."""
    height, width = plane.shape
    down, right = shift
    moved = np.zeros_like(plane)
    moved[max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)] = plane[
        max(-down, 0) : height - max(down, 0), max(-right, 0) : width - max(right, 0)
    ]
    return moved


def _psnr(moved: Plane, seen: Plane) -> float:
    mean_squared_error = float(np.square(moved - seen).mean())
    return math.inf if mean_squared_error == 0 else 10 * math.log10(PEAK**2 / mean_squared_error)


def kohler_ms_ssim(restored: Plane, sharp: Plane) -> float:
    """Return the multi-scale SSIM of two planes as MeTriX MuX computes it.

    Parameters
    ----------
    restored, sharp
        (H, W) float64 luma from 0 to 255, at least 176 × 176.

    Returns
    -------
    In [0, 1], 1 for equal images.

    Notes
    -----
    It differs from `blursynth.model.evaluation.structural.ms_ssim`: between scales, the low-pass filter of the 9/7
    wavelet, mirrored at the border, before every second pixel is kept; and contrast (2σσ' + C2) / (σ² + σ'² + C2) and
    structure (cov + C2/2) / (σσ' + C2/2) are averaged over the windows apart from each other at every scale. A
    negative mean counts by its absolute value, as it does in the authors' scripts.
    """
    taps = np.array([*_LOW_PASS[:0:-1], *_LOW_PASS])
    taps /= taps.sum()
    result = 1.0
    for scale, exponent in enumerate(MS_SSIM_EXPONENTS):
        if scale:
            restored, sharp = _halved(restored, taps), _halved(sharp, taps)
        found = window_statistics(restored, sharp)
        spread = np.sqrt(np.maximum(found.variance, 0) * np.maximum(found.sharp_variance, 0))
        contrast = (2 * spread + C2) / (found.variance + found.sharp_variance + C2)
        structure = (found.covariance + C2 / 2) / (spread + C2 / 2)
        terms = [contrast, structure]
        if scale == len(MS_SSIM_EXPONENTS) - 1:
            terms.append(found.luminance())
        for term in terms:
            result *= abs(float(term.mean())) ** exponent
    return result


def _halved(plane: Plane, taps: Plane) -> Plane:
    filtered = cv2.sepFilter2D(plane, cv2.CV_64F, taps, taps, borderType=cv2.BORDER_REFLECT)
    return np.ascontiguousarray(filtered[::2, ::2], np.float64)
