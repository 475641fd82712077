"""The motion between two frames, and frames on its way.

A mean of frames is clean while nothing moves by more than a pixel from one to the next; past that, edges are seen one
by one. `Gap` finds the motion in between and adds frames at times 0 < t < 1 to a sum of light:

1. Dense inverse search (Kroeger et al., ECCV 2016) gives the flow in both directions, kept at half size.
2. A pixel is believed as far as the way there and back ends where it began.
3. For each t both flows are carried to where their pixels are by then, by bilinear splatting; what is believed wins.
4. Each pixel at t is looked up in both frames, each along its own flow, and mixed by nearness in time and belief: what
   one frame alone sees is taken from that one.
5. If next to nothing is believed, as across a cut, the frames are cross-faded: no worse than without sub-frames.

The same bytes come out whatever the number of threads.
"""

import math
from collections.abc import Sequence
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from blursynth.errors import SettingsError
from blursynth.interpolate.warping import blend, compare, project

__all__ = ["Gap", "Interpolator", "Motion", "check_numbers", "sub_frames_for"]

Array = NDArray[Any]

_MIN_SIDE = 64  # px; smaller frames are extended, because the pyramid of the flow needs room
_SPEED_PERCENTILE = 99.9  # the fastest thousandth: a fist-sized ball in a wide view
_BELIEVED = 0.5
_BELIEF_OF_CHANCE, _BELIEF_OF_MOTION = 0.2, 0.4  # mean over a frame: cuts gave up to 0.17, real motion 0.6 or more
_LARGEST_WEIGHT = 1e30  # well inside float32


class Motion(Protocol):
    """What is known of the motion between two consecutive frames; `Gap` is one way to find it."""

    @property
    def speed_px(self) -> float:
        """How far the fastest things move from one frame to the other, px."""

    def add(
        self,
        before: NDArray[np.float32],
        after: NDArray[np.float32],
        fractions: Sequence[float],
        weights: Sequence[float],
        total: NDArray[np.float32],
    ) -> None:
        """Add weighted sub-frames to ``total``; see `Gap.add`."""


class Interpolator(Protocol):
    """Anything that makes a `Motion` from two luma planes, as `Gap` itself does.

    One that needs colour gets it in `Motion.add`, where the first three channels are RGB light.
    """

    def __call__(self, luma_before: Array, luma_after: Array, *, peak: int = 255) -> Motion:
        """Look at (H, W) uint8 or uint16 codes from 0 to ``peak``."""


def sub_frames_for(speed_px: float, limit: int = 16) -> int:
    """Return how many sub-frames to put between two frames so that nothing moves by over 1 px at a time.

    Parameters
    ----------
    speed_px
        Motion from frame to frame, px; 0 or more.
    limit
        The most to return.

    Returns
    -------
    0 for motion of up to 1 px, which is clean already.

    Raises
    ------
    SettingsError
        If the speed is negative or not a number, or the limit negative.
    """
    if not (math.isfinite(speed_px) and speed_px >= 0):
        raise SettingsError(f"speed {speed_px} px: must be a finite number, 0 or more")
    if limit < 0:
        raise SettingsError(f"limit {limit}: must be 0 sub-frames or more")
    return min(max(math.ceil(speed_px) - 1, 0), limit)


