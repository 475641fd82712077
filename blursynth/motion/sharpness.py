"""How sharp a frame is, whatever it shows."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from blursynth.motion.views import View

__all__ = ["edge_sharpness"]

_FINE_PX, _COARSE_PX = 0.8, 1.6  # Gaussian scales at which slopes are measured
_MARGIN_PX = 6  # the reach of the coarser one, and one pixel
_FAINT = 4.0  # slopes below this many standard deviations of the noise are not edges
_FLAT = 1.0  # squared slope, in codes per pixel, below which nothing can be told


def edge_sharpness(frame: View) -> float:
    """Return how sharp the edges of a frame are, in [0, 1]; 0 if it has none.

    An edge that is blurred by a Gaussian of standard deviation s has the peak slope c / sqrt(s^2 + t^2) when measured
    with a Gaussian derivative of scale t. Two scales, 0.8 and 1.6 px, give s without the contrast c: the ratio of the
    squared slopes is (s^2 + 1.6^2) / (s^2 + 0.8^2). This is done in four directions, with the steepest edges weighing
    most, and the result is 1 / sqrt(1 + s^2) for the most blurred direction: 1 for a perfect step, about 0.7 for a
    sharp photograph, 0.4 for s = 2.2 px. A line of length L counts like s^2 = L^2 / 12 across it.

    Noise is measured in the flattest tiles (Immerkaer, Fast noise variance estimation, CVIU 1996) and its share of the
    slopes is taken off.

    Source: Zhuo and Sim, Defocus map estimation from a single image, Pattern Recognition 2011, eq. 5 to 8, there with
    one scale and a blurred copy.
    """
    if frame.tile_px <= 2 * _MARGIN_PX:
        return 0.0
    tiles = frame.tiles.astype(np.float32)
    noise = _noise(tiles, frame.tile_px)
    fine, fine_gain = _slopes(tiles, frame.tile_px, _FINE_PX)
    coarse, coarse_gain = _slopes(tiles, frame.tile_px, _COARSE_PX)
    variances = [
        _edge_variance(a * a, b * b, fine_gain * noise, coarse_gain * noise)
        for a, b in zip(_four_directions(*fine), _four_directions(*coarse), strict=True)
    ]
    seen = [variance for variance in variances if variance is not None]
    return float(1 / np.sqrt(1 + max(seen))) if seen else 0.0


def _edge_variance(
    fine: NDArray[np.float32], coarse: NDArray[np.float32], fine_noise: float, coarse_noise: float
) -> float | None:
    """Return the variance of the blur, in px^2, from squared slopes at both scales; None without edges."""
    weights = np.square(np.maximum(coarse - np.float32(_FAINT**2 * coarse_noise + _FLAT), 0))
    total = float(weights.sum(dtype=np.float64))
    if not total:
        return None
    slopes = [float((squared * weights).sum(dtype=np.float64)) / total for squared in (fine, coarse)]
    ratio = (slopes[0] - fine_noise) / (slopes[1] - coarse_noise)
    steepest = _COARSE_PX**2 / _FINE_PX**2
    if ratio >= steepest:
        return 0.0
    ratio = max(ratio, 1.0 + 1e-3)
    return (_COARSE_PX**2 - ratio * _FINE_PX**2) / (ratio - 1)


def _slopes(
    tiles: NDArray[np.float32], side: int, scale_px: float
) -> tuple[tuple[NDArray[np.float32], NDArray[np.float32]], float]:
    """Return the slopes along x and y, and the variance that white noise of variance 1 has in them."""
    reach = int(np.ceil(3 * scale_px))
    offsets = np.arange(-reach, reach + 1)
    smooth = np.exp(-(offsets**2) / (2 * scale_px**2))
    smooth /= smooth.sum()
    slope = -offsets * smooth / scale_px**2
    along_x = cv2.sepFilter2D(tiles, cv2.CV_32F, slope, smooth)
    along_y = cv2.sepFilter2D(tiles, cv2.CV_32F, smooth, slope)
    return (_inside(along_x, side), _inside(along_y, side)), float((slope**2).sum() * (smooth**2).sum())


def _four_directions(x: NDArray[np.float32], y: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    half = np.float32(np.sqrt(0.5))
    return [x, y, (x + y) * half, (x - y) * half]


def _inside(tiles: NDArray[Any], side: int) -> NDArray[np.float32]:
    """Return what no neighbouring tile has touched: (rows, n, columns, n)."""
    rows, columns = tiles.shape[0] // side, tiles.shape[1] // side
    cells = tiles.reshape(rows, side, columns, side)
    return np.ascontiguousarray(cells[:, _MARGIN_PX:-_MARGIN_PX, :, _MARGIN_PX:-_MARGIN_PX])


def _noise(tiles: NDArray[np.float32], side: int) -> float:
    """Return the variance of the noise in squared codes."""
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    rough = _inside(np.abs(cv2.filter2D(tiles, cv2.CV_32F, kernel)), side).mean(axis=(1, 3))
    return float(np.pi / 2 * (np.percentile(rough, 15) / 6) ** 2)
