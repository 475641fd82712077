"""Luma by ITU-R BT.601, as the literature's metrics take it from RGB codes: two conventions, never mixed."""

import math

import numpy as np
from numpy.typing import NDArray

from ..metrics import PEAK, check_images

__all__ = ["full_luma", "psnr_y", "studio_luma"]

_WEIGHTS = np.array([0.299, 0.587, 0.114])
_STUDIO_WEIGHTS = np.array([65.481, 128.553, 24.966]) / 255  # 219 / 255 times the above, with the norm's rounding


def full_luma(image: NDArray[np.uint8] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 0.299 R + 0.587 G + 0.114 B of (H, W, 3): (H, W) from 0 to 255, not rounded."""
    luma: NDArray[np.float64] = image @ _WEIGHTS
    return luma


def studio_luma(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return Y of YCbCr with headroom, from (H, W, 3) codes: (H, W) from 16 to 235, not rounded.

    MATLAB's ``rgb2ycbcr`` and BasicSR's ``to_y_channel`` have these weights. MATLAB rounds what it makes of integers;
    BasicSR does not.
    """
    luma: NDArray[np.float64] = 16 + image @ _STUDIO_WEIGHTS
    return luma


def psnr_y(restored: NDArray[np.uint8], sharp: NDArray[np.uint8]) -> float:
    """Return the peak signal-to-noise ratio of luma, as BasicSR computes it with ``test_y_channel=True``.

    Parameters
    ----------
    restored, sharp
        (H, W, 3) uint8, RGB display codes, equal sizes of at least 11 × 11.

    Returns
    -------
    10 log10(255² / MSE) in dB, the error taken between `studio_luma` of both; infinite where luma is equal. It is 1.5
    to 2.5 dB above the PSNR of RGB, of which 1.3 dB come from luma spanning 219 codes while the peak stays 255.

    Raises
    ------
    ValueError
        If the arrays are not two uint8 RGB images of one size.
    """
    check_images(restored, sharp)
    # Of the difference: the offset of 16 falls away, and equal images differ by 0 and not by rounding.
    difference = np.subtract(restored, sharp, dtype=np.int16) @ _STUDIO_WEIGHTS
    mean_squared_error = float(np.square(difference).mean())
    return math.inf if mean_squared_error == 0 else 10 * math.log10(PEAK**2 / mean_squared_error)
