"""What happens to the light of one pair: plain numbers, which a shard records and rendering repeats."""

import operator
from dataclasses import dataclass
from typing import Any

from blursynth.errors import SettingsError

__all__ = ["OFF", "Light", "NoiseLevel"]

_MAX_KEY = 2**64 - 1
_MAX_NOISE = 1.0  # the whole range of light
_MAX_HIGHLIGHTS = 256.0
_MAX_GAIN = 16.0
_MAX_ISO = 1e7


@dataclass(frozen=True, slots=True)
class NoiseLevel:
    """Poisson-Gauss noise in linear light: variance = ``shot`` * x + ``read`` ** 2 at light x in [0, 1].

    ``shot`` is a variance per unit of light, ``read`` a standard deviation; both from 0 to 1.

    Raises
    ------
    SettingsError
        If a number is out of range or not finite.
    """

    shot: float
    read: float

    def __post_init__(self) -> None:
        for name in ("shot", "read"):
            object.__setattr__(self, name, _number(f"{name} noise", getattr(self, name), 0, _MAX_NOISE))


@dataclass(frozen=True, slots=True)
class Light:
    """What was drawn for one pair; all that `render` needs besides the light itself.

    Parameters
    ----------
    key
        64 bits: the key of the noise's random numbers.
    highlights
        RSBlur's alpha: what clipped highlights gain, in units of white; 0 for none.
    shot_noise, read_noise
        Variance per unit of light, and standard deviation, in linear light; 0 for none.
    bayer
        The mosaic in which the noise is made: 0 to 3 for RGGB, BGGR, GRBG, GBRG; -1 for none, noise by channel.
    red_gain, blue_gain
        White-balance gains of the mosaic path; 1 without a mosaic.
    iso
        The sensitivity that the noise came from; 0 where it came from elsewhere.
    jpeg
        Quality from 1 to 100; 0 for none.

    Raises
    ------
    SettingsError
        If a number is out of range or not finite.
    """

    key: int
    highlights: float
    shot_noise: float
    read_noise: float
    bayer: int
    red_gain: float
    blue_gain: float
    iso: float
    jpeg: int

    def __post_init__(self) -> None:
        # Numbers read from a file may be NumPy's, which would turn float32 arithmetic into float64.
        limits = {
            "highlights": (0.0, _MAX_HIGHLIGHTS),
            "shot_noise": (0.0, _MAX_NOISE),
            "read_noise": (0.0, _MAX_NOISE),
            "red_gain": (1.0, _MAX_GAIN),
            "blue_gain": (1.0, _MAX_GAIN),
            "iso": (0.0, _MAX_ISO),
        }
        for name, (low, high) in limits.items():
            object.__setattr__(self, name, _number(name, getattr(self, name), low, high))
        whole = {"key": (0, _MAX_KEY), "bayer": (-1, 3), "jpeg": (0, 100)}
        for name, (least, most) in whole.items():
            object.__setattr__(self, name, _whole_number(name, getattr(self, name), least, most))

    @property
    def is_off(self) -> bool:
        """Whether nothing happens to the light before it is encoded, nor to the codes."""
        return not (self.highlights or self.shot_noise or self.read_noise or self.jpeg) and self.bayer < 0


def _number(name: str, value: Any, low: float, high: float) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"{name} {value!r}: must be a number from {low:g} to {high:g}") from error
    if not low <= number <= high:  # which NaN is not
        raise SettingsError(f"{name} {number:g}: must be from {low:g} to {high:g}")
    return number


def _whole_number(name: str, value: Any, low: int, high: int) -> int:
    try:
        number = operator.index(value)
    except TypeError as error:
        raise SettingsError(f"{name} {value!r}: must be a whole number from {low} to {high}") from error
    if not low <= number <= high:
        raise SettingsError(f"{name} {number}: must be from {low} to {high}")
    return number


OFF = Light(
    key=0, highlights=0.0, shot_noise=0.0, read_noise=0.0, bayer=-1, red_gain=1.0, blue_gain=1.0, iso=0.0, jpeg=0
)
