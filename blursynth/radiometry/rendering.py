"""From the light of an exposure to the 8-bit picture that a camera would have stored."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from blursynth.crf import ResponseCurve
from blursynth.errors import SettingsError
from blursynth.radiometry.light import Light
from blursynth.radiometry.noise import add_noise

__all__ = ["render"]

_FULL_CHROMA_FROM = 90  # the quality from which cameras and phones keep every pixel's colour
_JPEG_MAX_SIDE = 65500  # of libjpeg


def render(
    linear: NDArray[np.float32],
    saturation: NDArray[np.float32] | NDArray[np.uint8] | None,
    curve: ResponseCurve,
    light: Light,
) -> NDArray[np.uint8]:
    """Do to light what was drawn, and encode it.

    RSBlur's order (Rim et al., ECCV 2022): highlights gain alpha times the share of the exposure that was clipped,
    noise is added, light that is clipped now stays clipped, the response curve encodes. JPEG comes last.

    Parameters
    ----------
    linear
        (H, W, 3) float32 light, the mean of the window, 1.0 the code that clips; values outside [0, 1] are clipped.
    saturation
        (H, W, 3) float32 in [0, 1] or uint8, 255 for 1: the share of the exposure for which the frames were clipped.
        Needed, and looked at, where ``light.highlights`` is not 0.
    curve
        The response curve that encodes.
    light
        What was drawn. With `OFF` the result is ``curve.from_linear(linear)``.

    Returns
    -------
    (H, W, 3) uint8 display codes. The bytes follow from the arguments; those of a JPEG also from the libjpeg that
    Pillow was built with, and those of noise from NumPy's generators.

    Raises
    ------
    SettingsError
        If an array is not of these shapes and types, holds numbers that are not finite, or a needed one is missing.
    """
    _check_linear(linear)
    exposed = np.clip(_with_highlights(linear, saturation, light.highlights), 0, 1)
    if light.bayer >= 0 or light.shot_noise or light.read_noise:
        exposed = np.where(exposed < 1, np.clip(add_noise(exposed, light), 0, 1), exposed)
    codes = curve.from_linear(exposed)
    return _through_jpeg(codes, light.jpeg) if light.jpeg else codes


def _check_linear(linear: NDArray[np.float32]) -> None:
    if linear.dtype != np.float32 or linear.ndim != 3 or linear.shape[2] != 3 or not linear.size:
        raise SettingsError(f"light is {linear.dtype} of shape {linear.shape}: must be float32 of shape (H, W, 3)")
    if not np.isfinite(linear.min() + linear.max()):
        raise SettingsError("light holds a number that is not finite")


def _with_highlights(
    linear: NDArray[np.float32], saturation: NDArray[np.float32] | NDArray[np.uint8] | None, alpha: float
) -> NDArray[np.float32]:
    if not alpha:
        return linear
    if saturation is None:
        raise SettingsError(f"highlights {alpha:g}: it is not known where the frames were clipped")
    if saturation.shape != linear.shape or saturation.dtype not in {np.dtype(np.uint8), np.dtype(np.float32)}:
        raise SettingsError(
            f"saturation is {saturation.dtype} of shape {saturation.shape}: must be float32 or uint8 of {linear.shape}"
        )
    if saturation.dtype == np.uint8:
        return linear + np.float32(alpha / 255) * saturation
    if not (saturation.min() >= 0 and saturation.max() <= 1):
        raise SettingsError("saturation: must be from 0 to 1")
    return linear + np.float32(alpha) * saturation


def _through_jpeg(codes: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Store as JPEG and read again; from quality 90 on without halving the colour's resolution."""
    if max(codes.shape) > _JPEG_MAX_SIDE:
        raise SettingsError(f"jpeg: a side of {max(codes.shape)} px is more than JPEG's {_JPEG_MAX_SIDE}")
    file = io.BytesIO()
    Image.fromarray(codes).save(
        file, "JPEG", quality=quality, subsampling="4:4:4" if quality >= _FULL_CHROMA_FROM else "4:2:0"
    )
    file.seek(0)
    # Image.open would take our own large pictures for decompression bombs.
    with JpegImageFile(file) as image:
        return np.array(image)
