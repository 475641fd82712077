"""Planning, integers and times only: which frames, with which weights, make which blurry image.

There are two ways to say what a blurry image is the mean of. A *number of frames* (`WindowRule`) is the recipe of
GOPRO: the plain mean of an odd number of frames, whatever their times. An *exposure* (`ExposureRule`) is a stretch of
time: frame i stands for the light between the middles of the steps to its neighbours, its cell, and weighs as much as
its cell overlaps the exposure::

    cell_i = [(t_{i-1} + t_i) / 2, (t_i + t_{i+1}) / 2]        w_i = |cell_i ∩ [t_c - T/2, t_c + T/2]| / T

With equal steps and an exposure of an odd number of them, both are the same. A frame that repeats the one before it
shows nothing new: it is left out, and the cells of its neighbours grow.
"""

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blursynth.errors import SettingsError
from blursynth.keys import hashed

__all__ = [
    "ExposureRule",
    "Sample",
    "Window",
    "WindowRule",
    "frame_times",
    "gaps",
    "pair_key",
    "plan_exposures",
    "plan_windows",
    "samples",
]

_MAX_LENGTH = 1023
_MAX_REPEATS = 8  # frames that may show one picture
_MAX_SECONDS = 3600
_NEGLIGIBLE = 1e-9  # of an exposure; rounding
_GAP_STEPS = 1.5  # a longer step than this many usual ones is a gap, and no window of counted frames crosses it
_EXPOSURE_GAP_STEPS = (
    3.5  # an exposure weighs frames by their times: a frame or two that were never taken do not matter
)


@dataclass(frozen=True, slots=True)
class Window:
    """The frames of one blurry image: ``length`` of them from ``first`` on.

    ``number`` counts the windows of a clip from 0, in the plan: it stays the same whatever happens to other windows.
    ``sharp`` is the frame in the middle of the exposure, for an odd number of frames the one in their middle.
    ``exposure_ticks`` is the length of the exposure in units of the clip's time base; None means the plain mean.
    ``before`` and ``after`` count the frames next to the window, in the same unbroken stretch, that cells and
    sub-frames at its ends look at: one of each for counted frames, more for exposures, since frames may repeat.
    """

    number: int
    first: int
    length: int
    sharp: int | None = None
    exposure_ticks: float | None = None
    before: int = 0
    after: int = 0

    @property
    def centre(self) -> int:
        """The frame in the middle, the sharp one."""
        return self.first + self.length // 2 if self.sharp is None else self.sharp

    @property
    def stop(self) -> int:
        """One past the last frame."""
        return self.first + self.length


@dataclass(frozen=True, slots=True)
class Sample:
    """A moment of an exposure: ``fraction`` of the way from frame ``frame`` to frame ``next``, and its weight."""

    frame: int
    next: int
    fraction: float
    weight: float


@dataclass(frozen=True, slots=True)
class WindowRule:
    """How windows are laid: odd lengths from ``shortest`` to ``longest``, ``stride`` frames apart.

    Without a stride, windows touch: each begins where the last one ended, as in GOPRO.

    Raises
    ------
    SettingsError
        If a length is even or out of range, or the stride is not positive.
    """

    shortest: int = 7
    longest: int = 7
    stride: int | None = None

    def __post_init__(self) -> None:
        for length in (self.shortest, self.longest):
            if not 1 <= length <= _MAX_LENGTH:
                raise SettingsError(f"window {length}: must be from 1 to {_MAX_LENGTH} frames")
            if length % 2 == 0:
                raise SettingsError(
                    f"window {length} is even: there is no frame in the middle to call sharp; "
                    f"take {length - 1} or {length + 1}"
                )
        if self.shortest > self.longest:
            raise SettingsError(f"window {self}: the shorter length comes first")
        if self.stride is not None and self.stride < 1:
            raise SettingsError(f"stride {self.stride}: must be 1 frame or more")

    @classmethod
    def parse(cls, text: str, stride: int | None = None) -> "WindowRule":
        """Read ``7`` (every window) or ``7-13`` (odd lengths drawn for each pair)."""
        match = re.fullmatch(r"\s*(\d{1,6})\s*(?:-\s*(\d{1,6})\s*)?", text)
        if not match:
            raise SettingsError(f"window {text!r}: write a number of frames such as 7, or a range such as 7-13")
        return cls(int(match[1]), int(match[2] or match[1]), stride)

    def __str__(self) -> str:
        return str(self.shortest) if self.shortest == self.longest else f"{self.shortest}-{self.longest}"


