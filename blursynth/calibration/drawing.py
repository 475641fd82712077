"""A picture of a measured curve beside well-known ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from blursynth.calibration.solving import Calibration, check_output
from blursynth.crf import response_curve
from blursynth.files import write_bytes

__all__ = ["draw_curve", "write_plot"]

Canvas = NDArray[np.uint8]
Colour = tuple[int, int, int]

_LEFT, _RIGHT, _TOP, _BOTTOM = 86, 28, 64, 74  # margins, pixels
_STOPS = 10  # below the light that clips
_WHITE, _INK, _FAINT = (255, 255, 255), (40, 40, 40), (226, 226, 226)
_CHANNELS: dict[str, Colour] = {"red": (214, 60, 50), "green": (40, 150, 70), "blue": (50, 90, 220)}
_KNOWN: dict[str, tuple[Colour, int]] = {"srgb": ((110, 110, 110), 12), "gamma:2.2": ((170, 120, 30), 5)}  # dash length
_SHIFT = 4  # OpenCV takes fractions of a pixel as integers with so many bits behind the point


def draw_curve(calibration: Calibration, *, size: tuple[int, int] = (1100, 760)) -> Canvas:
    """Draw a measured curve: the code over the light, in stops below the light that clips.

    Parameters
    ----------
    calibration
        What was measured; its three channels and their common curve are drawn.
    size
        (width, height) of the picture, 600x400 at least.

    Returns
    -------
    (H, W, 3) uint8, RGB.
    """
    width, height = max(size[0], 600), max(size[1], 400)
    canvas = np.full((height, width, 3), 255, np.uint8)
    _draw_axes(canvas)
    stops = np.linspace(-_STOPS, 0, 4 * (width - _LEFT - _RIGHT) + 1)
    legend: list[tuple[str, Colour, int, int]] = []
    for name, (colour, dash) in _KNOWN.items():
        _draw(canvas, stops, response_curve(name).linear_of_codes(), colour, dash=dash)
        legend.append((name, colour, 2, dash))
    _draw(canvas, stops, calibration.table, _INK, thickness=6)
    legend.append(("measured, all channels", _INK, 6, 0))
    for (name, colour), table in zip(_CHANNELS.items(), calibration.channel_tables, strict=True):
        _draw(canvas, stops, table, colour)
        legend.append((f"measured, {name}", colour, 2, 0))
    _draw_legend(canvas, legend)
    title = f"Response curve from {calibration.num_images} photographs, {calibration.method}; "
    _text(canvas, f"{title}they agree to {calibration.residual_codes:.2f} codes RMS", (_LEFT, 30), size=0.68)
    return canvas


def write_plot(path: Path, calibration: Calibration, *, overwrite: bool = False) -> None:
    """Write the picture of `draw_curve` as PNG.

    Raises
    ------
    SettingsError
        If the file exists and ``overwrite`` is false, or if its name does not end in .png.
    OutputError
        If the disk says no.
    """
    check_output(path, ".png", overwrite=overwrite)
    data = cv2.imencode(".png", cv2.cvtColor(draw_curve(calibration), cv2.COLOR_RGB2BGR))[1]
    write_bytes(path, data.tobytes(), overwrite=overwrite)


def _places(canvas: Canvas) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """Return what turns stops and codes into pixels."""
    height, width = canvas.shape[:2]
    return (
        lambda stops: _LEFT + (stops + _STOPS) / _STOPS * (width - _LEFT - _RIGHT),
        lambda codes: height - _BOTTOM - codes / 255 * (height - _TOP - _BOTTOM),
    )


def _draw_axes(canvas: Canvas) -> None:
    column, row = _places(canvas)
    for stops in range(-_STOPS, 1):
        x = round(column(stops))
        cv2.line(canvas, (x, round(row(0))), (x, round(row(255))), _FAINT, 1)
        _text(canvas, str(stops), (x, round(row(0)) + 24), align=0.5)
    for code in (0, 32, 64, 96, 128, 160, 192, 224, 255):
        y = round(row(code))
        cv2.line(canvas, (round(column(-_STOPS)), y), (round(column(0)), y), _FAINT, 1)
        _text(canvas, str(code), (_LEFT - 12, y + 6), align=1.0)
    corners = (round(column(-_STOPS)), round(row(255))), (round(column(0)), round(row(0)))
    cv2.rectangle(canvas, *corners, _INK, 1)
    _text(canvas, "light, in stops below the light that clips", (round(column(-_STOPS / 2)), canvas.shape[0] - 18), 0.5)
    _text(canvas, "code", (_LEFT - 12, _TOP - 12), 1.0)


def _draw(
    canvas: Canvas, stops: NDArray[np.float64], table: NDArray[np.float64], colour: Colour, *, thickness: int = 2,
    dash: int = 0,
) -> None:  # fmt: skip
    """Draw one curve; ``dash`` is the length of a stroke and of a gap in pixels."""
    column, row = _places(canvas)
    codes = np.interp(2.0**stops, table, np.arange(256))
    points = np.stack([column(stops), row(codes)], axis=1)
    length = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    strokes = (length // dash).astype(int) if dash else np.zeros(len(points), int)
    for number in range(0, strokes[-1] + 1, 2):
        line = np.rint(points[strokes == number] * (1 << _SHIFT)).astype(np.int32)
        cv2.polylines(canvas, [line], False, colour, thickness, cv2.LINE_AA, _SHIFT)


def _draw_legend(canvas: Canvas, entries: list[tuple[str, Colour, int, int]]) -> None:
    left, top, step = _LEFT + 24, _TOP + 20, 28
    cv2.rectangle(canvas, (left - 12, top - 14), (left + 290, top + step * len(entries) - 10), _WHITE, -1)
    cv2.rectangle(canvas, (left - 12, top - 14), (left + 290, top + step * len(entries) - 10), _FAINT, 1)
    for index, (name, colour, thickness, dash) in enumerate(entries):
        y = top + 4 + step * index
        for x in range(0, 48, 2 * dash or 48):
            cv2.line(canvas, (left + x, y), (left + min(x + (dash or 48), 48), y), colour, thickness, cv2.LINE_AA)
        _text(canvas, name, (left + 62, y + 6))


def _text(canvas: Canvas, text: str, place: tuple[int, int], align: float = 0.0, *, size: float = 0.55) -> None:
    """Write at a base line; ``align`` is the part of the text that stands left of the place."""
    font = cv2.FONT_HERSHEY_SIMPLEX
    (width, _), _ = cv2.getTextSize(text, font, size, 1)
    cv2.putText(canvas, text, (round(place[0] - align * width), place[1]), font, size, _INK, 1, cv2.LINE_AA)
