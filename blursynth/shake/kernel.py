"""The hot kernel: a photograph and homographies in, the mean of all views out.

Every view is interpolated with Keys' cubic kernel (IEEE TASSP 1981, a = -1/2), which keeps the detail that bilinear
interpolation loses. Its negative lobes would put a dark line beside bright lights on dark ground, so it may differ
from bilinear by no more than a quarter of the darkest of the sixteen pixels under it: in deep contrast it is bilinear,
and the light of a lamp is neither lost nor gained. On whole pixels both give the pixels themselves. Masks of zeros and
ones are bilinear at once, which is the same.

Neighbouring pixels mostly come from neighbouring pixels, so each row is cut into runs that share their whole steps;
inside a run memory is read in order and only the fractions change.

Compiled by numba on first use and cached on disk; one thread, float32, in a fixed order.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from blursynth.compiling import compiled

__all__ = ["render"]

Array = NDArray[Any]


@compiled
def _locate(matrix: Array, row: int, left: int, steps: Array, fractions: Array) -> None:
    """Find where a row of pixels comes from.

    ``steps`` (2, w) int32 are whole pixels: how far to the right of the pixel itself, and the row; ``fractions`` (2, w)
    float32 are what is left to the right and downwards.
    """
    a, b = matrix[0, 0], matrix[0, 1] * row + matrix[0, 2]
    c, d = matrix[1, 0], matrix[1, 1] * row + matrix[1, 2]
    e, f = matrix[2, 0], matrix[2, 1] * row + matrix[2, 2]
    for i in range(steps.shape[1]):
        x = np.float64(i + left)
        scale = 1.0 / (e * x + f)
        u, v = (a * x + b) * scale, (c * x + d) * scale
        whole_u, whole_v = np.floor(u), np.floor(v)
        steps[0, i] = np.int32(whole_u - x)
        steps[1, i] = np.int32(whole_v)
        fractions[0, i] = np.float32(u - whole_u)
        fractions[1, i] = np.float32(v - whole_v)


@compiled
def _cubic(a: Any, b: Any, c: Any, d: Any, t: Any) -> Any:
    """Interpolate between b and c: Keys' kernel with a = -1/2."""
    half = np.float32(0.5)
    third = np.float32(3) * (b - c) + d - a
    second = a + a - np.float32(5) * b + np.float32(4) * c - d
    return b + half * t * (c - a + t * (second + t * third))


@compiled
def _sample(r0: Array, r1: Array, r2: Array, r3: Array, fx: Array, fy: Array, out: Array) -> None:
    """Interpolate a run of light; the rows begin one pixel to the left of the first."""
    one, two, three = np.uint64(1), np.uint64(2), np.uint64(3)
    for k in range(out.size):
        i = np.uint64(k)
        tx, ty = fx[i], fy[i]
        linear_1 = r1[i + one] + tx * (r1[i + two] - r1[i + one])
        linear_2 = r2[i + one] + tx * (r2[i + two] - r2[i + one])
        linear = linear_1 + ty * (linear_2 - linear_1)
        c0 = _cubic(r0[i], r0[i + one], r0[i + two], r0[i + three], tx)
        c1 = _cubic(r1[i], r1[i + one], r1[i + two], r1[i + three], tx)
        c2 = _cubic(r2[i], r2[i + one], r2[i + two], r2[i + three], tx)
        c3 = _cubic(r3[i], r3[i + one], r3[i + two], r3[i + three], tx)
        least_0 = min(r0[i], r0[i + one], r0[i + two], r0[i + three])
        least_1 = min(r1[i], r1[i + one], r1[i + two], r1[i + three])
        least_2 = min(r2[i], r2[i + one], r2[i + two], r2[i + three])
        least_3 = min(r3[i], r3[i + one], r3[i + two], r3[i + three])
        limit = np.float32(0.25) * min(least_0, least_1, least_2, least_3)
        out[i] = linear + max(min(_cubic(c0, c1, c2, c3, ty) - linear, limit), -limit)


@compiled
def _sample_bilinear(r1: Array, r2: Array, fx: Array, fy: Array, out: Array) -> None:
    """Interpolate a run of a mask; the rows begin at the first pixel."""
    one = np.uint64(1)
    for k in range(out.size):
        i = np.uint64(k)
        tx, ty = fx[i], fy[i]
        linear_1 = r1[i] + tx * (r1[i + one] - r1[i])
        linear_2 = r2[i] + tx * (r2[i + one] - r2[i])
        out[i] = linear_1 + ty * (linear_2 - linear_1)


