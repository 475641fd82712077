"""The noise of a clip's frames, measured in a few places of it."""

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from blursynth.crf import ResponseCurve
from blursynth.decoding import decode, to_rgb
from blursynth.radiometry import NoiseLevel, measure_noise
from blursynth.video import VideoInfo

__all__ = ["noise_of_clip"]

_PLACES = 6
_PAIRS_PER_PLACE = 2


def noise_of_clip(info: VideoInfo, curve: ResponseCurve, resize: tuple[int, int] | None = None) -> NoiseLevel:
    """Measure the noise of a frame in linear light, from what stands still between neighbouring frames.

    With ``resize``, (width, height) of the upright picture, it is the noise that is left in frames of that size.
    """
    pairs = _neighbours(info)
    if resize is None:
        return measure_noise(pairs, curve, info.colour.peak)
    linear = curve.linear_of_codes(info.colour.peak).astype(np.float32)
    coded_size = resize[::-1] if info.rotation % 2 else resize

    def reduced(codes: NDArray[Any]) -> NDArray[np.uint8]:
        return curve.from_linear(np.asarray(cv2.resize(linear[codes], coded_size, interpolation=cv2.INTER_AREA)))

    return measure_noise(((reduced(a), reduced(b)) for a, b in pairs), curve)


def _neighbours(info: VideoInfo) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    last = max(0, info.num_frames - _PAIRS_PER_PLACE - 1)
    for start in np.unique(np.linspace(0, last, _PLACES).round().astype(int)).tolist():
        yield from _neighbours_from(info, start)


def _neighbours_from(info: VideoInfo, start: int) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    before: tuple[int, NDArray[Any]] | None = None
    for frame in decode(info, start=start):
        if frame.index > start + _PAIRS_PER_PLACE:
            return
        if frame.index < start or frame.is_damaged:
            continue
        codes = to_rgb(info, frame)
        if before and before[0] + 1 == frame.index:
            yield before[1], codes
        before = frame.index, codes
