"""What two photographs of one scene say of each other, counted, and the curve that fits it best.

A comparagram counts how often code a in one photograph stands at the same place as code b in another. Places are
small blocks that are flat and not clipped: their mean has less noise than a pixel, is finer than a code, and does
not mind a shift by a fraction of a pixel or the ringing of JPEG beside a clipped light.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["PER_CODE", "Blocks", "Comparagram", "fit_log_light"]

_SIDE = 4  # of a block, pixels
_MAX_RANGE = 12  # of the codes in a block that counts as flat
_MAX_BLOCKS = 200_000  # of a photograph
PER_CODE = 4  # bins of means to a code
_NUM_BINS = 255 * PER_CODE + 1
_RAMP = 16.0  # codes from either end over which trust grows from nought to full
_SMOOTHNESS = 1e4  # found with synthetic brackets; a tenth and ten times as much do nearly as well
_BASE_GAMMA = 2.2  # what the curve tends to where nothing is seen
_TOLERANCES = (1e6, 20.0, 8.0, 4.0, 3.0, 3.0)  # codes of disagreement beyond which a block counts little, by iteration

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """The blocks of one photograph."""

    means: NDArray[np.int64]  # (N, 3) in quarters of a code
    is_usable: NDArray[np.bool_]  # (N, 3) flat and neither black nor clipped

    @classmethod
    def of(cls, image: NDArray[np.uint8]) -> "Blocks":
        """Cut a photograph, (H, W, 3), into blocks; of a large one, as many as are enough, evenly spread."""
        height, width = image.shape[:2]
        step = max(_SIDE, int(np.ceil(np.sqrt(height * width / _MAX_BLOCKS))))
        windows: Any = np.lib.stride_tricks.sliding_window_view(image, (_SIDE, _SIDE), axis=(0, 1))
        pixels = windows[::step, ::step].reshape(-1, 3, _SIDE * _SIDE)
        least, most = pixels.min(axis=2), pixels.max(axis=2)
        sums = pixels.sum(axis=2, dtype=np.int64)
        share = _SIDE * _SIDE // PER_CODE
        return cls((sums + share // 2) // share, (least > 0) & (most < 255) & (most - least <= _MAX_RANGE))


@dataclass(frozen=True, slots=True, eq=False)
class Comparagram:
    """Which quarters of codes meet, in all pairs of photographs and some channels."""

    darker: NDArray[np.int64]  # (M,) bins of the shorter exposure
    brighter: NDArray[np.int64]  # (M,) bins of the longer one
    log_ratio: Floats  # (M,) natural logarithm of the ratio of their exposure times
    count: Floats  # (M,) blocks

    @classmethod
    def of(cls, blocks: Sequence[Blocks], exposure_seconds: Sequence[float], channels: Sequence[int]) -> "Comparagram":
        """Count; photographs in order of exposure."""
        parts = []
        for j, k in itertools.combinations(range(len(blocks)), 2):
            a, b = blocks[j], blocks[k]
            is_usable = (a.is_usable & b.is_usable)[:, channels]
            pairs = a.means[:, channels][is_usable] * _NUM_BINS + b.means[:, channels][is_usable]
            met, count = np.unique(pairs, return_counts=True)
            parts.append((met, np.full(met.size, np.log(exposure_seconds[k] / exposure_seconds[j])), count))
        met, log_ratio, count = (np.concatenate(part) for part in zip(*parts, strict=True))
        return cls(met // _NUM_BINS, met % _NUM_BINS, log_ratio, count.astype(np.float64))

    def disagreement_codes(self, log_light: Floats) -> Floats:
        """Return by how many codes each entry (M,) is off the curve, given as log light of the codes, (256,)."""
        place, bins = np.arange(_NUM_BINS) / PER_CODE, np.arange(256)
        fine = np.interp(place, bins, log_light)
        slope = np.interp(place, bins, np.maximum(np.gradient(log_light), 1e-3))
        miss = fine[self.brighter] - fine[self.darker] - self.log_ratio
        return np.asarray(miss / np.hypot(slope[self.brighter], slope[self.darker]))

    def trust(self) -> Floats:
        """Return the weight of each entry, (M,): its count, less near black and white."""
        place = np.arange(_NUM_BINS) / PER_CODE
        ramp = np.clip(np.minimum(place, 255 - place) / _RAMP, 0, 1)
        return np.asarray(self.count * ramp[self.darker] * ramp[self.brighter])


def fit_log_light(seen: Comparagram) -> Floats:
    """Find the log light of every code that explains a comparagram best.

    Returns
    -------
    (256,) float64, natural logarithm of light, nought at code 255; the entry of code 0 says nothing.

    Notes
    -----
    Debevec and Malik, SIGGRAPH 1997, eq. 3, with four changes. The unknown light of each place is eliminated, which
    lets every pair of photographs count, not some dozens of points. The third differences are kept small, of the
    departure from a power law: exposure ratios alone leave open what repeats with each ratio, and this closes it.
    Misses are weighed by how exact a code is, and those that do not fit count ever less (iterated, Geman-McClure).
    """
    codes = np.arange(256)
    base = _BASE_GAMMA * np.log(np.maximum(codes, 0.5) / 255)
    interpolation = _interpolation()
    trust = seen.trust()
    third = np.diff(np.eye(256), 3, axis=0)
    smoothness = _SMOOTHNESS * trust.sum() * third.T @ third
    log_light = base
    for tolerance in _TOLERANCES:
        slope = interpolation @ np.maximum(np.gradient(log_light), 1e-3)
        error_square = slope[seen.darker] ** 2 + slope[seen.brighter] ** 2
        weight = trust / error_square / (1 + (seen.disagreement_codes(log_light) / tolerance) ** 2) ** 2
        matrix, target = _normal_equations(seen, weight, interpolation)
        matrix += smoothness
        matrix[255, 255] += np.trace(matrix) / 256  # any scale will do
        log_light = np.linalg.solve(matrix, target + smoothness @ base)
        log_light -= log_light[255]
    return np.asarray(log_light)


def _interpolation() -> Floats:
    """Return what makes quarters of codes of codes: (bins, 256)."""
    bins = np.arange(_NUM_BINS)
    left = np.minimum(bins // PER_CODE, 254)
    share = bins / PER_CODE - left
    matrix = np.zeros((_NUM_BINS, 256))
    matrix[bins, left] = 1 - share
    matrix[bins, left + 1] += share
    return matrix


def _normal_equations(seen: Comparagram, weight: Floats, interpolation: Floats) -> tuple[Floats, Floats]:
    together = _counted(seen.darker * _NUM_BINS + seen.brighter, weight, _NUM_BINS**2)
    across = _on_codes(_on_codes(together.reshape(_NUM_BINS, _NUM_BINS)).T)
    alone = _counted(seen.darker, weight, _NUM_BINS) + _counted(seen.brighter, weight, _NUM_BINS)
    pull = weight * seen.log_ratio
    pulled = _counted(seen.brighter, pull, _NUM_BINS) - _counted(seen.darker, pull, _NUM_BINS)
    matrix = interpolation.T @ (alone[:, None] * interpolation) - across - across.T
    return matrix, _on_codes(pulled)


def _counted(bins: NDArray[np.int64], weight: Floats, num_bins: int) -> Floats:
    return np.asarray(np.bincount(bins, weight, num_bins), np.float64)


def _on_codes(of_bins: Floats) -> Floats:
    """Return ``interpolation.T @ of_bins`` without its many noughts: (bins, ...) to (256, ...)."""
    inner = of_bins[:-1].reshape(255, PER_CODE, *of_bins.shape[1:])
    of_codes = np.zeros((256, *of_bins.shape[1:]))
    for part in range(PER_CODE):
        share = part / PER_CODE
        of_codes[:-1] += (1 - share) * inner[:, part]
        of_codes[1:] += share * inner[:, part]
    of_codes[-1] += of_bins[-1]
    return of_codes