@dataclass(frozen=True, slots=True)
class ExposureRule:
    """Exposures of ``seconds``; the middles of two are at least ``period_seconds`` apart. Without one, they touch.

    Raises
    ------
    SettingsError
        If one of them is not positive and below an hour.
    """

    seconds: Fraction
    period_seconds: Fraction | None = None

    def __post_init__(self) -> None:
        for name, value in (("exposure", self.seconds), ("time between exposures", self.period_seconds)):
            if value is not None and not 0 < value <= _MAX_SECONDS:
                raise SettingsError(f"{name} of {float(value):g} s: must be above 0 and at most {_MAX_SECONDS} s")

    @staticmethod
    def parse_seconds(text: str) -> Fraction:
        """Read ``1/30s``, ``1/30``, ``0.02`` or ``20ms``."""
        match = re.fullmatch(r"\s*(\d{1,15}(?:[./]\d{1,15})?)\s*(s|ms|)\s*", text, re.ASCII)
        try:
            if not match:
                raise ValueError("not a time")
            return Fraction(match[1]) / (1000 if match[2] == "ms" else 1)
        except (ValueError, ZeroDivisionError) as error:
            raise SettingsError(f"exposure {text!r}: write a time such as 1/30s, 0.02 or 20ms") from error


def plan_windows(
    pts: NDArray[np.int64], rule: WindowRule, *, seed: int = 0, source: str = "", usual_step: float | None = None
) -> list[Window]:
    """Lay windows over a clip; none crosses a gap in the times.

    Parameters
    ----------
    pts
        (T,) presentation times in any unit, increasing.
    rule
        Lengths and stride.
    seed, source
        Together with the number of the window they alone decide the length that is drawn for it.

    usual_step
        Ticks between frames by the clip's frame rate, if known.

    Returns
    -------
    Windows in order of time; empty if none fits.
    """
    windows: list[Window] = []
    for start, stop in _runs(pts, usual_step=usual_step):
        first = start
        while True:
            number = len(windows)
            length = _draw_length(rule, seed, source, number)
            if first + length > stop:
                break
            before, after = int(first > start), int(first + length < stop)
            windows.append(Window(number, first, length, before=before, after=after))
            first += rule.stride or length
    return windows


def plan_exposures(clip_times: NDArray[np.float64], rule: ExposureRule, time_base: Fraction) -> list[Window]:
    """Lay exposures over a clip, each around the time of a frame; none crosses a gap in the times.

    Parameters
    ----------
    clip_times
        (T,) in units of ``time_base`` seconds, from `frame_times`.

    Returns
    -------
    Windows in order of time; empty if none fits.

    Raises
    ------
    SettingsError
        If an exposure holds more frames than a window may.
    """
    ticks = float(rule.seconds / time_base)
    period = ticks if rule.period_seconds is None else float(rule.period_seconds / time_base)
    windows: list[Window] = []
    for start, stop in _runs(clip_times, _EXPOSURE_GAP_STEPS):
        times = clip_times[start:stop]
        edges = _cell_edges(times)
        slack = 1e-6 * ticks
        opens, centre = edges[0], -1
        while True:
            centre = max(centre + 1, int(np.searchsorted(times, opens + ticks / 2 - slack)))
            if centre >= times.size or times[centre] + ticks / 2 > edges[-1] + slack:
                break
            first = int(np.searchsorted(edges, times[centre] - ticks / 2 + slack, side="right")) - 1
            last = int(np.searchsorted(edges, times[centre] + ticks / 2 - slack)) - 1
            window = _exposed(len(windows), (start, stop), (start + first, start + last), start + centre, ticks)
            windows.append(window)
            opens = opens + period if rule.period_seconds is not None else times[centre] + ticks / 2
    return windows


def _exposed(number: int, run: tuple[int, int], span: tuple[int, int], centre: int, ticks: float) -> Window:
    first, last = span
    length = last - first + 1
    if length > _MAX_LENGTH:
        raise SettingsError(f"an exposure would hold {length} frames; {_MAX_LENGTH} at most: choose a shorter one")
    before, after = min(_MAX_REPEATS, first - run[0]), min(_MAX_REPEATS, run[1] - last - 1)
    return Window(number, first, length, centre, ticks, before, after)


def frame_times(pts: NDArray[np.int64], usual_step: float | None = None) -> NDArray[np.float64]:
    """Return when frames were taken, in ticks, without the jitter of clocks that count whole ticks.

    Parameters
    ----------
    pts
        (T,) presentation times of a clip, in ticks, increasing.
    usual_step
        Ticks between frames by the clip's frame rate, which may be known more precisely than its times are.

    Returns
    -------
    (T,) float64; where a stretch without gaps is even but for the rounding to ticks, it is even.
    """
    times = pts.astype(np.float64)
    for start, stop in _runs(pts, usual_step=usual_step):
        told = times[start:stop]
        count = np.arange(stop - start)
        for step in (usual_step, (told[-1] - told[0]) / max(1, count[-1])):
            off = told - count * (step or 0)
            if step and np.ptp(off) <= 1 + _NEGLIGIBLE:  # what rounding does
                times[start:stop] = count * step + (off.min() + off.max()) / 2
                break
    return times


