"""What a run wrote of itself: the lines of its log."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blursynth.errors import CheckpointError
from blursynth.files import check_regular_file, printable
from blursynth.pages import Series

__all__ = ["LOG_NAME", "RunLog", "read_log"]

LOG_NAME = "log.jsonl"
_MAX_BYTES = 1 << 28
_MAX_LINE_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class RunLog:
    """Lines after steps, and lines after validations, each in the order of their steps.

    A run that was stopped and went on from an earlier step wrote some steps twice; the later line counts.
    """

    steps: Sequence[Mapping[str, Any]]
    validations: Sequence[Mapping[str, Any]]

    def series(self, name: str, *path: str) -> Series:
        """Return a number of the lines after steps, by its place in them, against the step."""
        return _series(name, self.steps, path)

    def scores(self, name: str, *path: str) -> Series:
        """Return a score of the validations against the step."""
        return _series(name, self.validations, ("scores", *path))


def read_log(run: Path) -> RunLog:
    """Read ``log.jsonl`` of a run; lines that are none, such as a torn last one, are left out.

    Raises
    ------
    CheckpointError
        If the run has no log, or one that is too large to be one.
    """
    path = run / LOG_NAME
    if check_regular_file(path, CheckpointError).st_size > _MAX_BYTES:
        raise CheckpointError(f"{printable(path)}: larger than any log")
    steps: dict[int, Mapping[str, Any]] = {}
    validations: dict[int, Mapping[str, Any]] = {}
    with path.open("rb") as file:
        while line := file.readline(_MAX_LINE_BYTES):
            values = _parsed(line)
            step = values.get("step")
            if not isinstance(step, int) or isinstance(step, bool) or abs(step) > 10**15:
                continue
            (validations if "scores" in values else steps)[step] = values
    return RunLog(*([found[step] for step in sorted(found)] for found in (steps, validations)))


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def _series(name: str, lines: Sequence[Mapping[str, Any]], path: Sequence[str]) -> Series:
    return Series(name, _numbers(lines, ("step",)), _numbers(lines, path))


def _numbers(lines: Sequence[Mapping[str, Any]], path: Sequence[str]) -> NDArray[np.float64]:
    return np.array([_number(line, path) for line in lines], np.float64)


def _number(line: Any, path: Sequence[str]) -> float:
    for name in path:
        line = line.get(name) if isinstance(line, dict) else None
    return float(line) if isinstance(line, int | float) and abs(line) < 1e300 else float("nan")
