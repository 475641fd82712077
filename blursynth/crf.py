"""Camera response functions: the border between display codes and linear light.

A camera response function g turns the light that fell on a pixel into the code that is stored; its inverse turns
codes back into light. "Linear" is scene light on the scale where 1.0 is the code that clips. Blur is a mean of light,
so codes are made linear, averaged, and encoded again (Nah et al., CVPR 2017, section 3).

=============  ==================================================  =====================================
name           inverse, v = code / peak                            source
=============  ==================================================  =====================================
``gamma:G``    v ** G                                              GOPRO's choice with G = 2.2
``srgb``       v / 12.92, or ((v + 0.055) / 1.055) ** 2.4          IEC 61966-2-1
``bt709``      v / 4.5, or ((v + 0.099) / 1.099) ** (1 / 0.45)     ITU-R BT.709-6, inverse OETF
``linear``     v                                                   the plain mean of codes
=============  ==================================================  =====================================
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blursynth.errors import SettingsError

__all__ = ["CURVE_NAMES", "ResponseCurve", "response_curve"]

CURVE_NAMES = ("gamma:G", "srgb", "bt709", "linear")
_GAMMA_MIN, _GAMMA_MAX = 0.2, 5.0

Inverse = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True, slots=True, eq=False)
class ResponseCurve:
    """A camera response function, given by its inverse.

    Parameters
    ----------
    name
        As written on the command line, for example ``gamma:2.2``.
    inverse
        Maps code values in [0, 1] to linear light in [0, 1]: strictly increasing, 0 to 0 and 1 to 1.
    """

    name: str
    inverse: Inverse

    def linear_of_codes(self, peak: int = 255) -> NDArray[np.float64]:
        """Return the linear light of every code from 0 to ``peak``: (peak + 1,) float64 in [0, 1]."""
        return self.inverse(np.arange(peak + 1) / peak)

    def code_thresholds(self) -> NDArray[np.float64]:
        """Return where each 8-bit code begins: (255,) float64, the linear light that rounds up to codes 1 … 255.

        Encoding x is counting the thresholds that are not above x, which rounds g(x) to the nearest code without
        ever evaluating g.
        """
        return self.inverse((np.arange(1, 256) - 0.5) / 255)

    def to_linear(self, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Turn display codes into linear light.

        Parameters
        ----------
        codes
            uint8 of any shape.

        Returns
        -------
        float32 in [0, 1], the same shape.
        """
        return self.linear_of_codes().astype(np.float32)[codes]

    def from_linear(self, linear: NDArray[np.floating]) -> NDArray[np.uint8]:
        """Turn linear light into display codes, rounded to the nearest and clipped.

        Parameters
        ----------
        linear
            Floating point of any shape; values outside [0, 1] are clipped.

        Returns
        -------
        uint8, the same shape.
        """
        return np.searchsorted(self.code_thresholds(), linear, side="right").astype(np.uint8)


def response_curve(name: str) -> ResponseCurve:
    """Find a response curve by its name.

    Raises
    ------
    SettingsError
        If the name is unknown or its number is out of range.

    Examples
    --------
    >>> flash = response_curve("gamma:2.2").to_linear(np.array([0, 255, 0], np.uint8))
    >>> int(response_curve("gamma:2.2").from_linear(flash.mean()))  # the mean of the codes would be 85
    155
    """
    kind, _, number = name.partition(":")
    if kind == "gamma" and number:
        return _gamma(name, number)
    inverses = {"srgb": _inverse_srgb, "bt709": _inverse_bt709, "linear": _inverse_linear}
    if name not in inverses:
        raise SettingsError(f"response curve {name!r} is unknown; choose one of {', '.join(CURVE_NAMES)}")
    return ResponseCurve(name, inverses[name])


def _gamma(name: str, number: str) -> ResponseCurve:
    try:
        gamma = float(number)
    except ValueError as error:
        raise SettingsError(f"response curve {name!r}: {number!r} is not a number; write gamma:2.2") from error
    if not _GAMMA_MIN <= gamma <= _GAMMA_MAX:
        raise SettingsError(f"response curve {name!r}: gamma must be from {_GAMMA_MIN} to {_GAMMA_MAX}")

    def inverse(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return values**gamma

    return ResponseCurve(f"gamma:{gamma:g}", inverse)


def _inverse_srgb(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _inverse_bt709(values: NDArray[np.float64]) -> NDArray[np.float64]:
    # The printed 1.099 and 0.018 leave a gap of half a code of 12 bits; with these the two parts meet (BT.2020-2).
    alpha, beta = 1.09929682680944, 0.018053968510807
    return np.where(values < 4.5 * beta, values / 4.5, ((values + (alpha - 1)) / (1 + (alpha - 1))) ** (1 / 0.45))


def _inverse_linear(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values.copy()
