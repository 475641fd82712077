"""Measuring a clip's noise where nothing moves between two frames."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blursynth.crf import ResponseCurve
from blursynth.errors import SettingsError
from blursynth.radiometry.light import NoiseLevel

__all__ = ["measure_noise"]

_SIDE = 8  # of a block in pixels
_PIXELS = _SIDE * _SIDE
_EXPLAINED = 0.15  # share of a still block's difference that its mean or the picture's gradient may explain
_SPREAD = 3 * (2 / _PIXELS) ** 0.5  # three deviations of the mean of 64 squares, relative
_CLIPS_WITHIN = 3.5  # deviations from black or white, where noise is cut off too often
_LOWER_QUARTER = 0.876  # of the mean of 64 squares of noise (Wilson and Hilferty), relative to its expectation
_NUM_BINS = 24
_MAX_BLOCKS = 50_000  # of a pair
_MAX_SAMPLE = 10_000
_MIN_BLOCKS = 32
_MIN_SHARE = 0.25  # of the blocks that seem still; fewer lie on a line by chance where all is in motion

Values = NDArray[np.float64]
Codes = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True, slots=True, eq=False)
class _Blocks:
    """Still blocks of one channel each: three arrays of shape (N,).

    ``light`` is the mean, ``variance`` half the mean square of the difference of two frames, ``rounding`` the part of
    it that comes from rounding to codes: one twelfth of a code squared, in linear light.
    """

    light: Values
    variance: Values
    rounding: Values

    def __getitem__(self, chosen: Any) -> "_Blocks":
        return _Blocks(self.light[chosen], self.variance[chosen], self.rounding[chosen])

    def expected(self, shot: float, read_variance: float) -> Values:
        return shot * self.light + read_variance + self.rounding


def measure_noise(pairs: Iterable[tuple[Codes, Codes]], curve: ResponseCurve, peak: int = 255) -> NoiseLevel:
    """Estimate the noise of single frames from consecutive ones.

    The variance of the difference of two frames is twice that of the noise where nothing moves. It is taken in 8x8
    blocks. Left out are blocks with a clipped code, blocks whose difference follows the picture's gradient, as motion
    makes it, or is not nought on average, as flicker makes it, and blocks that lie far from the line
    variance = shot * x + read ** 2 on which most blocks lie. Only noise that is new in every frame counts: it alone
    becomes less by averaging.

    Parameters
    ----------
    pairs
        Two consecutive frames each, (H, W, 3) uint8 or uint16 display codes from 0 to ``peak``. A few pairs suffice;
        a frame that is repeated bit for bit says nothing and is passed over.
    curve
        The response curve of the frames.
    peak
        The code that clips.

    Returns
    -------
    The noise of one frame; too little of it where it is below a fifth of a code, which rounding hides.
    ``NoiseLevel(0, 0)`` if none shows or too little of the picture keeps still: to add none is the smaller mistake.

    Raises
    ------
    SettingsError
        If frames are not of this shape and type, hold codes above the peak, or differ in size.
    """
    light_of_codes = curve.linear_of_codes(peak)
    linear, rounding = light_of_codes.astype(np.float32), (np.gradient(light_of_codes) ** 2 / 12).astype(np.float32)
    found = []
    for first, second in pairs:
        _check(first, second, peak)
        if not np.array_equal(first, second):
            blocks = _thinned(_still_blocks(first, second, linear, rounding), _MAX_BLOCKS)
            if _fit(blocks) != NoiseLevel(0, 0):  # else one pair in motion would spoil the others
                found.append(blocks)
    if not found:
        return NoiseLevel(0, 0)
    return _fit(_Blocks(*(np.concatenate([getattr(b, name) for b in found]) for name in _Blocks.__slots__)))


def _check(first: Codes, second: Codes, peak: int) -> None:
    for frame in (first, second):
        if frame.dtype not in {np.dtype(np.uint8), np.dtype(np.uint16)} or frame.ndim != 3 or frame.shape[2] != 3:
            raise SettingsError(f"a frame is {frame.dtype} of shape {frame.shape}: must be codes of shape (H, W, 3)")
        if frame.size and frame.max() > peak:
            raise SettingsError(f"a frame holds code {frame.max()}: the peak is {peak}")
    if first.shape != second.shape:
        raise SettingsError(f"frames differ in size: {first.shape} and {second.shape}")


def _still_blocks(first: Codes, second: Codes, linear: NDArray[np.float32], rounding: NDArray[np.float32]) -> _Blocks:
    """Return the blocks of two frames in which neither motion nor clipping shows; borders of a pixel are left out."""
    light = (linear[first] + linear[second]) / 2
    change = _inner(linear[first] - linear[second])
    across = _inner(np.roll(light, -1, 1) - np.roll(light, 1, 1))
    down = _inner(np.roll(light, -1, 0) - np.roll(light, 1, 0))
    peak = linear.size - 1
    clipped = _inner((np.minimum(first, second) == 0) | (np.maximum(first, second) == peak))
    square = _block_means(change**2)
    moved = _explained(across, down, change) > _EXPLAINED * square
    moved |= _block_means(change) ** 2 > _EXPLAINED * square
    usable = ~moved.any(axis=2, keepdims=True) & (_block_means(clipped) == 0)
    values = (_block_means(_inner(light)), square / 2, _block_means(_inner(rounding[first] + rounding[second])) / 2)
    return _Blocks(*(value[usable] for value in values))


def _inner(pixels: NDArray[Any]) -> NDArray[Any]:
    """Cut to whole blocks inside a border of one pixel."""
    height, width = ((size - 2) // _SIDE * _SIDE for size in pixels.shape[:2])
    return pixels[1 : 1 + max(height, 0), 1 : 1 + max(width, 0)]


def _block_means(pixels: NDArray[Any]) -> Values:
    height, width, channels = pixels.shape
    blocks = pixels.reshape(height // _SIDE, _SIDE, width // _SIDE, _SIDE, channels)
    means: Values = blocks.mean(axis=(1, 3), dtype=np.float64)
    return means


def _explained(across: NDArray[np.float32], down: NDArray[np.float32], change: NDArray[np.float32]) -> Values:
    """Return the mean square of the part of the change that is a shift along the picture's gradient.

    The least squares of Lucas and Kanade, IJCAI 1981. Noise has no part in it: sum and difference of two frames' noise
    are independent.
    """
    xx, yy, xy = _block_means(across**2), _block_means(down**2), _block_means(across * down)
    xd, yd = _block_means(across * change), _block_means(down * change)
    determinant = xx * yy - xy**2
    solvable = determinant > 1e-6 * xx * yy
    along = (yy * xd**2 - 2 * xy * xd * yd + xx * yd**2) / np.where(solvable, determinant, 1)
    one_way = np.maximum(xd**2 / np.where(xx > 0, xx, 1), yd**2 / np.where(yy > 0, yy, 1))
    return np.where(solvable, along, one_way)


def _thinned(blocks: _Blocks, most: int) -> _Blocks:
    return blocks[:: max(-(-blocks.light.size // most), 1)]


def _fit(blocks: _Blocks) -> NoiseLevel:
    """Find the line on which most blocks lie, then fit it to these."""
    if blocks.light.size < _MIN_BLOCKS:
        return NoiseLevel(0, 0)
    sample = _thinned(blocks, _MAX_SAMPLE)
    shot, read_variance = max(_candidates(sample), key=lambda line: int(_near(sample, *line).sum()))
    for _ in range(5):
        near = _near(blocks, shot, read_variance)
        if near.sum() < max(_MIN_BLOCKS, _MIN_SHARE * near.size):
            return NoiseLevel(0, 0)
        shot, read_variance = _least_squares(blocks[near], shot, read_variance)
    return NoiseLevel(min(shot, 1.0), min(read_variance**0.5, 1.0))


def _near(blocks: _Blocks, shot: float, read_variance: float) -> NDArray[np.bool_]:
    """Return which blocks lie on a line, as far as their noise allows, and too far from black and white to clip."""
    expected = blocks.expected(shot, read_variance)
    reach = _CLIPS_WITHIN * np.sqrt(expected - blocks.rounding)
    unclipped = (blocks.light > reach) & (blocks.light < 1 - reach)
    near: NDArray[np.bool_] = unclipped & (np.abs(blocks.variance - expected) < _SPREAD * expected)
    return near


def _candidates(blocks: _Blocks) -> list[tuple[float, float]]:
    """Return lines, as shot and read ** 2, through any two of the bins of light, or through one and the origin."""
    order = np.argsort(blocks.light, kind="stable")
    points = []
    for chosen in np.array_split(order, _NUM_BINS):
        part = blocks[chosen]
        # Of the lower quarter, because motion only adds.
        variance = np.quantile(part.variance, 0.25) / _LOWER_QUARTER - np.median(part.rounding)
        points.append((float(np.median(part.light)), max(float(variance), 0.0)))
    lines = [(0.0, variance) for _, variance in points]
    lines += [(variance / light, 0.0) for light, variance in points if light > 0]
    for (light_a, variance_a), (light_b, variance_b) in itertools.combinations(points, 2):
        if light_b > light_a:
            shot = (variance_b - variance_a) / (light_b - light_a)
            read_variance = variance_a - shot * light_a
            if shot >= 0 and read_variance >= 0:
                lines.append((shot, read_variance))
    return lines


def _least_squares(blocks: _Blocks, shot: float, read_variance: float) -> tuple[float, float]:
    """Fit the line to blocks whose variance is as uncertain as it is large; neither part may be negative."""
    weight = blocks.expected(shot, read_variance) ** -2.0
    light, variance = blocks.light, blocks.variance - blocks.rounding
    w, wx, wxx = weight.sum(), (weight * light).sum(), (weight * light**2).sum()
    wy, wxy = (weight * variance).sum(), (weight * light * variance).sum()
    determinant = w * wxx - wx**2
    if determinant > 1e-9 * w * wxx:
        slope, offset = (w * wxy - wx * wy) / determinant, (wxx * wy - wx * wxy) / determinant
        if slope >= 0 and offset >= 0:
            return float(slope), float(offset)
        if offset < 0:
            return max(float(wxy / wxx), 0.0), 0.0
    return 0.0, max(float(wy / w), 0.0)
