"""Which part of which frame an exposure takes: drawn from the weights that `make` uses."""

from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from blursynth.windows import ExposureRule, WindowRule, plan_exposures, plan_windows, samples

from .drawing import COLOURS, FAINT, INK, Drawing

_LEFT, _SCALE = 30.0, 3.2  # px; px for a millisecond


def exposure_weights() -> str:
    """An exposure of 1/30 s over even, uneven and repeated frames of about 240 a second."""
    even = np.arange(0, 48) * 1000 / 240
    uneven = np.cumsum(np.resize([0, 3.2, 5.1, 4.2, 6.4, 2.4, 4.0], 48)) + 0.0
    drawing = Drawing(700, 400, "Weights of frames in an exposure of 1/30 s and in a window of seven frames")
    _row(drawing, 40, "--window 7: seven frames, each weighs a seventh, whatever their times", even, [])
    _row(drawing, 130, "--exposure 1/30s at 240 frames/s: nine cells, the outer two cut in half", even, [], 1 / 30)
    _row(
        drawing,
        220,
        "--exposure 1/30s, a varying frame rate: each frame weighs as long as its cell",
        uneven,
        [],
        1 / 30,
    )
    repeats = list(range(3, 48, 4))
    _row(drawing, 310, "--exposure 1/30s, repeated frames (grey) are left out", even, repeats, 1 / 30)
    drawing.text(_LEFT, 392, "milliseconds run to the right; the sharp frame is blue", INK, size=12)
    return drawing.svg()


def _row(
    drawing: Drawing,
    y: float,
    title: str,
    times_ms: NDArray[np.float64],
    repeats: Sequence[int],
    seconds: float | None = None,
) -> None:
    if seconds is None:
        window = plan_windows(np.arange(times_ms.size), WindowRule(7, 7))[3]
    else:
        rule = ExposureRule(Fraction(1, 30))
        window = plan_exposures(times_ms, rule, Fraction(1, 1000))[2]
    taken = {sample.frame: sample.weight for sample in samples(window, times_ms, repeats=repeats)}
    middle = times_ms[window.centre]
    span = (middle - 100, middle + 100)

    def place(milliseconds: float) -> float:
        return float(_LEFT + _SCALE * (milliseconds - span[0]))

    drawing.text(_LEFT, y, title)
    if seconds is not None:
        drawing.box(place(middle - 500 * seconds), y + 12, 1000 * seconds * _SCALE, 46, "#fff3e0")
    heaviest = max(taken.values())
    for frame, time in enumerate(times_ms.tolist()):
        if not span[0] <= time <= span[1]:
            continue
        colour = FAINT if frame in repeats else COLOURS[1] if frame == window.centre else COLOURS[0]
        drawing.line([(place(time), y + 58), (place(time), y + 64)], INK, 1)
        if frame in taken:
            height = 40 * taken[frame] / heaviest
            drawing.box(place(time) - 4, y + 58 - height, 8, height, colour)
        elif frame in repeats:
            drawing.box(place(time) - 4, y + 53, 8, 5, colour)
    drawing.line([(_LEFT, y + 58), (_LEFT + 640, y + 58)], INK, 1)


FIGURES: dict[str, Callable[[], str]] = {"chart-exposures.svg": exposure_weights}
