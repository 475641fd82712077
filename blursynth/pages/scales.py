"""Axes: which values get a tick, and how they are written."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Axis", "linear_axis", "log_axis", "number_text"]


@dataclass(frozen=True, slots=True)
class Axis:
    """A stretch of values and the ticks on it."""

    least: float
    most: float
    ticks: Sequence[float]
    is_log: bool = False

    def share(self, value: float) -> float:
        """Return where a value lies, from 0 at the least to 1 at the most."""
        if self.is_log:
            value = math.log(max(value, self.least))
            return (value - math.log(self.least)) / (math.log(self.most) - math.log(self.least))
        return (value - self.least) / (self.most - self.least)


def number_text(value: float) -> str:
    """Return a number for a person to read: three digits that count, large ones grouped, no trailing zeros."""
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) < 1e-3:
        return f"{value:.2g}".replace("e-0", "e-")
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def linear_axis(least: float, most: float, num_ticks: int = 5, *, is_tight: bool = False) -> Axis:
    """Return an axis over the values, with ticks at round numbers; not ``is_tight``, it ends at ticks."""
    if not most > least:
        half = 0.5 * abs(least) or 0.5
        least, most = least - half, most + half
    step = _round_step((most - least) / num_ticks)
    first, last = math.floor(least / step + 1e-9), math.ceil(most / step - 1e-9)
    if is_tight:
        first, last = math.ceil(least / step - 1e-9), math.floor(most / step + 1e-9)
    ticks = [round(k * step, 12) for k in range(first, last + 1)]
    return Axis(least, most, ticks) if is_tight else Axis(ticks[0], ticks[-1], ticks)


def log_axis(least: float, most: float) -> Axis:
    """Return a logarithmic axis over positive values, with ticks at 1, 2 and 5 times the powers of ten."""
    if not most > least:
        least, most = least / 2, most * 2
    decades = range(math.floor(math.log10(least)), math.ceil(math.log10(most)) + 1)
    for factors in ((1, 2, 5), (1,)):
        ticks = [factor * 10.0**power for power in decades for factor in factors]
        inside = [tick for tick in ticks if least <= tick <= most]
        if len(inside) <= 7:
            break
    return Axis(least, most, inside, is_log=True)


def _round_step(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= step * (1 - 1e-9))
