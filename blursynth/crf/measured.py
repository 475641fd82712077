"""Curves of cameras that were measured: tables of light, and the files they are kept in."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blursynth.crf.curve import Inverse, ResponseCurve
from blursynth.errors import RefusedError, SettingsError
from blursynth.files import check_regular_file, printable

__all__ = ["CURVE_SCHEMA", "curve_of_table", "measured_curve", "read_curve"]

CURVE_SCHEMA = "blursynth response curve 1"
_MAX_FILE_BYTES = 4_000_000
_MIN_ENTRIES, _MAX_ENTRIES = 16, 65536
_MAX_LIGHT = 1e12
_LEAST_STEP = 2.0**-13  # of light, from code to threshold; no camera's contrast comes near it


def measured_curve(table: NDArray[np.float64], name: str) -> ResponseCurve:
    """Make a response curve of a table: monotone cubic interpolation between its entries.

    Parameters
    ----------
    table
        (256,) increasing, the light of the 8-bit codes on any scale; 0 and 1 are made of the first and the last.
        `ResponseCurve.linear_of_codes` gives it back, so that a stored table makes the same curve again.
    name
        What the curve is to be called.

    Raises
    ------
    SettingsError
        If the table has another shape, does not increase or has steps too small to be told apart.

    Notes
    -----
    Fritsch and Butland, SIAM J. Sci. Stat. Comput. 5, 1984: slopes are harmonic means.
    """
    if np.shape(table) != (256,):
        raise SettingsError(f"response curve {name!r}: a table of 256 entries is needed, not {np.shape(table)}")
    inverse = _monotone_cubic(_normalised(table, name))
    steps = inverse(np.arange(511) / 510)
    flat = np.diff(steps) < np.maximum(_LEAST_STEP * steps[:-1], 1e-30)
    if flat.any():
        raise SettingsError(
            f"response curve {name!r}: codes {flat.argmax() // 2} and {flat.argmax() // 2 + 1} can hardly be told apart"
        )
    return ResponseCurve(name, inverse)


def curve_of_table(table: NDArray[np.float64], source: str) -> ResponseCurve:
    """Make a `measured_curve` that is named after its content, so that equal tables have one name.

    Parameters
    ----------
    table
        (256,) increasing, the light of the 8-bit codes on any scale.
    source
        Where it is from, for what may have to be said of it.

    Raises
    ------
    SettingsError
        As `measured_curve`.
    """
    curve = measured_curve(table, source)
    mark = hashlib.sha256(curve.linear_of_codes().astype("<f8").tobytes()).hexdigest()[:16]
    return ResponseCurve(f"measured:{mark}", curve.inverse)


def _normalised(table: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    table = np.asarray(table, np.float64)
    is_odd = ~((table >= 0) & (table <= _MAX_LIGHT))
    if is_odd.any():
        entry = int(is_odd.argmax())
        raise SettingsError(
            f"response curve {name!r}: entry {entry} is {table[entry]:g}; light is from 0 to {_MAX_LIGHT:g}"
        )
    span = table[-1] - table[0]
    normal: NDArray[np.float64] = (table - table[0]) / span if span > 0 else table
    falls = np.diff(normal) <= 0
    if falls.any():
        entry = int(falls.argmax()) + 1
        raise SettingsError(
            f"response curve {name!r}: entry {entry} ({table[entry]:.9g}) is not above the one before it "
            f"({table[entry - 1]:.9g}); light must increase with the code"
        )
    return normal


def _monotone_cubic(table: NDArray[np.float64]) -> Inverse:
    rise = np.diff(table)
    slope = np.zeros(table.size)
    slope[1:-1] = 2 * rise[:-1] * (rise[1:] / (rise[:-1] + rise[1:]))
    slope[0] = max(0.0, (3 * rise[0] - rise[1]) / 2)
    slope[-1] = max(0.0, (3 * rise[-1] - rise[-2]) / 2)
    rise, next_slope = np.append(rise, 0.0), np.append(slope[1:], 0.0)

    def inverse(values: NDArray[np.float64]) -> NDArray[np.float64]:
        place = np.clip(values, 0.0, 1.0) * (table.size - 1)
        whole = np.rint(place)
        place = np.where(np.abs(place - whole) < 1e-9, whole, place)  # entries come back as they are
        i = place.astype(np.int64)
        u = place - i
        curved = 3 * rise[i] - 2 * slope[i] - next_slope[i] + u * (slope[i] + next_slope[i] - 2 * rise[i])
        light: NDArray[np.float64] = table[i] + u * (slope[i] + u * curved)
        return light

    return inverse


def read_curve(path: Path) -> ResponseCurve:
    """Read a curve from a file; it is named after its content, so that a copy of the file has the same name.

    Raises
    ------
    SettingsError
        If its numbers do not increase, or are too few or too many.
    RefusedError
        If the file cannot be read or is something else.
    """
    name = printable(path)
    table = _read_table(path)
    if not _MIN_ENTRIES <= table.size <= _MAX_ENTRIES:
        raise SettingsError(
            f"response curve {name!r}: {table.size} numbers; {_MIN_ENTRIES} to {_MAX_ENTRIES} are needed"
        )
    # 256 entries are all that a shard stores, so they are all that counts.
    return curve_of_table(_monotone_cubic(_normalised(table, name))(np.arange(256) / 255), name)


def _read_table(path: Path) -> NDArray[np.float64]:
    size = check_regular_file(path, RefusedError).st_size
    if size > _MAX_FILE_BYTES:
        raise RefusedError(f"{printable(path)}: {size} bytes; a response curve has {_MAX_FILE_BYTES} at most")
    try:
        text = path.read_text(encoding="utf-8-sig")
        return _table_of_json(json.loads(text)) if path.suffix.lower() == ".json" else _table_of_lines(text)
    except (OSError, ValueError, OverflowError, RecursionError) as error:
        raise RefusedError(f"{printable(path)}: not a response curve: {error}") from error


def _table_of_json(content: Any) -> NDArray[np.float64]:
    table = content.get("table") if isinstance(content, dict) else None
    if not isinstance(table, list) or content.get("schema") != CURVE_SCHEMA:
        raise ValueError(f"no table of schema {CURVE_SCHEMA!r}, as calibrate-crf writes it")
    strange = [entry for entry in table if type(entry) not in {int, float}]
    if strange:
        raise ValueError(f"{strange[0]!r} in the table is not a number")
    return np.array(table, np.float64)


def _table_of_lines(text: str) -> NDArray[np.float64]:
    numbers = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            numbers.append(float(line))
        except ValueError as error:
            raise ValueError(f"line {number}: {line[:40]!r} is not a number; one a line is needed") from error
    return np.array(numbers)
