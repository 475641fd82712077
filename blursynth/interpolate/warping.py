"""The compiled part: how far flow is believed, where it is by a time, and the light that it brings there.

Flows are (h, w, 2) float32, x and y in half-size px; frames are 2 h px high and 2 w px wide at most.

All arithmetic is float32 in a fixed order without contraction. Compiled by numba on first use (some seconds) and cached
on disk.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blursynth.compiling import compiled

__all__ = ["blend", "compare", "project"]

Array = NDArray[Any]

_ZERO, _HALF, _ONE = np.float32(0.0), np.float32(0.5), np.float32(1.0)
_LEAST_BELIEF = np.float32(0.1)
_FADE = np.float32(1e-3)  # belief in frames that stand still, for pixels that no flow reaches
_SLACK2 = np.float32(0.25)  # squared half-size px by which there and back may differ
_SLACK_OF_SPEED2 = np.float32(0.02)


@compiled
def _tap(position: Any, size: int) -> tuple[int, int, Any]:
    """Return the two samples around a position, the edge repeated, and the share of the second."""
    position = min(max(position, _ZERO), np.float32(size - 1))
    low = int(position)
    return low, min(low + 1, size - 1), position - np.float32(low)


@compiled
def compare(flow: Array, back: Array, belief: Array) -> None:
    """Write how far each pixel's flow is believed: from 1 if ``back`` leads home to a tenth if it does not."""
    height, width = belief.shape
    for y in range(height):
        for x in range(width):
            u, v = flow[y, x, 0], flow[y, x, 1]
            there_x, there_y = np.float32(x) + u, np.float32(y) + v
            belief[y, x] = _LEAST_BELIEF
            if there_x < -_ONE or there_y < -_ONE or there_x > np.float32(width) or there_y > np.float32(height):
                continue
            left, right, share_x = _tap(there_x, width)
            top, bottom, share_y = _tap(there_y, height)
            miss = _ZERO
            for axis in range(2):
                upper = back[top, left, axis] + share_x * (back[top, right, axis] - back[top, left, axis])
                lower = back[bottom, left, axis] + share_x * (back[bottom, right, axis] - back[bottom, left, axis])
                difference = flow[y, x, axis] + upper + share_y * (lower - upper)
                miss += difference * difference
            ratio = miss / (_SLACK2 + _SLACK_OF_SPEED2 * (u * u + v * v))
            belief[y, x] = max(_ONE / (_ONE + ratio * ratio), _LEAST_BELIEF)


@compiled
def project(flow: Array, belief: Array, time: Any, moved: Array) -> None:
    """Write the flow of the pixels that are at each place by then: (h, w, 3), belief times x and y, and belief."""
    height, width = belief.shape
    moved[:] = _ZERO
    for y in range(height):
        for x in range(width):
            u, v = flow[y, x, 0], flow[y, x, 1]
            there_x, there_y = np.float32(x) + time * u, np.float32(y) + time * v
            left, top = math.floor(there_x), math.floor(there_y)
            share_x, share_y = there_x - np.float32(left), there_y - np.float32(top)
            for j in range(max(top, 0), min(top + 2, height)):
                by_y = belief[y, x] * (share_y if j > top else _ONE - share_y)
                for i in range(max(left, 0), min(left + 2, width)):
                    share = by_y * (share_x if i > left else _ONE - share_x)
                    moved[j, i, 0] += share * u
                    moved[j, i, 1] += share * v
                    moved[j, i, 2] += share


@compiled
def _row(moved: Array, y: int, narrow: Array, wide: Array) -> None:
    """Bring one row of moved flow to full size: (3, W), belief times x and y, and belief."""
    height, width = moved.shape[:2]
    near, far = np.float32(0.75), np.float32(0.25)
    top, bottom, share = _tap(np.float32(y) * _HALF - far, height)
    for k in range(3):
        for x in range(width):
            narrow[x] = moved[top, x, k] + share * (moved[bottom, x, k] - moved[top, x, k])
        for x in range(1, width):
            wide[k, 2 * x - 1] = near * narrow[x - 1] + far * narrow[x]
            wide[k, 2 * x] = near * narrow[x] + far * narrow[x - 1]
        wide[k, 0] = narrow[0]
        wide[k, 2 * width - 1] = narrow[width - 1]


@compiled
def _look_up(wide: Array, y: int, time: Any, height: int, places: Array) -> None:
    """Write where each pixel of a row comes from, inside the frame, and its nearness in time times belief: (3, W)."""
    scale = np.float32(2.0) * time
    right, bottom = np.float32(places.shape[1] - 1), np.float32(height - 1)
    for x in range(places.shape[1]):
        factor = scale / max(wide[2, x], np.float32(1e-6))
        places[0, x] = min(max(np.float32(x) - factor * wide[0, x], _ZERO), right)
        places[1, x] = min(max(np.float32(y) - factor * wide[1, x], _ZERO), bottom)
        places[2, x] = (_ONE - time) * (min(wide[2, x], _ONE) + _FADE)


@compiled
def _corners(place: Any, size: int) -> tuple[Any, Any, Any]:
    """Return the two pixels around a place inside the frame, and the share of the second."""
    low = np.uintp(place)  # unsigned: no test for indices that count from the end
    return low, min(low + np.uintp(1), np.uintp(size - 1)), place - np.float32(low)


@compiled
def _shares(share_x: Any, share_y: Any, weight: Any) -> tuple[Any, Any, Any, Any]:
    by_bottom = weight * share_y
    by_top = weight - by_bottom
    return by_top - by_top * share_x, by_top * share_x, by_bottom - by_bottom * share_x, by_bottom * share_x


@compiled
def blend(
    before: Array,
    after: Array,
    from_before: Array,
    from_after: Array,
    time: Any,
    weight: Any,
    total: Array,
) -> None:
    """Add one sub-frame, (H, W, C), from both frames along the flows that were moved to its time."""
    height, width, channels = total.shape
    narrow = np.empty(from_before.shape[1], np.float32)
    wide = np.empty((3, 2 * narrow.size), np.float32)
    places, back_places = np.empty((3, width), np.float32), np.empty((3, width), np.float32)
    rest = _ONE - time
    for y in range(height):
        _row(from_before, y, narrow, wide)
        _look_up(wide, y, time, height, places)
        _row(from_after, y, narrow, wide)
        _look_up(wide, y, rest, height, back_places)
        for x in range(width):
            scale = weight / (places[2, x] + back_places[2, x])
            left, right, share_x = _corners(places[0, x], width)
            top, bottom, share_y = _corners(places[1, x], height)
            a, b, c, d = _shares(share_x, share_y, scale * places[2, x])
            back_left, back_right, share_x = _corners(back_places[0, x], width)
            back_top, back_bottom, share_y = _corners(back_places[1, x], height)
            e, f, g, h = _shares(share_x, share_y, scale * back_places[2, x])
            for k in range(channels):  # one sum, because storing twice takes half as long again
                total[y, x, k] += (
                    (a * before[top, left, k] + b * before[top, right, k])
                    + (c * before[bottom, left, k] + d * before[bottom, right, k])
                    + (e * after[back_top, back_left, k] + f * after[back_top, back_right, k])
                    + (g * after[back_bottom, back_left, k] + h * after[back_bottom, back_right, k])
                )
