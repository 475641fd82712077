"""What an evaluation found, and the file that keeps it: definitions in words beside every number."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import blursynth
from blursynth.errors import RefusedError
from blursynth.files import check_regular_file, printable

from .intervals import INTERVAL_DEFINITION, mean_interval

__all__ = [
    "BLURRY_INPUT",
    "RESULTS_SCHEMA",
    "Column",
    "DataResult",
    "Failure",
    "ImageScore",
    "MethodResult",
    "Results",
    "hash_of_images",
    "read_results",
]

RESULTS_SCHEMA = 1
BLURRY_INPUT = "blurry input"
_MAX_BYTES = 1 << 28
_MAX_TEXT = 4000


@dataclass(frozen=True, slots=True)
class Column:
    """A metric as a column of numbers: what it is called, and in words how it is defined."""

    name: str
    definition: str
    unit: str
    decimals: int
    is_higher_better: bool


@dataclass(frozen=True, slots=True)
class Failure:
    """A pair that was not scored, and why."""

    name: str
    error: str


@dataclass(frozen=True, slots=True)
class ImageScore:
    """The scores of one image by one method, in the order of the columns.

    ``sha256`` is of the pixels of the pair, whatever file they came from. ``seconds`` is the wall clock of restoring
    it, ``peak_bytes`` the memory that took; None where nothing was restored or it cannot be known. ``kept_tiles``
    counts the tiles that stayed as they were because what the network gave was not usable.
    """

    name: str
    sequence: str
    sha256: str
    values: tuple[float, ...]
    seconds: float | None = None
    peak_bytes: int | None = None
    kept_tiles: int = 0


@dataclass(frozen=True, slots=True)
class MethodResult:
    """What one method made of a data set. ``checkpoint_sha256`` is empty for the blurry input."""

    name: str
    checkpoint_sha256: str
    images: tuple[ImageScore, ...]

    def column(self, index: int) -> list[float]:
        """Return one metric of every image."""
        return [image.values[index] for image in self.images]

    @property
    def seconds_per_image(self) -> float | None:
        """The median over images, which the first ones, slower than the rest, do not move."""
        known = sorted(image.seconds for image in self.images if image.seconds is not None)
        return (known[(len(known) - 1) // 2] + known[len(known) // 2]) / 2 if known else None

    @property
    def kept_tiles(self) -> int:
        """How many tiles of all images the network did not restore."""
        return sum(image.kept_tiles for image in self.images)

    @property
    def peak_bytes(self) -> int | None:
        """The most over images."""
        return max((image.peak_bytes for image in self.images if image.peak_bytes is not None), default=None)


@dataclass(frozen=True, slots=True)
class DataResult:
    """A data set and what the methods made of it, the blurry input first; all scored the same images.

    ``name`` holds the track of GOPRO where there is one; ``total`` counts the pairs before a limit.
    """

    name: str
    layout: str
    split: str
    track: str
    total: int
    methods: tuple[MethodResult, ...]
    failures: tuple[Failure, ...] = ()

    @property
    def images(self) -> tuple[ImageScore, ...]:
        """The images that were scored, with the scores of the blurry input."""
        return self.methods[0].images

    @property
    def sha256(self) -> str:
        """Of the pixels of all pairs that were scored."""
        return hash_of_images(self.images)

    @property
    def sequences(self) -> list[str]:
        """The sequence of each image."""
        return [image.sequence for image in self.images]


@dataclass(frozen=True, slots=True)
class Results:
    """A whole evaluation. ``settings`` are what else decides the numbers, ``device`` says where in words."""

    columns: tuple[Column, ...]
    data: tuple[DataResult, ...]
    settings: Mapping[str, Any]
    device: str
    version: str = blursynth.__version__

    def values(self) -> dict[str, Any]:
        """Return plain values, as results.json holds them; `read_results` is the way back."""
        return {
            "schema": RESULTS_SCHEMA,
            "blursynth": self.version,
            "device": self.device,
            "settings": dict(self.settings),
            "interval": INTERVAL_DEFINITION,
            "metrics": {
                column.name: {
                    "definition": column.definition,
                    "unit": column.unit,
                    "decimals": column.decimals,
                    "is_higher_better": column.is_higher_better,
                }
                for column in self.columns
            },
            "data": [_data_values(data, self.columns) for data in self.data],
        }

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """Return what `values` described.

        Raises
        ------
        RefusedError
            If the values are not those of this schema.
        """
        schema = _take(values, "schema", int)
        if schema != RESULTS_SCHEMA:
            raise RefusedError(f"results of schema {schema}; this version reads schema {RESULTS_SCHEMA}")
        columns = tuple(
            Column(
                name,
                _text(each, "definition"),
                _text(each, "unit"),
                _take(each, "decimals", int),
                _take(each, "is_higher_better", bool),
            )
            for name, each in _take(values, "metrics", dict).items()
        )
        return cls(
            columns=columns,
            data=tuple(_read_data(each, columns) for each in _take(values, "data", list)),
            settings=_take(values, "settings", dict),
            device=_text(values, "device"),
            version=_text(values, "blursynth"),
        )


def hash_of_images(images: Sequence[ImageScore]) -> str:
    """Return one SHA-256 for the pixels of many pairs; neither their order nor their names nor formats matter."""
    return hashlib.sha256("".join(sorted(image.sha256 for image in images)).encode()).hexdigest()


def read_results(path: Path) -> Results:
    """Read a results.json.

    Raises
    ------
    RefusedError
        If it is not one, damaged, or of another schema; the message names it.
    """
    if check_regular_file(path, RefusedError).st_size > _MAX_BYTES:
        raise RefusedError(f"{printable(path)}: {path.stat().st_size / 1e6:.0f} MB, too large for results of eval")
    try:
        values = json.loads(path.read_bytes())
        return Results.from_values(values)
    except RefusedError as error:
        raise RefusedError(f"{printable(path)}: {error}") from error
    except (OSError, ValueError, ArithmeticError, AttributeError, RecursionError) as error:
        raise RefusedError(f"{printable(path)}: not the results of an evaluation, or damaged") from error


def _data_values(data: DataResult, columns: Sequence[Column]) -> dict[str, Any]:
    return {
        "name": data.name,
        "layout": data.layout,
        "split": data.split,
        "track": data.track or None,
        "images": len(data.images),
        "images_of_all": data.total,
        "sha256": data.sha256,
        "failed": [{"name": failure.name, "error": failure.error} for failure in data.failures],
        "pairs": [{"name": image.name, "sequence": image.sequence, "sha256": image.sha256} for image in data.images],
        "methods": [_method_values(method, data.sequences, columns) for method in data.methods],
    }


def _method_values(method: MethodResult, sequences: Sequence[str], columns: Sequence[Column]) -> dict[str, Any]:
    scores = {}
    for index, column in enumerate(columns):
        estimate = mean_interval(method.column(index), sequences)
        scores[column.name] = {
            "mean": estimate.mean,
            "low": estimate.low,
            "high": estimate.high,
            "per_image": method.column(index),
        }
    return {
        "name": method.name,
        "checkpoint_sha256": method.checkpoint_sha256 or None,
        "scores": scores,
        "seconds_per_image": method.seconds_per_image,
        "peak_bytes": method.peak_bytes,
        "kept_tiles": method.kept_tiles,
        "seconds": [image.seconds for image in method.images],
        "peak_bytes_of_images": [image.peak_bytes for image in method.images],
    }


def _read_data(values: Mapping[str, Any], columns: Sequence[Column]) -> DataResult:
    pairs = [(_text(pair, "name"), _text(pair, "sequence"), _text(pair, "sha256")) for pair in _list(values, "pairs")]
    methods = tuple(_read_method(each, pairs, columns) for each in _list(values, "methods"))
    if not methods or not pairs or methods[0].name != BLURRY_INPUT:
        raise RefusedError("a data set without images or without its blurry input")
    result = DataResult(
        name=_text(values, "name"),
        layout=_text(values, "layout"),
        split=_text(values, "split"),
        track="" if values.get("track") is None else _text(values, "track"),
        total=_take(values, "images_of_all", int),
        methods=methods,
        failures=tuple(Failure(_text(each, "name"), _text(each, "error")) for each in _list(values, "failed")),
    )
    if result.sha256 != values.get("sha256"):
        raise RefusedError(f"the data hash of {printable(result.name)} is not that of its images; it was edited")
    return result


def _read_method(
    values: Mapping[str, Any], pairs: Sequence[tuple[str, str, str]], columns: Sequence[Column]
) -> MethodResult:
    scores = _take(values, "scores", dict)
    table = [_numbers(_take(scores, column.name, dict), "per_image", len(pairs)) for column in columns]
    return MethodResult(
        name=_text(values, "name"),
        checkpoint_sha256="" if values.get("checkpoint_sha256") is None else _text(values, "checkpoint_sha256"),
        images=tuple(ImageScore(*pair, values=tuple(numbers[i] for numbers in table)) for i, pair in enumerate(pairs)),
    )


def _take(values: Any, name: str, kind: type) -> Any:
    value = values.get(name) if isinstance(values, dict) else None
    if type(value) is not kind:
        raise RefusedError(f"not the results of an evaluation: {name} is missing or no {kind.__name__}")
    return value


def _text(values: Any, name: str) -> str:
    text: str = _take(values, name, str)
    if len(text) > _MAX_TEXT:
        raise RefusedError(f"not the results of an evaluation: {name} is {len(text)} characters long")
    return text


def _list(values: Any, name: str) -> list[Any]:
    found: list[Any] = _take(values, name, list)
    return found


def _numbers(values: Any, name: str, count: int) -> list[float]:
    numbers = _list(values, name)
    if len(numbers) != count or not all(type(n) in {int, float} and math.isfinite(n) for n in numbers):
        raise RefusedError(f"not the results of an evaluation: {name} is not {count} numbers")
    return [float(number) for number in numbers]
