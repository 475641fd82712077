"""What each window is worth, measured while its clip is decoded."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blursynth.crf import ResponseCurve
from blursynth.make.settings import MakeConfig
from blursynth.motion import Step, View, Worth, step, view, worth
from blursynth.windows import Window, samples

__all__ = ["Meter", "Verdict", "judge"]

Verdict = str  # why a window does not become a pair: "cut", "motion", "ghost", "sharpness"; empty if it does


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    view: View
    step: "Future[Step] | None"  # from the frame before


class Meter:
    """Measures frames as they are decoded, in a thread of its own, and windows when all their frames are there."""

    def __init__(
        self, times: NDArray[np.float64], curve: ResponseCurve, peak: int, executor: ThreadPoolExecutor
    ) -> None:
        self._times = times
        self._curve = curve
        self._peak = peak
        self._executor = executor
        self._seen: dict[int, _Seen] = {}

    def see(self, index: int, luma: NDArray[Any]) -> None:
        """Take the next frame's luma plane, (H, W); what is needed of it is copied."""
        seen = view(luma, self._peak)
        before = self._seen.get(index - 1)
        self._seen[index] = _Seen(seen, self._executor.submit(step, before.view, seen) if before else None)

    def within_cuts(self, window: Window) -> Window:
        """Return a window without the frames next to it that belong to another scene."""
        before = 0
        while before < window.before and not self._step(window.first - before).is_cut:
            before += 1
        after = 0
        while after < window.after and not self._step(window.stop + after).is_cut:
            after += 1
        return replace(window, before=before, after=after)

    def repeats(self, window: Window) -> list[int]:
        """Return the frames of a window, or next to it, that show the picture of the frame before."""
        held = range(window.first - window.before + 1, window.stop + window.after)
        return [index for index in held if self._step(index).is_duplicate]

    def worth(self, window: Window, repeats: Sequence[int]) -> Worth:
        """Measure a window whose frames were all seen."""
        frames = range(window.first, window.stop)
        weights = np.full(window.length, 1 / window.length)
        if window.exposure_ticks is not None:
            weights[:] = 0
            for sample in samples(window, self._times, repeats=repeats):
                weights[min(max(sample.frame, frames[0]), frames[-1]) - window.first] += sample.weight
        views = [self._seen[index].view for index in frames]
        steps = [self._step(index) for index in frames[1:]]
        return worth(views, steps, weights, window.centre - window.first, self._curve)

    def forget(self, first: int) -> None:
        """Drop the frames before ``first``."""
        for index in list(self._seen):
            if index < first:
                del self._seen[index]

    def _step(self, index: int) -> Step:
        future = self._seen[index].step
        if future is None:
            raise ValueError(f"frame {index} was seen without the one before it")
        return future.result()


def judge(measured: Worth, config: MakeConfig) -> Verdict:
    """Return why a window is left out, empty if it is not."""
    if measured.has_cut:
        return "cut"
    if config.min_motion is not None and measured.motion_p95_px < config.min_motion:
        return "motion"
    # With sub-frames, ghosts are what they mend.
    if config.max_ghost is not None and config.sub_frames() == 0 and measured.ghost_score > config.max_ghost:
        return "ghost"
    if config.min_sharpness is not None and measured.sharpness < config.min_sharpness:
        return "sharpness"
    return ""
