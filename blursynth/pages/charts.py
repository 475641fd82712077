"""Charts as SVG: they stay crisp at any size and take the page's colours."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blursynth.pages.markup import escape
from blursynth.pages.scales import Axis, linear_axis, log_axis, number_text

__all__ = ["Series", "curves", "histogram"]

_NUM_BINS = 28
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 14, 24, 38  # room for the texts around a chart, px
_MAX_POINTS = 300
_SMOOTH_FROM = 60  # points; fewer show their own course
_LOG_FROM = 30  # the largest value over the least
_NUM_COLOURS = 5  # of lines, in page.css


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """A named line: (N,) ``x`` in rising order and (N,) ``y``; values that are no numbers are left out."""

    name: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]

    def known(self) -> "Series":
        """Return the points that are numbers."""
        is_known = np.isfinite(self.x) & np.isfinite(self.y)
        return Series(self.name, self.x[is_known], self.y[is_known])


def histogram(title: str, values: NDArray[np.floating], *, unit: str, what: str, missing: str = "not measured") -> str:
    """Return how often values occur, as a figure.

    Parameters
    ----------
    title, unit
        Of the quantity; the unit may be empty.
    values
        (N,); those that are no numbers are left out, and counted below the chart.
    what
        A sentence that says what the quantity is.
    missing
        What is said if there is no value at all.
    """
    known = np.asarray(values, np.float64)
    num_values = known.size
    known = known[np.isfinite(known)]
    with_unit = f" {unit}" if unit else ""
    if not known.size:
        drawing, told = f'<p class="same">{escape(missing)}</p>\n', missing
    elif known.min() == known.max():
        told = f"{number_text(float(known[0]))}{with_unit} for all {number_text(known.size)}"
        drawing = f'<p class="same">{escape(told)}</p>\n'
    else:
        median, high = np.percentile(known, (50, 95)).tolist()
        told = (
            f"least {number_text(float(known.min()))}, median {number_text(median)}, 95th percentile "
            f"{number_text(high)}, most {number_text(float(known.max()))}{with_unit}"
        )
        drawing = _bars(title, known, (median, high), unit) + f'<p class="small muted">{escape(told)}</p>\n'
    left_out = num_values - known.size
    if known.size and left_out:
        drawing += f'<p class="small muted">{number_text(left_out)} without a value</p>\n'
    head = f"<h3>{escape(title)}</h3>\n<figcaption>{escape(what)}</figcaption>\n"
    return f'<figure class="chart">\n{head}{drawing}</figure>\n'


def _bars(title: str, known: NDArray[np.float64], marks: tuple[float, float], unit: str) -> str:
    width, height = 360, 210
    most = _end_of_bins(known)
    axis = linear_axis(float(known.min()), most, 5)
    edges = np.linspace(axis.least, axis.most, _NUM_BINS + 1)
    counts, _ = np.histogram(np.minimum(known, axis.most), edges)
    most_often = int(counts.max())
    frame = _Frame(width, height, axis, linear_axis(0, most_often, min(4, most_often)))
    is_open = known.max() > axis.most
    bars = []
    for k, count in enumerate(counts.tolist()):
        if not count:
            continue
        x, y = frame.x(edges[k]), frame.y(count)
        stretch = f"{number_text(edges[k])}–{number_text(edges[k + 1])} {unit}".strip()
        if is_open and k == _NUM_BINS - 1:
            stretch = f"{number_text(edges[k])} {unit} and more".replace("  ", " ")
        bars.append(
            f'<rect class="bar" x="{x:.2f}" y="{y:.2f}" width="{frame.x(edges[k + 1]) - x - 1:.2f}" '
            f'height="{frame.y(0) - y:.2f}"><title>{escape(stretch)}: {count:,}</title></rect>\n'
        )
    x = frame.x(min(marks[0], axis.most))
    anchor = "end" if x > width * 0.75 else "start"
    mark = (
        f'<line class="mark" x1="{x:.2f}" x2="{x:.2f}" y1="{_TOP - 6}" y2="{frame.y(0):.2f}"/>\n'
        f'<text class="mark-text" x="{x + (4 if anchor == "start" else -4):.2f}" y="{_TOP - 4}" '
        f'text-anchor="{anchor}">median {number_text(marks[0])}</text>\n'
    )
    beyond = " (last bar: and more)" if is_open else ""
    label = f"{title}, {unit}{beyond}" if unit else f"{title}{beyond}"
    body = frame.grid(x_label=label, y_label="pairs") + "".join(bars) + mark
    return _svg(width, height, f"Histogram of {title}", body)


def _end_of_bins(known: NDArray[np.float64]) -> float:
    """Return where the bars end: a few far values shall not press all others into one bar."""
    most, usual = float(known.max()), float(np.percentile(known, 99))
    return usual * 1.25 if usual > 0 and most > 2 * usual else most


def curves(
    title: str, series: Sequence[Series], *, x_label: str, y_label: str, what: str = "", is_noisy: bool = True
) -> str:
    """Return lines over one another as a figure; the y axis is logarithmic where values span orders of magnitude.

    Long lines of noisy values are shown as their running mean, with the values themselves faint behind it.
    """
    shown = [points for line in series if (points := line.known()).x.size]
    head = f"<h3>{escape(title)}</h3>\n" + (f"<figcaption>{escape(what)}</figcaption>\n" if what else "")
    if not shown:
        return f'<figure class="chart">\n{head}<p class="same">nothing was written</p>\n</figure>\n'
    width, height = 360, 230
    every_y = np.concatenate([line.y for line in shown])
    every_x = np.concatenate([line.x for line in shown])
    frame = _Frame(
        width, height, linear_axis(float(every_x.min()), float(every_x.max()), 5, is_tight=True), _y_axis(every_y)
    )
    lines = "".join(_line(frame, line, number, is_noisy=is_noisy) for number, line in enumerate(shown))
    keys = "".join(
        f'<span class="key"><i class="k{number % _NUM_COLOURS}"></i>'
        f"{escape(line.name)}: {number_text(float(line.y[-1]))}</span>"
        for number, line in enumerate(shown)
    )
    body = frame.grid(x_label=x_label, y_label=y_label) + lines
    drawing = _svg(width, height, title, body)
    return f'<figure class="chart">\n{head}{drawing}<p class="small muted">At the end: {keys}</p>\n</figure>\n'


def _y_axis(values: NDArray[np.float64]) -> Axis:
    least, most = float(values.min()), float(values.max())
    if least > 0 and most / least > _LOG_FROM:
        return log_axis(least, most)
    return linear_axis(least, most, 5)


def _line(frame: "_Frame", line: Series, number: int, *, is_noisy: bool) -> str:
    x, y = _thinned(line.x, _MAX_POINTS), _thinned(line.y, _MAX_POINTS)
    style = f"s{number % _NUM_COLOURS}"
    if x.size == 1:
        return (
            f'<circle class="dot f{number % _NUM_COLOURS}" cx="{frame.x(x[0]):.2f}" cy="{frame.y(y[0]):.2f}" r="4"/>\n'
        )
    if x.size < _SMOOTH_FROM:
        dots = "".join(
            f'<circle class="dot f{number % _NUM_COLOURS}" cx="{frame.x(a):.2f}" cy="{frame.y(b):.2f}" r="2.5">'
            f"<title>{escape(line.name)} {number_text(float(b))} at {number_text(float(a))}</title></circle>\n"
            for a, b in zip(x, y, strict=True)
        )
        return f'<polyline class="line {style}" points="{frame.points(x, y)}"/>\n{dots}'
    if not is_noisy:
        return f'<polyline class="line {style}" points="{frame.points(x, y)}"/>\n'
    return (
        f'<polyline class="line faint {style}" points="{frame.points(x, y)}"/>\n'
        f'<polyline class="line {style}" points="{frame.points(x, _running_mean(y, max(3, x.size // 20)))}"/>\n'
    )


def _thinned(values: NDArray[np.float64], max_points: int) -> NDArray[np.float64]:
    """Return the means of groups of neighbours, ``max_points`` of them at most."""
    if values.size <= max_points:
        return values
    return np.array([group.mean() for group in np.array_split(values, max_points)])


def _running_mean(values: NDArray[np.float64], half: int) -> NDArray[np.float64]:
    """Return the means over ``half`` neighbours on each side, over fewer at the ends."""
    sums = np.concatenate([[0.0], values.cumsum()])
    at = np.arange(values.size)
    first, stop = np.maximum(0, at - half), np.minimum(values.size, at + half + 1)
    means: NDArray[np.float64] = (sums[stop] - sums[first]) / (stop - first)
    return means


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where values lie in a drawing."""

    width: int
    height: int
    x_axis: Axis
    y_axis: Axis

    def x(self, value: float) -> float:
        return _LEFT + (self.width - _LEFT - _RIGHT) * self.x_axis.share(value)

    def y(self, value: float) -> float:
        return self.height - _BOTTOM - (self.height - _BOTTOM - _TOP) * self.y_axis.share(value)

    def points(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> str:
        return " ".join(f"{self.x(a):.2f},{self.y(b):.2f}" for a, b in zip(x.tolist(), y.tolist(), strict=True))

    def grid(self, *, x_label: str, y_label: str) -> str:
        left, right, bottom = _LEFT, self.width - _RIGHT, self.height - _BOTTOM
        parts = []
        for tick in self.y_axis.ticks:
            y = self.y(tick)
            parts.append(
                f'<line class="grid" x1="{left}" x2="{right}" y1="{y:.2f}" y2="{y:.2f}"/>'
                f'<text x="{left - 6}" y="{y + 4:.2f}" text-anchor="end">{_tick_text(tick, self.y_axis)}</text>\n'
            )
        for tick in self.x_axis.ticks:
            x = self.x(tick)
            parts.append(
                f'<line class="axis" x1="{x:.2f}" x2="{x:.2f}" y1="{bottom}" y2="{bottom + 4}"/>'
                f'<text x="{x:.2f}" y="{bottom + 16}" text-anchor="middle">{_tick_text(tick, self.x_axis)}</text>\n'
            )
        parts.append(
            f'<line class="axis" x1="{left}" x2="{right}" y1="{bottom}" y2="{bottom}"/>\n'
            f'<text x="{(left + right) / 2:.1f}" y="{self.height - 5}" text-anchor="middle">{escape(x_label)}</text>\n'
            f'<text x="4" y="11">{escape(y_label)}</text>\n'
        )
        return "".join(parts)


def _tick_text(value: float, axis: Axis) -> str:
    """Return a number beside an axis; long ones in thousands or millions, all of an axis alike."""
    if not axis.is_log and value:
        for size, letter in ((1e6, "M"), (1e3, "k")):
            if max(abs(axis.least), abs(axis.most)) >= 10 * size:
                return f"{value / size:g}{letter}"
    return number_text(value)


def _svg(width: int, height: int, title: str, body: str) -> str:
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">\n{body}</svg>\n'
