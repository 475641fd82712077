"""Planning, integers and times only: which frames make which blurry image."""

import hashlib
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blursynth.errors import SettingsError

__all__ = ["Window", "WindowRule", "gaps", "pair_key", "plan_windows"]

_MAX_LENGTH = 1023
_GAP_STEPS = 1.5  # a longer step than this many usual ones is a gap, and no window crosses it


@dataclass(frozen=True, slots=True)
class Window:
    """The frames of one blurry image: ``length`` of them, an odd number, from ``first`` on.

    ``number`` counts the windows of a clip from 0, in the plan: it stays the same whatever happens to other windows.
    """

    number: int
    first: int
    length: int

    @property
    def centre(self) -> int:
        """The frame in the middle, the sharp one."""
        return self.first + self.length // 2

    @property
    def stop(self) -> int:
        """One past the last frame."""
        return self.first + self.length


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


def plan_windows(pts: NDArray[np.int64], rule: WindowRule, *, seed: int = 0, source: str = "") -> list[Window]:
    """Lay windows over a clip; none crosses a gap in the times.

    Parameters
    ----------
    pts
        (T,) presentation times in any unit, increasing.
    rule
        Lengths and stride.
    seed, source
        Together with the number of the window they alone decide the length that is drawn for it.

    Returns
    -------
    Windows in order of time; empty if none fits.
    """
    windows: list[Window] = []
    for start, stop in _runs(pts):
        first = start
        while True:
            number = len(windows)
            length = _draw_length(rule, seed, source, number)
            if first + length > stop:
                break
            windows.append(Window(number, first, length))
            first += rule.stride or length
    return windows


def gaps(pts: NDArray[np.int64]) -> list[int]:
    """Return the frames before which time jumps by more than the usual step, so that no window may cross."""
    return [start for start, _ in _runs(pts)][1:]


def _runs(pts: NDArray[np.int64]) -> Sequence[tuple[int, int]]:
    """Split the frames where time jumps; half-open ranges."""
    if pts.size == 0:
        return []
    steps = np.diff(pts)
    usual = float(np.median(steps)) if steps.size else 0.0
    # Time stamps are rounded to whole ticks, which may be as long as the usual step.
    breaks = np.flatnonzero(steps > max(_GAP_STEPS * usual, usual + 1)) + 1
    edges = [0, *breaks.tolist(), int(pts.size)]
    return list(itertools.pairwise(edges))


def _draw_length(rule: WindowRule, seed: int, source: str, number: int) -> int:
    choices = (rule.longest - rule.shortest) // 2 + 1
    return rule.shortest + 2 * (pair_key(seed, source, number) % choices)


def pair_key(seed: int, source: str, number: int) -> int:
    """Return the key of all that is drawn for a pair: 64 bits that depend on seed, clip and window number alone."""
    # A hash instead of NumPy's generator, whose streams may change between versions.
    digest = hashlib.sha256(f"{seed}/{source}/{number}/window".encode()).digest()
    return int.from_bytes(digest[:8], "big")
