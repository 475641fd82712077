"""What a shake is drawn from: plain values, refused when they make no sense."""

import math
import re
from dataclasses import dataclass

import numpy as np

from blursynth.errors import SettingsError

__all__ = ["TRAJECTORY_KINDS", "Range", "ShakeRule", "generator"]

TRAJECTORY_KINDS = ("boracchi-foi", "tremor", "mixed")
_NUMBER = r"(\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})"


@dataclass(frozen=True, slots=True)
class Range:
    """From ``low`` to ``high``, both included."""

    low: float
    high: float

    @classmethod
    def parse(cls, text: str, name: str, *, least: float, most: float) -> "Range":
        """Read ``3`` or ``2-40``.

        Raises
        ------
        SettingsError
            If it is neither, or reaches outside ``least`` to ``most``, or runs backwards.
        """
        match = re.fullmatch(rf"\s*{_NUMBER}\s*(?:-\s*{_NUMBER}\s*)?", text, re.ASCII)
        if not match:
            raise SettingsError(
                f"{name} {text!r}: write a number such as {most:g} or a range such as {least:g}-{most:g}"
            )
        low, high = float(match[1]), float(match[2] or match[1])
        if not least <= low <= high <= most:
            raise SettingsError(f"{name} {text!r}: must run upwards and lie within {least:g} to {most:g}")
        return cls(low, high)

    def uniform(self, rng: np.random.Generator) -> float:
        """Draw a number, every one equally likely."""
        return self.low + (self.high - self.low) * rng.random()

    def log_uniform(self, rng: np.random.Generator) -> float:
        """Draw a positive number, every octave equally likely."""
        return self.low * math.exp(rng.random() * math.log(self.high / self.low))

    def whole(self, rng: np.random.Generator) -> int:
        """Draw a whole number, every one equally likely."""
        return int(self.low) + int(rng.random() * (int(self.high) - int(self.low) + 1))


@dataclass(frozen=True, slots=True)
class ShakeRule:
    """What the shake of one photograph is drawn from; a range is written ``2-40``, a fixed value ``8``.

    Parameters
    ----------
    blur_px
        Length of the path that the centre of the picture takes during the exposure, in pixels of the photograph, 0.1
        to 400; drawn log-uniformly. The path may turn, so that the blur is as wide as this at most.
    trajectory
        ``boracchi-foi``, ``tremor``, or ``mixed``: one or the other, equally likely.
    exposure_seconds
        0.001 to 4, drawn log-uniformly. It sets how much of the tremor of 8 to 12 Hz fits into the exposure.
    readout
        Time from reading the first row to reading the last, as a fraction of the exposure, 0 to 1; 0 is a global
        shutter. Drawn uniformly.
    layers
        Number of layers of different depth, 1 to 4.
    step_px
        Largest motion, anywhere in the picture, from one rendered pose to the next, 0.1 to 1.

    Raises
    ------
    SettingsError
        If a value makes no sense.
    """

    blur_px: str = "2-40"
    trajectory: str = "mixed"
    exposure_seconds: str = "0.02-0.5"
    readout: str = "0-0.5"
    layers: str = "1-3"
    step_px: float = 0.5

    def __post_init__(self) -> None:
        if self.trajectory not in TRAJECTORY_KINDS:
            kinds = ", ".join(TRAJECTORY_KINDS)
            raise SettingsError(f"trajectory {self.trajectory!r} is unknown; choose one of {kinds}")
        if not 0.1 <= self.step_px <= 1:
            raise SettingsError(f"step {self.step_px} px between poses: must be from 0.1 to 1")
        # Each is parsed for its refusals.
        _ = self.blur_range, self.exposure_range, self.readout_range, self.layer_range

    @property
    def blur_range(self) -> Range:
        """Range of path lengths in px."""
        return Range.parse(self.blur_px, "blur_px", least=0.1, most=400)

    @property
    def exposure_range(self) -> Range:
        """Range of exposures in seconds."""
        return Range.parse(self.exposure_seconds, "exposure_seconds", least=0.001, most=4)

    @property
    def readout_range(self) -> Range:
        """Range of read-out times as fractions of the exposure."""
        return Range.parse(self.readout, "readout", least=0, most=1)

    @property
    def layer_range(self) -> Range:
        """Range of numbers of layers."""
        numbers = Range.parse(self.layers, "layers", least=1, most=4)
        if not (numbers.low.is_integer() and numbers.high.is_integer()):
            raise SettingsError(f"layers {self.layers!r}: must be whole numbers from 1 to 4")
        return numbers


def generator(key: int, stream: int) -> np.random.Generator:
    """Return the generator of one purpose (``stream``) for one ``key``, both 64-bit: counted, never shared.

    Raises
    ------
    SettingsError
        If the key does not fit into 64 bits.
    """
    if not 0 <= key < 1 << 64:
        raise SettingsError(f"key {key}: must be from 0 to 2**64 - 1")
    return np.random.Generator(np.random.Philox(key=np.array([key, stream], np.uint64)))
