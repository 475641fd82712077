"""RealBlur's protocol: a restored image is brought to the brightness and the place of its sharp one, then compared.

Rim et al., Real-World Blur Dataset for Learning and Benchmarking Deblurring Algorithms, ECCV 2020, as in the authors'
``evaluation_RealBlur_ecc.py``. Two cameras behind a beam splitter never agree to the pixel, so plain PSNR would measure
the mirror.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from blursynth.errors import RefusedError

from ..metrics import PEAK, RADIUS, check_images
from .structural import window_statistics

__all__ = ["REALBLUR_DEFINITION", "intensity_scale", "realblur_scores"]

REALBLUR_DEFINITION = (
    "RealBlur: intensity scaled, aligned by an ECC homography, PSNR and SSIM (Gaussian 11x11, sigma 1.5) where both see"
)
_NUM_ITERATIONS = 100
_BLUR_PX = 5  # of the images that are aligned


def realblur_scores(restored: NDArray[np.uint8], sharp: NDArray[np.uint8]) -> tuple[float, float]:
    """Return PSNR in dB and SSIM of an image by RealBlur's protocol.

    Parameters
    ----------
    restored, sharp
        (H, W, 3) uint8, RGB display codes, equal sizes of at least 11 × 11.

    Returns
    -------
    PSNR and SSIM; of a data set, the means over its images are reported.

    Raises
    ------
    RefusedError
        If the restored image is black, or the images are too unlike to be aligned.
    ValueError
        If the arrays are not two uint8 RGB images of one size.

    Notes
    -----
    In single precision on codes / 255, z restored and x sharp:

    1. z is multiplied by Σxz / Σz² (`intensity_scale`).
    2. OpenCV's ``findTransformECC`` finds a homography from x to z: grey images (BT.601), 100 iterations without an
       early end, smoothed with a Gaussian of 5 px, from the identity.
    3. z is looked up through it, bicubic, mirrored at the border; a mask of ones likewise, nearest pixel and zero
       outside. Both images are multiplied by the mask.
    4. PSNR is 10 log10(1 / (Σ(x - z)² / Σ mask)), sums over pixels and channels.
    5. SSIM of every window (see `blursynth.model.metrics.ssim`) is multiplied by the mask at the window's centre; of
       each channel Σ / Σ mask without a border of 5 px, then the mean of the channels.

    The authors ask for OpenCV 4.2.0 and scikit-image 0.17.2. ECC is iterative, and its last digits follow the version
    of OpenCV: say which one with a result.
    """
    check_images(restored, sharp)
    if restored.any() and any((image == image[0, 0]).all() for image in (restored, sharp)):
        raise RefusedError("RealBlur's alignment: a flat image, the restored or the sharp one, cannot be aligned")
    x, z = (image.astype(np.float32) / np.float32(255) for image in (sharp, restored))
    z *= np.float32(intensity_scale(z, x))
    matrix = _homography(x, z)
    size = (x.shape[1], x.shape[0])
    aligned = cv2.warpPerspective(
        z, matrix, size, flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REFLECT
    )
    ones = np.ones(x.shape[:2], np.float32)
    mask = cv2.warpPerspective(
        ones, matrix, size, flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_CONSTANT
    ).astype(np.float64)
    inside = mask[RADIUS:-RADIUS, RADIUS:-RADIUS]
    if not inside.any():
        raise RefusedError("RealBlur's alignment: nothing of the restored image lies on its sharp one; is it its pair?")
    aligned, sharp_seen = aligned * mask[..., None], x * mask[..., None]

    squared_error = float(np.square(sharp_seen - aligned).sum()) / (3 * float(mask.sum()))
    similarity = window_statistics(aligned * PEAK, sharp_seen * PEAK).similarity()
    ssim = float((similarity * inside[..., None]).sum() / (3 * inside.sum()))
    return math.inf if squared_error == 0 else -10 * math.log10(squared_error), ssim


def intensity_scale(
    restored: NDArray[np.float32] | NDArray[np.float64], sharp: NDArray[np.float32] | NDArray[np.float64]
) -> float:
    """Return Σxz / Σz², the factor that brings a restored image z nearest to its sharp one x.

    Raises
    ------
    RefusedError
        If the restored image is black.
    """
    energy = float(np.square(restored, dtype=np.float64).sum())
    if energy == 0:
        raise RefusedError("the restored image is black: its intensity cannot be matched to the sharp one's")
    return float(np.multiply(sharp, restored, dtype=np.float64).sum()) / energy


def _homography(sharp: NDArray[np.float32], restored: NDArray[np.float32]) -> NDArray[np.float32]:
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (sharp, restored)]
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, _NUM_ITERATIONS, 0.0)
    start, everywhere = np.eye(3, dtype=np.float32), np.ones(sharp.shape[:2], np.uint8)
    try:
        correlation, matrix = cv2.findTransformECC(
            grey[0], grey[1], start, cv2.MOTION_HOMOGRAPHY, criteria, everywhere, _BLUR_PX
        )
    except cv2.error as error:
        raise RefusedError(
            "RealBlur's alignment does not converge: the restored image is too unlike its sharp one"
        ) from error
    if not (np.isfinite(correlation) and np.isfinite(matrix).all()):
        raise RefusedError("RealBlur's alignment gives no homography: the restored image is too unlike its sharp one")
    return np.asarray(matrix, np.float32)
