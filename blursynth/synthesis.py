"""The mean of one window of frames in linear light: one pair of a blurry and a sharp image."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from blursynth.averaging import ExactEncoder, linear_mean, mean_codes
from blursynth.crf import ResponseCurve
from blursynth.decoding import Frame
from blursynth.video import VideoInfo
from blursynth.windows import Window

_AHEAD = 16  # frames that may be decoded while a window is averaged

__all__ = ["Pair", "Synthesizer", "held_frames", "output_size"]


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """A blurry image and the sharp frame from the middle of its exposure: both (H, W, 3) uint8 display codes."""

    window: Window
    blurry: NDArray[np.uint8]
    sharp: NDArray[np.uint8]


def output_size(info: VideoInfo, resize: tuple[int, int] | None) -> tuple[int, int]:
    """Return the (height, width) of the pairs of a clip, upright, after resizing to (width, height) if given."""
    if resize is not None:
        return resize[1], resize[0]
    return (info.width, info.height) if info.rotation % 2 else (info.height, info.width)


class Synthesizer:
    """Makes the pairs of one clip from a ring of its latest frames.

    B = g((1/M) sum_i g^-1(S_i)), Nah et al., CVPR 2017, eq. 1 and 2, with g the response curve: the code that float64
    arithmetic on the decoded codes would give, for every pixel. `hold` copies a frame into the ring; `pair` may run in
    another thread as long as the window's frames stay held.

    Parameters
    ----------
    info
        The clip.
    curve
        Its response curve, used both ways.
    capacity
        How many frames the ring holds; frame i is there until frame i + capacity comes.
    resize
        (width, height) of upright pairs. They are resized in linear light, by area.
    """

    def __init__(
        self, info: VideoInfo, curve: ResponseCurve, *, capacity: int, resize: tuple[int, int] | None = None
    ) -> None:
        self._info = info
        self._curve = curve
        self._resize = resize
        self._siting = info.colour.siting()
        self._matrix = info.colour.coefficients()
        self._encoders: dict[int, ExactEncoder] = {}
        self._ring: list[NDArray[Any]] = []
        self._capacity = capacity

    def hold(self, frame: Frame) -> None:
        """Copy a frame's planes into the ring."""
        if not self._ring:
            self._ring = [np.empty((self._capacity, *plane.shape), plane.dtype) for plane in frame.planes]
        for ring, plane in zip(self._ring, frame.planes, strict=True):
            np.copyto(ring[frame.index % self._capacity], plane)

    def pair(self, window: Window) -> Pair:
        """Average a window whose frames are all held."""
        slots = np.arange(window.first, window.stop) % self._capacity
        if self._resize is None:
            blurry, sharp = self._average(slots)
        else:
            centre = slots[window.length // 2 : window.length // 2 + 1]
            blurry, sharp = (self._resized(self._linear(chosen), self._resize) for chosen in (slots, centre))
        return Pair(window, self._upright(blurry), self._upright(sharp))

    def _average(self, slots: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        tables = self._encoder(slots.size)
        shape = (self._info.height, self._info.width, 3)
        blurry, sharp = np.empty(shape, np.uint8), np.empty(shape, np.uint8)
        luma, cb, cr = self._ring
        mean_codes(
            luma,
            cb,
            cr,
            slots,
            self._siting,
            self._matrix,
            tables.table,
            tables.linear,
            tables.bins,
            tables.bin_bits,
            tables.thresholds,
            tables.exact_thresholds,
            tables.code8,
            blurry,
            sharp,
        )
        return blurry, sharp

    def _encoder(self, num_frames: int) -> ExactEncoder:
        if num_frames not in self._encoders:
            self._encoders[num_frames] = ExactEncoder.build(self._curve, num_frames, self._info.colour.peak)
        return self._encoders[num_frames]

    def _linear(self, slots: NDArray[np.int64]) -> NDArray[np.float32]:
        light = np.empty((self._info.height, self._info.width, 3), np.float32)
        linear = self._curve.linear_of_codes(self._info.colour.peak)
        luma, cb, cr = self._ring
        linear_mean(luma, cb, cr, slots, self._siting, self._matrix, linear, light)
        return light

    def _resized(self, light: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.uint8]:
        coded_size = size[::-1] if self._info.rotation % 2 else size
        resized = cv2.resize(light, coded_size, interpolation=cv2.INTER_AREA)
        return self._curve.from_linear(np.asarray(resized, np.float32))

    def _upright(self, codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.ascontiguousarray(np.rot90(codes, self._info.rotation)) if self._info.rotation else codes


def held_frames(windows: Sequence[Window]) -> int:
    """Return how long a ring must be for the longest window, with room to go on while it is averaged."""
    longest = max(window.length for window in windows)
    return longest + min(longest, _AHEAD) + 4
