"""A response curve, and tables that make its use fast."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Inverse", "ResponseCurve"]

_BLOCK = 1 << 15  # values encoded at once, so that what lies between stays in the cache

Inverse = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True, slots=True, eq=False)
class ResponseCurve:
    """A camera response function, given by its inverse.

    Parameters
    ----------
    name
        As written on the command line, for example ``gamma:2.2``; a measured curve is named after its content.
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
        encoder = _encoder(self)
        linear = np.asarray(linear)
        codes = np.empty(linear.shape, np.uint8)
        for light, part in _blocks(linear, codes):
            part[:] = encoder.codes(light)
        return codes

    def to_fine(self, linear: NDArray[np.floating]) -> NDArray[np.uint16]:
        """Turn linear light into 16-bit codes that grow with it: a display code and the place inside it.

        The high byte is what `from_linear` gives. The low byte divides the light of that display code, from its own
        threshold to the next one's, or from 0 and to 1 at the ends, into 256 equal parts.

        Parameters
        ----------
        linear
            Floating point of any shape; values outside [0, 1] are clipped.

        Returns
        -------
        uint16, the same shape.
        """
        encoder = _encoder(self)
        linear = np.asarray(linear)
        fine = np.empty(linear.shape, np.uint16)
        for light, part in _blocks(linear, fine):
            codes = encoder.codes(light)
            np.left_shift(codes, 8, out=part, dtype=np.uint16)
            np.bitwise_or(part, encoder.places(light, codes), out=part)
        return fine

    def from_fine(self, fine: NDArray[np.uint16]) -> NDArray[np.float32]:
        """Turn the codes of `to_fine` back into linear light: the middle of each one's part.

        Parameters
        ----------
        fine
            uint16 of any shape.

        Returns
        -------
        float32, the same shape; 0 is 0.0, 65535 is 1.0, and `from_linear` gives ``fine >> 8`` for all.
        """
        return _light_of_fine(self)[fine]


@dataclass(frozen=True, slots=True, eq=False)
class _Encoder:
    """Tables that encode light without a search; a bin is a range of float32 that holds one threshold at most."""

    bins: NDArray[np.uint8]  # the code with which each bin begins
    bin_bits: int  # the low bits of a float32 that are dropped to find its bin
    first_bin: int
    begins: NDArray[np.float64]  # (256,) the light with which each code begins; NaN for 0, to which all below belongs
    ends: NDArray[np.float64]  # (256,) the light with which the next one begins; NaN for 255
    ends32: NDArray[np.float32]  # (256,) the same rounded up: no float32 lies between
    origins: NDArray[np.float64]  # (256,) where the parts of each code begin
    parts_per_light: NDArray[np.float64]  # (256,)

    @classmethod
    def build(cls, curve: ResponseCurve) -> "_Encoder":
        thresholds = curve.code_thresholds()
        bins, bin_bits, first_bin = _bins(thresholds)
        ends = np.append(thresholds, np.nan)
        edges = np.concatenate([[0.0], thresholds, [1.0]])
        return cls(
            bins=bins,
            bin_bits=bin_bits,
            first_bin=first_bin,
            begins=np.insert(thresholds, 0, np.nan),
            ends=ends,
            ends32=_rounded_up(ends),
            origins=edges[:-1],
            parts_per_light=256 / np.diff(edges),
        )

    def codes(self, light: NDArray[np.floating]) -> NDArray[np.uint8]:
        near = light if light.dtype == np.float32 else np.clip(light, 0.0, 2.0).astype(np.float32)
        positive = np.abs(np.maximum(near, np.float32(0)))  # which also clears the sign of -0 and NaN
        index = (positive.view(np.int32) >> self.bin_bits) - self.first_bin
        codes: NDArray[np.uint8] = self.bins.take(index, mode="clip")
        codes += near >= self.ends32.take(codes)
        if light.dtype != np.float32:  # the float32 may lie beyond a threshold
            codes += light >= self.ends.take(codes)
            codes -= light < self.begins.take(codes)
        return codes

    def places(self, light: NDArray[np.floating], codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
        parts = (np.clip(light, 0.0, 1.0) - self.origins.take(codes)) * self.parts_per_light.take(codes)
        places: NDArray[np.uint8] = np.fmin(np.fmax(parts, 0), 255).astype(np.uint8)
        return places


def _bins(thresholds: NDArray[np.float64]) -> tuple[NDArray[np.uint8], int, int]:
    """Divide the light into bins, as few as leave at most one threshold in each."""
    for bin_bits in range(16, 0, -1):
        first, last = (int(np.float32(light).view(np.int32)) >> bin_bits for light in (thresholds[0], 1.0))
        begins = (np.arange(first - 1, last + 2, dtype=np.int32) << bin_bits).view(np.float32).astype(np.float64)
        codes = np.searchsorted(thresholds, begins, side="right")  # how many thresholds each bin is past
        inside = np.searchsorted(thresholds, begins[1:], side="left") - codes[:-1]
        if inside.max() <= 1:
            return codes.astype(np.uint8), bin_bits, first - 1
    raise ValueError("the response curve is too flat: its codes cannot be told apart")


def _rounded_up(light: NDArray[np.float64]) -> NDArray[np.float32]:
    nearest = light.astype(np.float32)
    return np.where(nearest < light, np.nextafter(nearest, np.float32(np.inf)), nearest)


def _blocks(linear: NDArray[np.floating], codes: NDArray[Any]) -> Iterator[tuple[NDArray[np.floating], NDArray[Any]]]:
    """Give the light and the place of its codes block by block; light is float32 or float64."""
    light, flat = linear.reshape(-1), codes.reshape(-1)
    light_type = np.float32 if light.dtype.itemsize <= 4 else np.float64
    for start in range(0, light.size, _BLOCK):
        yield light[start : start + _BLOCK].astype(light_type, copy=False), flat[start : start + _BLOCK]


@lru_cache(maxsize=16)
def _encoder(curve: ResponseCurve) -> _Encoder:
    return _Encoder.build(curve)


@lru_cache(maxsize=16)
def _light_of_fine(curve: ResponseCurve) -> NDArray[np.float32]:
    encoder = _encoder(curve)
    parts = (np.arange(256) + 0.5) / encoder.parts_per_light[:, None]  # (256 codes, 256 parts)
    light = (encoder.origins[:, None] + parts).astype(np.float32)
    # Rounding must not carry a value over to the next display code.
    light[1:] = np.maximum(light[1:], encoder.ends32[:-1, None])
    light[:-1] = np.minimum(light[:-1], np.nextafter(encoder.ends32[:-1, None], np.float32(0)))
    light[0, 0], light[-1, -1] = 0.0, 1.0
    light.setflags(write=False)
    return light.reshape(-1)
