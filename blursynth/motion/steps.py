"""From one frame to the next: optical flow, and whether they belong together at all."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from blursynth.errors import SettingsError
from blursynth.motion.views import View

__all__ = ["Step", "block_means", "lengths", "step"]

_MIN_FLOW_PX = 16  # OpenCV's flow crashes on less
_FAR_PX = 0.75  # of the half-size pictures that are compared
_GAIN = 1.0  # codes
_AROUND_PX = 9
_CUT_BELOW = 0.58
_SURROUNDINGS_PX = 15
_LEAST_NOISE = 1.0  # variance in codes that is not held against two pictures
_NOISE_SHARE = 1.7  # of the variance of their noise: two pictures of nothing else then correlate by 0.63
_ROUGHNESS = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
_CLIPPED = 232  # limited range clips at 235
_TEXTURE = 2.0  # variance that is needed to compare two pictures
_REPEAT_MEAN, _REPEAT_BLOCK = 0.4, 1.5  # mean absolute differences in codes: of the frame, of its worst block
_REPEAT_PX = 0.05  # median flow
_BLOCK = 12  # samples


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """From one frame to the next.

    Parameters
    ----------
    flow
        (h, w, 2) float32: x and y, in pixels of the full-size frame, of what the first frame shows; sampled evenly over
        the frame, at most 200 along the long side.
    is_cut
        A scene cut lies between the two.
    is_duplicate
        The second shows the same picture as the first, exactly or but for what compression does.
    difference
        Mean absolute difference, in 8-bit codes.
    """

    flow: NDArray[np.float32]
    is_cut: bool
    is_duplicate: bool
    difference: float


def step(before: View, after: View) -> Step:
    """Compare a frame with the one before.

    A cut is where the second frame, moved back along the flow, correlates with the first by less than 0.58 (real
    neighbours: 0.98 and more, frames of different clips: 0.52 at most). Each pixel is taken against its surroundings,
    so that light going on or off is no cut; clipped pixels are left out if that helps.

    A duplicate differs by at most 0.4 codes on average and in no block of 12 by 12 samples by more than 1.5, which is
    what encoding a repeat again does and less than sensor noise does. Its median flow is at most 0.05 px, so that a
    slow pan is not taken for repeats.

    Raises
    ------
    SettingsError
        If the frames are of different size.

    Notes
    -----
    The flow is Kroeger et al., Fast Optical Flow using Dense Inverse Search, ECCV 2016, as in OpenCV.
    """
    if before.size != after.size:
        raise SettingsError(f"frames of {before.size} and {after.size} px: a clip has one size")
    first, second = _half(before.reduced), _half(after.reduced)
    # From here on in pixels of the halves.
    found = cv2.resize(_flow(before.reduced, after.reduced), first.shape[::-1], interpolation=cv2.INTER_AREA) / 2
    flow = _without_guesses(first, second, np.asarray(found, np.float32))
    flow_px = np.asarray(flow * (2 * before.factor), np.float32)
    difference = cv2.absdiff(before.samples, after.samples)
    is_duplicate = _is_duplicate(difference, flow_px)
    return Step(
        flow=flow_px,
        is_cut=not is_duplicate and _is_cut(first, second, flow),
        is_duplicate=is_duplicate,
        difference=float(difference.mean()),
    )


def block_means(values: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return the means over blocks of 12 by 12 samples: (R, C) of any type to a grid of float64, at least one."""
    rows, columns = max(1, values.shape[0] // _BLOCK), max(1, values.shape[1] // _BLOCK)
    height, width = values.shape[0] // rows, values.shape[1] // columns
    cells = values[: rows * height, : columns * width].reshape(rows, height, columns, width)
    return np.asarray(cells.mean(axis=(1, 3), dtype=np.float64))


def lengths(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the lengths of (..., 2) float32 vectors.

    OpenCV's `magnitude` rounds otherwise where memory happens to be aligned otherwise, and shards would differ.
    """
    x, y = vectors[..., 0], vectors[..., 1]
    return np.asarray(np.sqrt(x * x + y * y), np.float32)


def _is_duplicate(difference: NDArray[np.generic], flow_px: NDArray[np.float32]) -> bool:
    return (
        float(difference.mean(dtype=np.float64)) <= _REPEAT_MEAN
        and float(block_means(difference).max()) <= _REPEAT_BLOCK
        and float(np.median(lengths(flow_px))) <= _REPEAT_PX
    )


def _half(reduced: NDArray[np.uint8]) -> NDArray[np.uint8]:
    size = ((reduced.shape[1] + 1) // 2, (reduced.shape[0] + 1) // 2)
    return np.asarray(cv2.resize(reduced, size, interpolation=cv2.INTER_AREA), np.uint8)


def _flow(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return (h, w, 2) float32, pixels of the reduced picture."""
    height, width = before.shape
    missing = (0, max(0, _MIN_FLOW_PX - height), 0, max(0, _MIN_FLOW_PX - width))
    # Making it takes 10 µs, and one that is shared between threads would mix up their pictures.
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    search.setFinestScale(1)  # with the preset's 2, half a pixel a frame is measured 10 % wrong
    pictures = [cv2.copyMakeBorder(codes, *missing, borderType=cv2.BORDER_REPLICATE) for codes in (before, after)]
    flow = search.calc(pictures[0], pictures[1], None)  # type: ignore[call-overload]
    return np.asarray(flow[:height, :width], np.float32)


def _without_guesses(
    first: NDArray[np.uint8], second: NDArray[np.uint8], flow: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the flow with its median wherever it is far from that and explains the picture no better.

    On an even road or sky any flow will do, and the search returns whatever it came by.
    """
    median = np.median(flow, axis=(0, 1)).astype(np.float32)
    own, common = (_unexplained(first, second, one) for one in (flow, np.broadcast_to(median, flow.shape)))
    away = flow - median
    is_guess = (lengths(away) > _FAR_PX) & (own > common - _GAIN)
    return np.where(is_guess[..., None], median, flow)


def _unexplained(first: NDArray[np.uint8], second: NDArray[np.uint8], flow: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean absolute difference around each pixel, in codes, once the second picture is moved back."""
    left = cv2.absdiff(first, _moved_back(second, flow)).astype(np.float32)
    return np.asarray(cv2.blur(left, (_AROUND_PX, _AROUND_PX)), np.float32)


def _moved_back(second: NDArray[np.uint8], flow: NDArray[np.float32]) -> NDArray[np.uint8]:
    y, x = np.mgrid[: flow.shape[0], : flow.shape[1]].astype(np.float32)
    x, y = x + flow[..., 0], y + flow[..., 1]
    return np.asarray(cv2.remap(second, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _is_cut(first: NDArray[np.uint8], second: NDArray[np.uint8], flow: NDArray[np.float32]) -> bool:
    """Tell whether the second picture, moved back along the flow, is not the first."""
    height, width = first.shape
    noise = max(_LEAST_NOISE, _NOISE_SHARE * min(_noise(first), _noise(second)))
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x, y = x + flow[..., 0], y + flow[..., 1]
    second = _moved_back(second, flow)
    seen = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    if not seen.any():
        return True
    if _correlation(first, second, seen, noise) >= _CUT_BELOW:
        return False
    unclipped = seen & (np.maximum(first, second) < _CLIPPED)
    return not unclipped.any() or _correlation(first, second, unclipped, noise, texture=_TEXTURE) < _CUT_BELOW


def _noise(codes: NDArray[np.uint8]) -> float:
    """Return the variance of the noise, in squared codes, from what no smooth surface has, where there is least."""
    rough = np.abs(cv2.filter2D(codes.astype(np.float32), cv2.CV_32F, _ROUGHNESS))
    return float(np.pi / 2 * (np.percentile(block_means(rough), 15) / 6) ** 2)


def _correlation(
    first: NDArray[np.uint8],
    second: NDArray[np.uint8],
    chosen: NDArray[np.bool_],
    noise: float,
    *,
    texture: float = 0.0,
) -> float:
    """Return the correlation of two pictures over the chosen pixels, each against its surroundings; -1 if too flat.

    ``noise`` is the variance, in squared codes, that is not held against them.
    """
    mask = chosen.astype(np.float32)
    window = (_SURROUNDINGS_PX, _SURROUNDINGS_PX)
    share = np.maximum(cv2.blur(mask, window), np.float32(1e-6))
    a, b = ((codes - cv2.blur(codes * mask, window) / share) * mask for codes in (first, second))
    num = float(mask.sum())
    variances = float((a * a).sum()) / num, float((b * b).sum()) / num
    if min(variances) < texture:
        return -1.0
    return (float((a * b).sum()) / num + noise) / float(np.sqrt((variances[0] + noise) * (variances[1] + noise)))
