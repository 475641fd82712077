"""From a restored image and its truth to a row of numbers: metrics chosen by name, or a benchmark's own protocol."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from .alignment import REALBLUR_DEFINITION, realblur_scores
from .definitions import Metric, choose_metrics
from .kohler import KOHLER_DEFINITION, kohler_scores
from .results import Column

__all__ = ["Scoring", "choose_scoring"]

Image = NDArray[np.uint8]
Protocol = Literal["plain", "realblur", "kohler"]
_MOST_DECIBELS = 100.0  # not infinite, or one image of equal codes would hide what becomes of the others
_CAP = f"; {_MOST_DECIBELS:.0f} dB at most"


@dataclass(frozen=True, slots=True)
class Scoring:
    """Which numbers are computed, and how. ``score`` takes (restored, truth) and returns one number a column."""

    protocol: str
    columns: tuple[Column, ...]
    score: Callable[[Image, NDArray[Any]], tuple[float, ...]]


def choose_scoring(protocol: Protocol, names: Sequence[str]) -> Scoring:
    """Return how to score: by metrics of these names, or by the two that a benchmark's protocol says.

    Raises
    ------
    SettingsError
        If a name is unknown.
    DeviceError
        If what a metric needs is not installed.
    """
    match protocol:
        case "plain":
            return _plain(names)
        case "realblur":
            found = f"{REALBLUR_DEFINITION}; OpenCV {cv2.__version__}"
            return Scoring(protocol, _both("realblur", "ssim", found), lambda z, x: _capped(realblur_scores(z, x)))
        case "kohler":
            columns = _both("kohler", "mssim", KOHLER_DEFINITION)
            return Scoring(protocol, columns, lambda z, frames: _capped(kohler_scores(z, frames)))


def _both(protocol: str, similarity: str, definition: str) -> tuple[Column, Column]:
    return (
        Column(f"psnr-{protocol}", f"{definition}{_CAP}", "dB", 2, is_higher_better=True),
        Column(f"{similarity}-{protocol}", definition, "", 4, is_higher_better=True),
    )


def _capped(scores: tuple[float, float]) -> tuple[float, ...]:
    return _finite("dB", scores[0]), _finite("", scores[1])


def _plain(names: Sequence[str]) -> Scoring:
    metrics = choose_metrics(names)

    def score(restored: Image, truth: NDArray[Any]) -> tuple[float, ...]:
        return tuple(_finite(metric.unit, metric.score(restored, truth)) for metric in metrics)

    return Scoring("plain", tuple(_column(metric) for metric in metrics), score)


def _column(metric: Metric) -> Column:
    cap = _CAP if metric.unit == "dB" else ""
    return Column(metric.name, metric.definition + cap, metric.unit, metric.decimals, metric.is_higher_better)


def _finite(unit: str, value: float) -> float:
    value = min(value, _MOST_DECIBELS) if unit == "dB" else value
    if not math.isfinite(value):
        raise ValueError(f"a score is {value}")
    return value
