"""The noise of a clip's frames, measured in a few places of it."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blursynth.crf import ResponseCurve
from blursynth.decoding import decode, to_rgb
from blursynth.radiometry import NoiseLevel, measure_noise
from blursynth.video import VideoInfo

__all__ = ["noise_of_clip"]

_PLACES = 6
_PAIRS_PER_PLACE = 2


def noise_of_clip(info: VideoInfo, curve: ResponseCurve) -> NoiseLevel:
    """Measure the noise of a frame in linear light, from what stands still between neighbouring frames."""
    return measure_noise(_neighbours(info), curve, info.colour.peak)


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
