"""What one window of frames is worth as a training pair."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blursynth.crf import ResponseCurve
from blursynth.errors import SettingsError
from blursynth.motion.sharpness import edge_sharpness
from blursynth.motion.steps import Step, block_means, lengths, step
from blursynth.motion.views import View

__all__ = ["Worth", "worth"]

_WORST_BLOCKS = 99.0  # percentile


@dataclass(frozen=True, slots=True)
class Worth:
    """What one window is worth; all numbers are finite.

    Parameters
    ----------
    motion_p50_px, motion_p95_px, motion_max_px
        Length of the path over the window, from its first frame to its last, in pixels of the full-size frame: the
        median, the 95th and the 99.9th percentile over the pixels.
    ghost_score
        How far the mean of the window is from the mean of every second frame, in 8-bit display codes; higher is worse.
        See `worth`.
    sharpness
        Of the sharp frame, in [0, 1]; see `blursynth.motion.sharpness.edge_sharpness`.
    has_cut
        A scene cut lies inside.
    num_duplicates
        Frames of the window that repeat the one before.
    is_frozen
        All frames show the same picture: nothing moves.
    """

    motion_p50_px: float
    motion_p95_px: float
    motion_max_px: float
    ghost_score: float
    sharpness: float
    has_cut: bool
    num_duplicates: int
    is_frozen: bool


def worth(
    views: Sequence[View],
    steps: Sequence[Step],
    weights: NDArray[np.float64],
    centre: int,
    curve: ResponseCurve,
) -> Worth:
    """Measure one window.

    The ghost score compares the weighted mean in linear light with the one that half the frame rate would give: of the
    frames that weigh anything, every second one is left out, and its weight goes to the two beside it in equal parts
    (11 equal weights become 1.5, 2, 2, 2, 2, 1.5 over 11). Both means are taken of single pixels of the full
    resolution and turned into display codes without rounding. The score is the 99th percentile of the root mean
    square difference over blocks of 12 by 12 samples, about 84 by 84 px of 720p, so that a small fast object counts.
    Where frames are too far apart for the means to agree, blur falls apart into single images. With fewer than three
    frames it is 0. Noise of standard deviation s adds about s / sqrt(M).

    Parameters
    ----------
    views
        Of the M frames, in order.
    steps
        The M - 1 steps between them.
    weights
        (M,) what each frame weighs in the mean, not negative, with the sum 1.
    centre
        Position of the sharp frame, from 0 to M - 1.
    curve
        Response curve that turns codes into light.

    Raises
    ------
    SettingsError
        If the numbers of views, steps and weights do not fit, a weight is not one, or the centre is out of range.
    """
    _check(views, steps, weights, centre)
    p50, p95, top = _path_lengths(steps)
    num_duplicates = sum(one.is_duplicate for one in steps)
    return Worth(
        motion_p50_px=p50,
        motion_p95_px=p95,
        motion_max_px=top,
        ghost_score=_ghost_score(views, weights, curve),
        sharpness=edge_sharpness(views[centre]),
        has_cut=any(one.is_cut for one in steps),
        num_duplicates=num_duplicates,
        # Many steps too small to see may still lead somewhere.
        is_frozen=num_duplicates == len(steps) and step(views[0], views[-1]).is_duplicate,
    )


def _check(views: Sequence[View], steps: Sequence[Step], weights: NDArray[np.float64], centre: int) -> None:
    if not views or len(steps) != len(views) - 1 or weights.shape != (len(views),):
        raise SettingsError(
            f"{len(views)} views, {len(steps)} steps, weights {weights.shape}: must be M, M - 1 and (M,), M from 1"
        )
    if not (np.isfinite(weights).all() and (weights >= 0).all() and abs(weights.sum() - 1) < 1e-6):
        raise SettingsError(f"weights {weights}: must not be negative, and their sum must be 1")
    if not 0 <= centre < len(views):
        raise SettingsError(f"centre {centre}: must be from 0 to {len(views) - 1}")
    if len({one.size for one in views}) > 1:
        raise SettingsError("views of frames of different size: a window has one size")


def _path_lengths(steps: Sequence[Step]) -> tuple[float, float, float]:
    if not steps:
        return 0.0, 0.0, 0.0
    path = np.sum([lengths(one.flow) for one in steps], axis=0, dtype=np.float64)
    p50, p95, top = np.percentile(path, [50, 95, 99.9])
    return float(p50), float(p95), float(top)


def _ghost_score(views: Sequence[View], weights: NDArray[np.float64], curve: ResponseCurve) -> float:
    used = [int(position) for position in np.flatnonzero(weights)]
    if len(used) < 3:
        return 0.0
    light = curve.linear_of_codes()
    table = light.astype(np.float32)
    half = _half_rate(weights[used])
    full_mean = np.zeros(views[0].samples.shape, np.float32)
    half_mean = np.zeros_like(full_mean)
    for position, full_weight, half_weight in zip(used, weights[used], half, strict=True):
        linear = table[views[position].samples]
        full_mean += np.float32(full_weight) * linear
        if half_weight:
            half_mean += np.float32(half_weight) * linear
    codes = [np.interp(mean, light, np.arange(256)) for mean in (full_mean, half_mean)]
    squares = block_means(np.square(codes[0] - codes[1]))
    return float(np.sqrt(np.percentile(squares, _WORST_BLOCKS)))


def _half_rate(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the weight of every second frame to those beside it: the trapezoidal rule at half the rate."""
    left_out = weights.copy()
    left_out[::2] = 0
    half = weights - left_out
    half[:-1] += left_out[1:] / 2
    half[1:] += left_out[:-1] / 2
    if not weights.size % 2:
        half[-2] += left_out[-1] / 2  # nothing comes after the last one
    return half
