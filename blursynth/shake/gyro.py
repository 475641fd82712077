"""Recorded gyroscopes: a log of angular rates becomes the trajectory of the camera that carried it."""

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blursynth.errors import RefusedError, SettingsError
from blursynth.files import check_regular_file, printable
from blursynth.shake.camera import rotation_matrices, rotation_vectors
from blursynth.shake.trajectory import Trajectory

__all__ = ["GyroLog", "read_gyro", "trajectory_of_gyro"]

_MAX_BYTES = 256 << 20
_MIN_SAMPLES = 4
_MAX_RATE = 100.0  # rad/s; gyroscopes end at about 35
_MAX_GAP_SECONDS = 0.05  # tremor of 12 Hz is lost beyond
_STEP_SECONDS = 0.0005
_MIN_STEPS, _MAX_STEPS = 256, 16384
_TIME_UNITS = {"s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


@dataclass(frozen=True, slots=True, eq=False)
class GyroLog:
    """Angular rates of a camera.

    Parameters
    ----------
    times_seconds
        (N,) float64, increasing.
    rates
        (N, 3) float64, rad/s about the camera's x (right), y (down) and z (forward), right-handed.
    """

    times_seconds: NDArray[np.float64]
    rates: NDArray[np.float64]


def read_gyro(path: Path) -> GyroLog:
    """Read a text file of four columns: time and the rates about x, y and z, in any order if a header names them.

    Without a header: seconds and rad/s. A header names the columns ``time`` or ``t``, and ``gx gy gz`` (also ``x``,
    ``gyro_x``, ``wx``), with units as in ``time_ms`` (s, ms, us, ns) and ``gx_deg_s`` (anything with deg or dps). Other
    columns are left alone. Commas, semicolons, tabs or spaces divide columns; lines beginning with # are skipped.

    Raises
    ------
    RefusedError
        If it is not such a file, times do not increase, a number is not finite or absurd, or there are fewer than 4.
    """
    name = printable(path)
    if check_regular_file(path, RefusedError).st_size > _MAX_BYTES:
        raise RefusedError(f"{name}: more than {_MAX_BYTES >> 20} MiB; cut the log to the exposures")
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise RefusedError(f"{name}: not a readable text file; write columns time_s,gx,gy,gz") from error
    stripped = enumerate((line.strip() for line in text.splitlines()), 1)
    lines = [(i, line) for i, line in stripped if line and line[0] != "#"]
    if not lines:
        raise RefusedError(f"{name}: empty; write columns time_s,gx,gy,gz")
    columns, scales = [0, 1, 2, 3], [1.0] * 4
    if not _is_number(_split(lines[0][1])[0]):
        columns, scales = _read_header(_split(lines[0][1]), name)
        lines = lines[1:]
    values = np.array([_read_row(line, columns, f"{name}, line {i}") for i, line in lines]).reshape(-1, 4) * scales
    return _checked(values, [i for i, _ in lines], name)


def _split(line: str) -> list[str]:
    return [cell.strip().strip('"') for cell in re.split(r"[,;\t]" if re.search(r"[,;\t]", line) else r" +", line)]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _read_header(cells: list[str], name: str) -> tuple[list[int], list[float]]:
    """Find time, x, y and z among the names of columns; return their places and units."""
    places: dict[str, int] = {}
    scales: dict[str, float] = {}
    for place, cell in enumerate(cells):
        found, scale = _meaning(cell, name)
        if found in places:
            raise RefusedError(f"{name}: columns {cells[places[found]]!r} and {cell!r} mean the same; keep one")
        if found:
            places[found], scales[found] = place, scale
    if missing := [axis for axis in "txyz" if axis not in places]:
        raise RefusedError(f"{name}: no column for {', '.join(missing)}; name the columns time_s,gx,gy,gz")
    return [places[axis] for axis in "txyz"], [scales[axis] for axis in "txyz"]


def _meaning(cell: str, name: str) -> tuple[str, float]:
    """Return which of t, x, y, z the name of a column means, or nothing, and its unit in seconds or rad/s."""
    words = [word for word in re.split(r"[^a-zµ°]+", cell.lower()) if word]
    if words and re.fullmatch(r"t|time|times|timestamp", words[0]):
        unit = words[-1] if len(words) > 1 else "s"
        if unit not in _TIME_UNITS:
            raise RefusedError(f"{name}: unit of {cell!r} is unknown; name it time_s, time_ms, time_us or time_ns")
        return "t", _TIME_UNITS[unit]
    for spelling in ("".join(words[:2]), "".join(words[:1])):
        if axis := re.fullmatch(r"(?:gyroscope|gyro|gyr|g|w|omega)?([xyz])", spelling):
            if re.search(r"mdps|mdeg|mrad|rpm|raw|lsb", cell.lower()):
                raise RefusedError(f"{name}: unit of {cell!r} is unknown; give rad/s (gx) or degrees/s (gx_deg_s)")
            return axis[1], math.pi / 180 if re.search(r"deg|dps|°", cell.lower()) else 1.0
    return "", 1.0


def _read_row(line: str, columns: list[int], place: str) -> list[float]:
    cells = _split(line)
    try:
        return [float(cells[column]) for column in columns]
    except (ValueError, IndexError) as error:
        raise RefusedError(f"{place}: {line[:60]!r} does not hold the four numbers time, gx, gy, gz") from error


def _checked(values: NDArray[np.float64], numbers: list[int], name: str) -> GyroLog:
    if len(values) < _MIN_SAMPLES:
        raise RefusedError(f"{name}: {len(values)} samples; at least {_MIN_SAMPLES} are needed")
    is_bad = ~np.isfinite(values).all(axis=1)
    if is_bad.any():
        raise RefusedError(f"{name}, line {numbers[int(is_bad.argmax())]}: a number that is not finite; remove it")
    is_wild = np.abs(values[:, 1:]).max(axis=1) > _MAX_RATE
    if is_wild.any():
        at = int(is_wild.argmax())
        raise RefusedError(
            f"{name}, line {numbers[at]}: {np.abs(values[at, 1:]).max():g} rad/s is no camera; "
            "if these are degrees, name the columns gx_deg_s,gy_deg_s,gz_deg_s"
        )
    is_back = np.diff(values[:, 0]) <= 0
    if is_back.any():
        raise RefusedError(f"{name}, line {numbers[int(is_back.argmax()) + 1]}: time does not increase; sort the log")
    return GyroLog(np.ascontiguousarray(values[:, 0]), np.ascontiguousarray(values[:, 1:]))


def trajectory_of_gyro(
    log: GyroLog, start_seconds: float, exposure_seconds: float, focal_px: float, *, readout_fraction: float = 0.0
) -> Trajectory:
    """Integrate the angular rates over one exposure.

    R(t + dt) = R(t) exp([w dt]), with the rate of the middle of each step of half a millisecond at most.

    Parameters
    ----------
    log
        The recording. Rates between samples are linear.
    start_seconds
        When the exposure of the row in the middle begins, on the log's clock.
    exposure_seconds
        How long it lasts.
    focal_px
        Focal length in pixels of the photograph.
    readout_fraction
        As in `Trajectory`.

    Returns
    -------
    Rotations only, relative to their mean over the exposure; kind ``gyro``.

    Raises
    ------
    SettingsError
        If the log does not cover the exposure, or has a gap of more than 50 ms in it.
    """
    if not (math.isfinite(start_seconds) and 0 < exposure_seconds <= 60 and 0 <= readout_fraction <= 1):
        raise SettingsError(
            f"exposure of {exposure_seconds:g} s at {start_seconds:g} s, readout {readout_fraction:g}: must be finite, "
            "0 to 60 s long, and read out in 0 to 1 exposures"
        )
    before = readout_fraction / 2
    begin, end = start_seconds - before * exposure_seconds, start_seconds + (1 + before) * exposure_seconds
    _check_covered(log.times_seconds, begin, end)
    num_steps = int(min(max(math.ceil((end - begin) / _STEP_SECONDS), _MIN_STEPS), _MAX_STEPS))
    step = (end - begin) / num_steps
    middles = begin + (np.arange(num_steps) + 0.5) * step
    turns = np.stack([np.interp(middles, log.times_seconds, rate) for rate in log.rates.T], axis=-1) * step
    rotations = np.empty((num_steps + 1, 3, 3))
    rotations[0] = np.eye(3)
    for i, turn in enumerate(rotation_matrices(turns)):
        rotations[i + 1] = rotations[i] @ turn
    times = np.linspace(-before, 1 + before, num_steps + 1)
    vectors = _about_the_mean(times, rotations)
    poses = np.concatenate([vectors, np.zeros_like(vectors)], axis=1)
    return Trajectory(times, poses, focal_px, exposure_seconds, readout_fraction, "gyro")


def _check_covered(times: NDArray[np.float64], begin: float, end: float) -> None:
    if times.size < 2 or begin < times[0] or end > times[-1]:
        raise SettingsError(
            f"exposure from {begin:.6g} s to {end:.6g} s: the gyro log holds {times[0]:.6g} s to {times[-1]:.6g} s only"
        )
    first = int(np.searchsorted(times, begin, side="right")) - 1
    stop = int(np.searchsorted(times, end, side="left")) + 1
    gap = float(np.diff(times[first:stop]).max())
    if gap > _MAX_GAP_SECONDS:
        raise SettingsError(
            f"exposure from {begin:.6g} s to {end:.6g} s: the gyro log has a gap of {gap * 1000:.0f} ms in it; "
            f"at most {_MAX_GAP_SECONDS * 1000:.0f} ms will do"
        )


def _about_the_mean(times: NDArray[np.float64], rotations: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return rotation vectors relative to the mean of those from time 0 to 1."""
    fine = (np.arange(2 * times.size) + 0.5) / (2 * times.size)
    rotations = rotations[np.searchsorted(times, 0.5)].T @ rotations
    vectors = rotation_vectors(rotations)
    for _ in range(3):
        mean = np.array([np.interp(fine, times, column).mean() for column in vectors.T])
        rotations = rotation_matrices(-mean) @ rotations
        vectors = rotation_vectors(rotations)
    return vectors