@compiled
def _sample_row(
    planes: Array, num_cubic: int, left: int, begin: int, end: int, steps: Array, fractions: Array, line: Array
) -> None:
    """Interpolate pixels ``begin`` to ``end`` of a row of every plane, run by run; the first planes are light."""
    start = begin
    while start < end:
        stop = start + 1
        while stop < end and steps[0, stop] == steps[0, start] and steps[1, stop] == steps[1, start]:
            stop += 1
        y, x = steps[1, start], left + start + steps[0, start]
        last = x + stop - start + 2
        fx, fy = fractions[0, start:stop], fractions[1, start:stop]
        for c in range(planes.shape[0]):
            p, out = planes[c], line[c, start:stop]
            if c < num_cubic:
                r0, r1, r2, r3 = (
                    p[y - 1, x - 1 : last],
                    p[y, x - 1 : last],
                    p[y + 1, x - 1 : last],
                    p[y + 2, x - 1 : last],
                )
                _sample(r0, r1, r2, r3, fx, fy, out)
            else:
                _sample_bilinear(p[y, x:last], p[y + 1, x:last], fx, fy, out)
        start = stop


@compiled
def _covered(alpha: Array) -> tuple[int, int]:
    """Return the first and one past the last pixel that a layer touches."""
    begin, end = 0, alpha.size
    while begin < end and alpha[begin] == 0:
        begin += 1
    while end > begin and alpha[end - 1] == 0:
        end -= 1
    return begin, end


@compiled
def _cover(line: Array, near: Array, alpha: Array, begin: int, end: int) -> None:
    """Put a nearer layer over a row, from ``begin`` to ``end``."""
    for c in range(line.shape[0]):
        for i in range(begin, end):
            line[c, i] += alpha[i] * (near[c, i] - line[c, i])


@compiled
def render(
    planes: Array, num_cubic: int, alphas: Array, matrices: Array, weights: Array, top: int, left: int, means: Array
) -> None:
    """Write the weighted mean of what all poses see.

    Parameters
    ----------
    planes
        (C, H, W) float32: ``num_cubic`` planes of light, then masks of zeros and ones.
    num_cubic
        How many planes are light.
    alphas
        (L - 1, H, W) float32 in [0, 1]: what each nearer layer covers.
    matrices
        (L, R, K, 3, 3) float64, from pixels of the view to pixels of the planes; R is 1 or H.
    weights
        (R, K) float32.
    top, left
        Place of the result; `camera.seen_box` says which places are safe, nothing is checked here.
    means
        (C, h, w) float32, written.
    """
    num_planes, height, width = means.shape
    num_layers = matrices.shape[0]
    steps, fractions = np.empty((num_layers, 2, width), np.int32), np.empty((num_layers, 2, width), np.float32)
    line, near = np.empty((num_planes, width), np.float32), np.empty((num_planes, width), np.float32)
    alpha = np.ones((num_layers, 1, width), np.float32)
    for r in range(height):
        row = top + r
        chosen = row if matrices.shape[1] > 1 else 0
        means[:, r] = np.float32(0)
        for k in range(matrices.shape[2]):
            farthest = num_layers
            while farthest == num_layers or alpha[farthest].min() < 1:  # what is behind is not seen in this row
                farthest -= 1
                _locate(matrices[farthest, chosen, k], row, left, steps[farthest], fractions[farthest])
                if farthest:
                    mask = alphas[farthest - 1 : farthest]
                    _sample_row(mask, 0, left, 0, width, steps[farthest], fractions[farthest], alpha[farthest])
            _sample_row(planes, num_cubic, left, 0, width, steps[farthest], fractions[farthest], line)
            for layer in range(farthest + 1, num_layers):
                begin, end = _covered(alpha[layer, 0])
                if begin < end:
                    _sample_row(planes, num_cubic, left, begin, end, steps[layer], fractions[layer], near)
                    _cover(line, near, alpha[layer, 0], begin, end)
            weight = weights[chosen, k]
            for c in range(num_planes):
                for i in range(width):
                    means[c, r, i] += weight * line[c, i]