class Gap:
    """The motion between two consecutive frames.

    Parameters
    ----------
    luma_before, luma_after
        (H, W) uint8 or uint16 codes; not modified, not kept.
    peak
        The code of white.

    Raises
    ------
    SettingsError
        If the planes are not two of one size and type.
    """

    def __init__(self, luma_before: Array, luma_after: Array, *, peak: int = 255) -> None:
        if luma_before.ndim != 2 or luma_before.shape != luma_after.shape or not luma_before.size:
            raise SettingsError(f"luma planes {luma_before.shape} and {luma_after.shape}: must be two of one size")
        if luma_before.dtype != luma_after.dtype:
            raise SettingsError(f"luma of types {luma_before.dtype} and {luma_after.dtype}: must be of one type")
        first, second = (_prepared(plane, peak) for plane in (luma_before, luma_after))
        self._shape = luma_before.shape
        self._forward, self._backward = _half_size_flow(first, second), _half_size_flow(second, first)
        size = self._forward.shape[:2]
        self._belief_before, self._belief_after = np.empty(size, np.float32), np.empty(size, np.float32)
        compare(self._forward, self._backward, self._belief_before)
        compare(self._backward, self._forward, self._belief_after)
        self._trust = _trust(self.belief)

    @property
    def belief(self) -> float:
        """How far the flows of both directions agree, the mean over the frame, 0 to 1.

        The better one counts: what leaves the frame, or is covered, is known from one of them only.
        """
        return float(np.maximum(self._belief_before, self._belief_after).mean(dtype=np.float64))

    @property
    def speed_px(self) -> float:
        """How far the fastest things move from one frame to the other, px.

        The 99.9th percentile of the length of the flow in both directions, over the pixels whose flow leads back to
        them (over all if none does).
        """
        lengths = [
            np.hypot(flow[..., 0], flow[..., 1])[belief > _BELIEVED]
            for flow, belief in ((self._forward, self._belief_before), (self._backward, self._belief_after))
        ]
        believed = np.concatenate(lengths)
        if not believed.size:
            believed = np.hypot(self._forward[..., 0], self._forward[..., 1])
        return 2.0 * float(np.percentile(believed, _SPEED_PERCENTILE))

    def add(
        self,
        before: NDArray[np.float32],
        after: NDArray[np.float32],
        fractions: Sequence[float],
        weights: Sequence[float],
        total: NDArray[np.float32],
    ) -> None:
        """Add weighted sub-frames to a sum of light.

        Parameters
        ----------
        before, after
            (H, W, C) float32 linear light of the two frames, any number of channels.
        fractions
            Times of the sub-frames: 0 is ``before``, 1 is ``after``, both excluded.
        weights
            As many factors.
        total
            (H, W, C) float32, added to.

        Raises
        ------
        SettingsError
            If shapes, types or numbers do not fit.
        """
        self._check(before, after, total)
        check_numbers(fractions, weights)
        size = (*self._forward.shape[:2], 3)
        from_before, from_after = np.empty(size, np.float32), np.empty(size, np.float32)
        for fraction, weight in zip(fractions, weights, strict=True):
            time, moved = np.float32(fraction), np.float32(weight * self._trust)
            project(self._forward, self._belief_before, time, from_before)
            project(self._backward, self._belief_after, np.float32(1.0) - time, from_after)
            blend(before, after, from_before, from_after, time, moved, total)
            if self._trust < 1:
                faded = np.float32(weight) - moved
                total += faded * (np.float32(1.0) - time) * before + faded * time * after

    def between(self, before: NDArray[np.float32], after: NDArray[np.float32], fraction: float) -> NDArray[np.float32]:
        """Return one sub-frame, (H, W, C) float32 linear light; arguments as for `add`."""
        frame = np.zeros_like(before)
        self.add(before, after, [fraction], [1.0], frame)
        return frame

    def _check(self, *frames: NDArray[np.float32]) -> None:
        for frame in frames:
            if frame.ndim != 3 or frame.shape[:2] != self._shape or frame.dtype != np.float32:
                raise SettingsError(
                    f"light {frame.shape} {frame.dtype}: must be (H, W, C) float32 of {self._shape[1]}x{self._shape[0]}"
                )
        if len({frame.shape for frame in frames}) > 1:
            raise SettingsError(f"light of {[frame.shape[2] for frame in frames]} channels: must be the same number")


def check_numbers(fractions: Sequence[float], weights: Sequence[float]) -> None:
    """Refuse fractions and weights that do not pair or are out of range, with a SettingsError."""
    if len(fractions) != len(weights):
        raise SettingsError(f"{len(fractions)} fractions, {len(weights)} weights: must be as many")
    for fraction, weight in zip(fractions, weights, strict=True):
        if not 0 < fraction < 1:
            raise SettingsError(f"fraction {fraction}: must be between 0 and 1")
        if not abs(weight) <= _LARGEST_WEIGHT:
            raise SettingsError(f"weight {weight}: must be a finite number")


def _prepared(luma: Array, peak: int) -> NDArray[np.uint8]:
    """Return (H', W') 8-bit codes, extended to even sides of which none is too small."""
    if luma.dtype not in (np.uint8, np.uint16):
        raise SettingsError(f"luma of type {luma.dtype}: must be uint8 or uint16")
    if not 1 <= peak <= np.iinfo(luma.dtype).max:
        raise SettingsError(f"peak {peak}: must be from 1 to {np.iinfo(luma.dtype).max} for {luma.dtype}")
    codes = np.ascontiguousarray(luma)
    if peak != 255 or luma.dtype != np.uint8:
        codes = cv2.convertScaleAbs(codes, alpha=255 / peak)
    missing = [max(_MIN_SIDE, side + side % 2) - side for side in luma.shape]
    if any(missing):
        codes = cv2.copyMakeBorder(codes, 0, missing[0], 0, missing[1], cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(codes, np.uint8)


def _half_size_flow(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the flow from ``first`` to ``second``: (H/2, W/2, 2) float32, x and y, in half-size px."""
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setFinestScale(1)
    search.setPatchStride(4)
    search.setGradientDescentIterations(12)
    search.setVariationalRefinementIterations(2)
    flow = search.calc(first, second, None)  # type: ignore[call-overload]
    pairs = flow[::2] + flow[1::2]
    return np.asarray((pairs[:, ::2] + pairs[:, 1::2]) * np.float32(1 / 8), np.float32)  # the mean of four, halved


def _trust(belief: float) -> float:
    """Return the share of the sub-frames, from 0 to 1, that is not better cross-faded."""
    # One number for the whole frame: where flow fails in places, light that was moved along a rough guess was nearer to
    # true blur than two ghosts.
    return min(max((belief - _BELIEF_OF_CHANCE) / (_BELIEF_OF_MOTION - _BELIEF_OF_CHANCE), 0.0), 1.0)
