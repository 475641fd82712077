"""Two evaluations side by side: the same images, the same definitions, and the difference of each pair of scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from blursynth.errors import SettingsError
from blursynth.files import printable

from .intervals import Estimate, mean_interval
from .results import BLURRY_INPUT, Column, DataResult, MethodResult, Results

__all__ = ["Difference", "check_comparable", "compare"]


@dataclass(frozen=True, slots=True)
class Difference:
    """How much a method here scores more than a method there, paired image by image."""

    data: str
    column: Column
    method: str
    other: str
    mean: float
    other_mean: float
    difference: Estimate

    def values(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "data": self.data,
            "metric": self.column.name,
            "method": self.method,
            "against": self.other,
            "mean": self.mean,
            "against_mean": self.other_mean,
            "difference": self.difference.mean,
            "low": self.difference.low,
            "high": self.difference.high,
        }


def check_comparable(name: str, track: str, columns: Sequence[Column], other: Results) -> None:
    """Refuse, before anything is computed, what cannot be compared with an earlier evaluation.

    Parameters
    ----------
    name, track
        Of a data set that is to be evaluated.
    columns
        The metrics that are to be computed.

    Raises
    ------
    SettingsError
        If the tracks or the definitions differ, or nothing is common.
    """
    there = {column.name: column for column in other.columns}
    if not any(column.name in there for column in columns):
        raise SettingsError(f"no metric in common: there {', '.join(there)}; choose them with --metrics")
    for column in columns:
        if column.name in there and there[column.name].definition != column.definition:
            raise SettingsError(
                f"{column.name} is defined otherwise there: {there[column.name].definition!r}, here "
                f"{column.definition!r}; evaluate both with one version"
            )
    if track and other.data and track not in {data.track for data in other.data}:
        tracks = " and ".join(sorted({data.name for data in other.data}))
        raise SettingsError(f"{name} against {printable(tracks)}: two tracks cannot be compared")


def compare(results: Results, other: Results) -> list[Difference]:
    """Return the paired differences of every network here and every network there, or of the blurry inputs.

    Pairs are matched by their pixels. An interval that holds 0 says that the images do not decide which is better.

    Raises
    ------
    SettingsError
        If the images, tracks or definitions differ.
    """
    found = []
    for data in results.data:
        check_comparable(data.name, data.track, results.columns, other)
        twin = _twin(data, other)
        for method in _networks(data):
            for rival in _networks(twin):
                found += _differences(data, method, rival, results.columns, other.columns)
    return found


def _twin(data: DataResult, other: Results) -> DataResult:
    same = [each for each in other.data if each.sha256 == data.sha256]
    if not same:
        there = ", ".join(f"{printable(each.name)} {each.sha256[:12]}" for each in other.data)
        raise SettingsError(
            f"{printable(data.name)}: its images, hash {data.sha256[:12]}, are not those evaluated there ({there})"
        )
    of_track = [each for each in same if each.track == data.track]
    if not of_track:
        raise SettingsError(f"{printable(data.name)} against {printable(same[0].name)}: two tracks cannot be compared")
    return of_track[0]


def _networks(data: DataResult) -> Sequence[MethodResult]:
    return [method for method in data.methods if method.name != BLURRY_INPUT] or data.methods


def _differences(
    data: DataResult,
    method: MethodResult,
    rival: MethodResult,
    columns: Sequence[Column],
    other_columns: Sequence[Column],
) -> list[Difference]:
    names = [column.name for column in other_columns]
    here = sorted(method.images, key=lambda image: image.sha256)
    there = sorted(rival.images, key=lambda image: image.sha256)
    sequences = [image.sequence for image in here]
    found = []
    for index, column in enumerate(columns):
        if column.name not in names:
            continue
        mine = [image.values[index] for image in here]
        theirs = [image.values[names.index(column.name)] for image in there]
        estimate = mean_interval([a - b for a, b in zip(mine, theirs, strict=True)], sequences)
        means = sum(mine) / len(mine), sum(theirs) / len(theirs)
        found.append(Difference(data.name, column, method.name, rival.name, *means, estimate))
    return found
