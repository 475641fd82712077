"""What pairs are judged and sorted by."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from blursynth.errors import SettingsError

__all__ = ["MEASURES", "SORTS", "Measure", "Sort", "check_sort"]

Sort = Literal["motion", "ghost", "sharpness", "saturation", "noise"]
SORTS: tuple[Sort, ...] = get_args(Sort)
_MID_GREY = 0.18  # of white, in linear light


@dataclass(frozen=True, slots=True)
class Measure:
    """A number of each pair; ``of`` takes it out of (N,) rows of PAIR_DTYPE, not a number where it is unknown.

    ``worst_first`` says which end is worst, for a person to read; ``is_worst_most`` says so for sorting.
    """

    title: str
    unit: str
    what: str
    of: Callable[[NDArray[Any]], NDArray[np.float64]]
    worst_first: str
    is_worst_most: bool = True
    missing: str = "not measured (made with --no-measure)"

    def worst(self, rows: NDArray[Any]) -> NDArray[np.intp]:
        """Return the numbers of the rows that have a value, worst first; equal ones in their order."""
        values = self.of(rows)
        key = -values if self.is_worst_most else values
        order = np.argsort(key, kind="stable")
        return order[np.isfinite(values[order])]


def _field(name: str, factor: float = 1.0) -> Callable[[NDArray[Any]], NDArray[np.float64]]:
    return lambda rows: rows[name].astype(np.float64) * factor


def _noise_percent(rows: NDArray[Any]) -> NDArray[np.float64]:
    """Return the standard deviation of the noise at mid grey, percent of white in linear light; none where none is."""
    shot, read = rows["shot_noise"].astype(np.float64), rows["read_noise"].astype(np.float64)
    percent = 100 * np.sqrt(np.maximum(0, shot * _MID_GREY + read**2))
    return np.where(percent > 0, percent, np.nan)


MEASURES: dict[str, Measure] = {
    "motion": Measure(
        "Motion",
        "px",
        "Path over the exposure, 95th percentile of the picture. Below 1 px there is no blur to learn from.",
        _field("motion_p95_px"),
        "most motion",
    ),
    "ghost": Measure(
        "Ghost score",
        "codes",
        "What half the frames would change: gaps between frames show as repeated edges. Real 240 fps clips: 1 to 4.",
        _field("ghost_score"),
        "most ghosting",
        missing="not measured",
    ),
    "exposure": Measure(
        "Exposure",
        "ms",
        "Time that a blurry image gathers light.",
        _field("exposure_seconds", 1000),
        "longest exposure",
    ),
    "sharpness": Measure(
        "Sharpness of the sharp image",
        "",
        "1 is perfect; a photograph has about 0.75, soft video 0.45.",
        _field("sharpness"),
        "least sharp",
        is_worst_most=False,
        missing="not measured",
    ),
    "saturation": Measure(
        "Saturation",
        "%",
        "Values of the sharp image at the highest code: light that is lost.",
        _field("saturated_fraction", 100),
        "most saturated",
        missing="not measured",
    ),
    "noise": Measure(
        "Noise",
        "% of white",
        "Standard deviation of the drawn noise at mid grey, in linear light.",
        _noise_percent,
        "noisiest",
        missing="none was drawn (--noise off)",
    ),
}


def check_sort(sort: str) -> None:
    """Refuse what pairs cannot be sorted by.

    Raises
    ------
    SettingsError
        If it is not one of `SORTS`.
    """
    if sort not in SORTS:
        raise SettingsError(f"sort {sort!r}: choose one of {', '.join(SORTS)}")