def _cell_edges(times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (T + 1,) ends of the cells of T times; the first and the last cell are symmetric."""
    if times.size == 1:
        return np.array([times[0] - 0.5, times[0] + 0.5])
    middles = (times[1:] + times[:-1]) / 2
    return np.concatenate([[2 * times[0] - middles[0]], middles, [2 * times[-1] - middles[-1]]])


def samples(
    window: Window,
    times: NDArray[np.float64],
    *,
    repeats: Sequence[int] = (),
    sub_frames: Callable[[int, int], int] = lambda _frame, _next: 0,
) -> list[Sample]:
    """Return the moments whose weighted mean is the blurry image; the weights sum to 1.

    Parameters
    ----------
    times
        (T,) of the whole clip, from `frame_times`.
    repeats
        Frames that show the picture of the frame before them; exposures leave them out.
    sub_frames
        How many moments to put between a frame and the next one.
    """
    held = range(window.first - window.before, window.stop + window.after)
    if window.exposure_ticks is None:
        frames = list(held)
        held_times = np.array(frames, np.float64)  # frames are counted, whatever their times
        middle, exposure = float(window.centre), float(window.length)
    else:
        repeated = set(repeats)
        frames = [frame for frame in held if frame == held[0] or frame not in repeated]
        held_times = times[frames]
        middle = float(held_times[np.searchsorted(frames, window.centre, side="right") - 1])
        exposure = window.exposure_ticks
    moments = _moments(frames, held_times, sub_frames)
    edges = _cell_edges(np.array([time for _, _, _, time in moments]))
    if len(moments) > len(frames):  # the ends of the clip stand for half a step, however many sub-frames there are
        edges[0], edges[-1] = _cell_edges(held_times)[[0, -1]]
    overlaps = np.minimum(edges[1:], middle + exposure / 2) - np.maximum(edges[:-1], middle - exposure / 2)
    overlaps[overlaps < _NEGLIGIBLE * exposure] = 0
    weights = overlaps / overlaps.sum()
    return [Sample(*moment[:3], float(w)) for moment, w in zip(moments, weights, strict=True) if w > 0]


def _moments(
    frames: Sequence[int], times: NDArray[np.float64], sub_frames: Callable[[int, int], int]
) -> list[tuple[int, int, float, float]]:
    moments = []
    for i, frame in enumerate(frames):
        moments.append((frame, frame, 0.0, float(times[i])))
        if i + 1 == len(frames):
            break
        count = sub_frames(frame, frames[i + 1])
        for k in range(1, count + 1):
            fraction = k / (count + 1)
            moments.append((frame, frames[i + 1], fraction, float(times[i] + fraction * (times[i + 1] - times[i]))))
    return moments


def gaps(pts: NDArray[np.int64], usual_step: float | None = None) -> list[int]:
    """Return the frames before which time jumps so far that no window of counted frames may cross."""
    return [start for start, _ in _runs(pts, usual_step=usual_step)][1:]


def _runs(
    pts: NDArray[Any], gap_steps: float = _GAP_STEPS, *, usual_step: float | None = None
) -> Sequence[tuple[int, int]]:
    """Split the frames where time jumps; half-open ranges."""
    if pts.size == 0:
        return []
    steps = np.diff(pts)
    usual = float(np.median(steps)) if steps.size else 0.0
    # Time stamps are rounded to whole ticks, which may be as long as the usual step, unless that is a whole number.
    jitter = 0.5 if usual_step and abs(usual_step - round(usual_step)) < _NEGLIGIBLE else 1.0
    breaks = np.flatnonzero(steps > max(gap_steps * usual, usual + jitter)) + 1
    edges = [0, *breaks.tolist(), int(pts.size)]
    return list(itertools.pairwise(edges))


def _draw_length(rule: WindowRule, seed: int, source: str, number: int) -> int:
    choices = (rule.longest - rule.shortest) // 2 + 1
    return rule.shortest + 2 * (pair_key(seed, source, number) % choices)


def pair_key(seed: int, source: str, number: int) -> int:
    """Return the key of all that is drawn for a pair: 64 bits that depend on seed, clip and window number alone."""
    return hashed(f"{seed}/{source}/{number}/window")
