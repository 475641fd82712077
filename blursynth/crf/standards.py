"""Curves that have a name, from norms and by habit, and the door through which all curves are asked for."""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blursynth.crf.curve import Inverse, ResponseCurve
from blursynth.crf.measured import read_curve
from blursynth.errors import SettingsError

__all__ = ["CURVE_NAMES", "curve_of_transfer", "response_curve"]

CURVE_NAMES = ("gamma:G", "srgb", "bt709", "hlg", "pq", "linear", "FILE.json")
_GAMMA_MIN, _GAMMA_MAX = 0.2, 5.0
_TRANSFERS = {**dict.fromkeys((1, 6, 14, 15), "bt709"), 4: "gamma:2.2", 5: "gamma:2.8", 8: "linear"}
_TRANSFERS |= {13: "srgb", 16: "pq", 18: "hlg"}
_FILE_SUFFIXES = (".json", ".csv", ".txt")


def response_curve(name: str) -> ResponseCurve:
    """Find a response curve by its name, or read a measured one from a file.

    Parameters
    ----------
    name
        One of the table above. What ends in .json, .csv or .txt or contains a slash is a file: JSON as
        ``blursynth calibrate-crf`` writes it, or text with one number a line, the light of 16 to 65536 evenly
        spaced codes from 0 to the one that clips.

    Raises
    ------
    SettingsError
        If the name is unknown, its number is out of range, or the numbers of a file do not increase.
    RefusedError
        If a file cannot be read or is something else.

    Examples
    --------
    >>> flash = response_curve("gamma:2.2").to_linear(np.array([0, 255, 0], np.uint8))
    >>> int(response_curve("gamma:2.2").from_linear(flash.mean()))  # the mean of the codes would be 85
    155
    """
    if "/" in name or name.endswith(_FILE_SUFFIXES):
        return read_curve(Path(name))
    kind, _, number = name.partition(":")
    if kind == "gamma" and number:
        return _gamma(name, number)
    if kind == "measured" and number:
        raise SettingsError(f"response curve {name!r} is known by its table only: name the file it was measured into")
    if name not in _INVERSES:
        raise SettingsError(f"response curve {name!r} is unknown; choose one of {', '.join(CURVE_NAMES)}")
    return ResponseCurve(name, _INVERSES[name])


def curve_of_transfer(transfer: int) -> str | None:
    """Return the name of the curve that a clip's tag stands for; None where it says nothing or we have none.

    Parameters
    ----------
    transfer
        TransferCharacteristics of ITU-T H.273, table 3.
    """
    return _TRANSFERS.get(transfer)


def _gamma(name: str, number: str) -> ResponseCurve:
    try:
        gamma = float(number)
    except ValueError as error:
        raise SettingsError(f"response curve {name!r}: {number!r} is not a number; write gamma:2.2") from error
    if not _GAMMA_MIN <= gamma <= _GAMMA_MAX:
        raise SettingsError(f"response curve {name!r}: gamma must be from {_GAMMA_MIN} to {_GAMMA_MAX}")

    text = f"{gamma:g}"
    gamma = float(text)  # the number that the name tells, so that shards can be rendered again by it

    def inverse(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return values**gamma

    return ResponseCurve(f"gamma:{text}", inverse)


def _inverse_srgb(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _inverse_bt709(values: NDArray[np.float64]) -> NDArray[np.float64]:
    # The printed 1.099 and 0.018 leave a gap of half a code of 12 bits; with these the two parts meet (BT.2020-2).
    alpha, beta = 1.09929682680944, 0.018053968510807
    return np.where(values < 4.5 * beta, values / 4.5, ((values + (alpha - 1)) / (1 + (alpha - 1))) ** (1 / 0.45))


def _inverse_hlg(values: NDArray[np.float64]) -> NDArray[np.float64]:
    a = 0.17883277
    b, c = 1 - 4 * a, 0.5 - a * math.log(4 * a)
    light = np.where(values <= 0.5, values**2 / 3, (np.exp((values - c) / a) + b) / 12)
    most = (math.exp((1 - c) / a) + b) / 12  # 1 but for the rounding of a
    return np.where(values >= 1, 1.0, light / most)


def _inverse_pq(values: NDArray[np.float64]) -> NDArray[np.float64]:
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    root = values ** (1 / m2)
    light: NDArray[np.float64] = (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)
    return light


def _inverse_linear(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values.copy()


_INVERSES: dict[str, Inverse] = {
    "srgb": _inverse_srgb,
    "bt709": _inverse_bt709,
    "hlg": _inverse_hlg,
    "pq": _inverse_pq,
    "linear": _inverse_linear,
}
