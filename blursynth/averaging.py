"""The one hot kernel: decoded planes of a window of frames in, display codes of their mean in linear light out.

Per pixel and frame: chroma is brought to full resolution where it was sited, Y'CbCr becomes R'G'B' codes, the inverse
response curve is looked up as an integer, and integers are summed. The sum is encoded by comparing it with the sums
at which each code begins. Integer sums are exact but for the rounding of the table, so wherever a sum is too near a
threshold to be sure, that value is summed again in float64: the result is the code of the true mean, always.

Compiled by numba on first use (some seconds) and cached on disk. All arithmetic on the way to codes is float32 in a
fixed order without contraction, so every machine gives the same bytes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

from blursynth.crf import ResponseCurve

__all__ = ["ExactEncoder", "convert_frame", "linear_mean", "mean_codes"]

Array = NDArray[Any]

Compiled = TypeVar("Compiled", bound=Callable[..., object])

_SCALE_BITS = 28  # 15 frames of full light still fit into 32 bits
_BIN_BITS = 13  # the low bits of a float32 that are dropped to find the bin of a sum


def _compiled(function: Compiled) -> Compiled:
    """Compile on first use, cache on disk, let other threads run meanwhile; numba's own decorator hides the types."""
    return cast("Compiled", njit(cache=True, nogil=True, boundscheck=False)(function))


@dataclass(frozen=True, slots=True, eq=False)
class ExactEncoder:
    """Tables that turn a sum of table entries into the display code of the mean; made by `ExactEncoder.build`."""

    num_frames: int
    table: NDArray[np.uint32]  # (peak + 1,) linear light of each code, scaled
    linear: NDArray[np.float64]  # (peak + 1,) the same without rounding
    bins: NDArray[np.uint8]  # first candidate of the code by the leading bits of the sum
    thresholds: NDArray[np.uint32]  # (257,) smallest sum of each code; 256 is a sentinel
    exact_thresholds: NDArray[np.float64]  # (257,) the same in linear light times num_frames
    code8: NDArray[np.uint8]  # (peak + 1,) source code to 8-bit code
    light_per_unit: float

    @classmethod
    def build(cls, curve: ResponseCurve, num_frames: int, peak: int = 255) -> "ExactEncoder":
        """Make the tables for windows of ``num_frames`` frames of codes from 0 to ``peak``."""
        scale_bits = min(_SCALE_BITS, 32 - int(num_frames).bit_length())
        scale = float(1 << scale_bits)
        linear = curve.linear_of_codes(peak)
        exact = np.concatenate([[0.0], curve.code_thresholds() * num_frames, [np.inf]])
        thresholds = np.full(257, np.iinfo(np.uint32).max, np.uint32)
        thresholds[:256] = np.ceil(exact[:256] * scale).astype(np.uint32)
        num_bins = int(np.float32(scale * num_frames).view(np.uint32) >> _BIN_BITS) + 2
        starts = (np.arange(num_bins, dtype=np.uint32) << _BIN_BITS).view(np.float32).astype(np.float64)
        bins = np.maximum(np.searchsorted(thresholds[:256].astype(np.float64), starts, side="right") - 1, 0)
        return cls(
            num_frames=num_frames,
            table=np.rint(linear * scale).astype(np.uint32),
            linear=linear,
            bins=bins.astype(np.uint8),
            thresholds=thresholds,
            exact_thresholds=exact,
            code8=np.rint(np.arange(peak + 1) * (255 / peak)).astype(np.uint8),
            light_per_unit=1.0 / (scale * num_frames),
        )


@_compiled
def _upsample_row(
    plane: Array, row: int, shift_x: int, shift_y: int, is_centred: int, blended: Array, out: Array
) -> None:
    """Bring one row of a chroma plane to full resolution, in sixteenths of a code.

    Vertically chroma sits between two luma rows; horizontally on the left luma column of its pair (MPEG-2 and later)
    or between both (JPEG). Linear interpolation; edges are repeated.
    """
    height, width = plane.shape
    near = row >> shift_y
    far = near
    if shift_y:
        far = min(near + 1, height - 1) if row & 1 else max(near - 1, 0)
    three = np.float32(3.0)
    for i in range(width):
        blended[i] = three * np.float32(plane[near, i]) + np.float32(plane[far, i])
    full_width = out.size
    if not shift_x:
        for x in range(full_width):
            out[x] = np.float32(4.0) * blended[x]
        return
    blended[width] = blended[width - 1]
    pairs = full_width >> 1
    if is_centred:
        previous = blended[0]
        for i in range(pairs):
            here = blended[i]
            out[2 * i] = three * here + previous
            out[2 * i + 1] = three * here + blended[i + 1]
            previous = here
    else:
        for i in range(pairs):
            here = blended[i]
            out[2 * i] = np.float32(4.0) * here
            out[2 * i + 1] = np.float32(2.0) * (here + blended[i + 1])
    if full_width & 1:
        out[full_width - 1] = np.float32(4.0) * blended[pairs]


@_compiled
def _row_codes(
    luma: Array,
    cb: Array,
    cr: Array,
    row: int,
    siting: Array,
    matrix: Array,
    blended: Array,
    cb_row: Array,
    cr_row: Array,
    codes: Array,
) -> None:
    """Convert one row to R'G'B' codes 0 … peak, rounded: all of R, then all of G, then all of B."""
    shift_x, shift_y, is_centred = siting[0], siting[1], siting[2]
    _upsample_row(cb, row, shift_x, shift_y, is_centred, blended, cb_row)
    _upsample_row(cr, row, shift_x, shift_y, is_centred, blended, cr_row)
    y_offset, c_offset, peak = matrix[0], matrix[1], matrix[11]
    half, zero = np.float32(0.5), np.float32(0.0)
    width = luma.shape[1]
    for channel in range(3):
        by_y, by_cb, by_cr = matrix[2 + 3 * channel], matrix[3 + 3 * channel], matrix[4 + 3 * channel]
        out = codes[channel * width : (channel + 1) * width]
        for x in range(width):
            y = by_y * (np.float32(luma[row, x]) - y_offset)
            c = by_cb * (cb_row[x] - c_offset) + by_cr * (cr_row[x] - c_offset)
            out[x] = np.int32(min(max(y + c + half, zero), peak))


@_compiled
def _exact_code(code: int, codes: Array, column: int, linear: Array, exact_thresholds: Array) -> int:
    """Return the code of one value summed in float64, starting the search at ``code``."""
    light = 0.0
    for j in range(codes.shape[0]):
        light += linear[codes[j, column]]
    while light >= exact_thresholds[code + 1]:
        code += 1
    while light < exact_thresholds[code]:
        code -= 1
    return code


@_compiled
def mean_codes(
    luma: Array,
    cb: Array,
    cr: Array,
    slots: Array,
    siting: Array,
    matrix: Array,
    table: Array,
    linear: Array,
    bins: Array,
    thresholds: Array,
    exact_thresholds: Array,
    code8: Array,
    blurry: Array,
    sharp: Array,
) -> None:
    """Write the mean of a window and its centre frame as 8-bit codes.

    Parameters
    ----------
    luma, cb, cr
        (R, H, W) and twice (R, h, w), uint8 or uint16: a ring of decoded frames.
    slots
        (M,) int64, M odd: the ring slots of the window; the frame in the middle is the sharp one.
    siting, matrix
        From `colour.ColourModel`: (3,) int64 and (12,) float32.
    table, linear, bins, thresholds, exact_thresholds, code8
        From `ExactEncoder`.
    blurry, sharp
        (H, W, 3) uint8, written.
    """
    height, width = luma.shape[1], luma.shape[2]
    num_frames = slots.size
    blended = np.empty(cb.shape[2] + 1, np.float32)
    cb_row = np.empty(width, np.float32)
    cr_row = np.empty(width, np.float32)
    codes = np.empty((num_frames, 3 * width), luma.dtype)  # small, so that it stays in the cache
    sums = np.empty(3 * width, np.uint32)
    floats = np.empty(3 * width, np.float32)
    bits = floats.view(np.uint32)
    centre = num_frames // 2
    guard = num_frames // 2 + 2  # each table entry is off by half a unit at most
    for row in range(height):
        sums[:] = 0
        for j in range(num_frames):
            slot = slots[j]
            line = codes[j]
            _row_codes(luma[slot], cb[slot], cr[slot], row, siting, matrix, blended, cb_row, cr_row, line)
            for i in range(3 * width):
                sums[i] += table[line[i]]
        floats[:] = sums
        for channel in range(3):
            for x in range(width):
                i = channel * width + x
                sharp[row, x, channel] = code8[codes[centre, i]]
                total = np.int64(sums[i])
                code: Any = np.int64(bins[bits[i] >> _BIN_BITS])
                while total >= thresholds[code + 1]:
                    code += 1
                if total - thresholds[code] <= guard or thresholds[code + 1] - total <= guard:
                    code = _exact_code(code, codes, i, linear, exact_thresholds)
                blurry[row, x, channel] = code


@_compiled
def linear_mean(
    luma: Array, cb: Array, cr: Array, slots: Array, siting: Array, matrix: Array, linear: Array, light: Array
) -> None:
    """Write the mean of a window in linear light, (H, W, 3) float32; arguments as in `mean_codes`."""
    height, width = luma.shape[1], luma.shape[2]
    blended = np.empty(cb.shape[2] + 1, np.float32)
    cb_row = np.empty(width, np.float32)
    cr_row = np.empty(width, np.float32)
    codes = np.empty(3 * width, luma.dtype)
    sums = np.empty(3 * width, np.float64)
    for row in range(height):
        sums[:] = 0.0
        for j in range(slots.size):
            slot = slots[j]
            _row_codes(luma[slot], cb[slot], cr[slot], row, siting, matrix, blended, cb_row, cr_row, codes)
            for i in range(3 * width):
                sums[i] += linear[codes[i]]
        for channel in range(3):
            for x in range(width):
                light[row, x, channel] = sums[channel * width + x] / slots.size


@_compiled
def convert_frame(luma: Array, cb: Array, cr: Array, siting: Array, matrix: Array, codes: Array) -> None:
    """Write one frame's R'G'B' codes, (H, W, 3) uint8 or uint16; ``luma`` is (H, W), ``cb`` and ``cr`` are (h, w)."""
    height, width = luma.shape
    blended = np.empty(cb.shape[1] + 1, np.float32)
    cb_row = np.empty(width, np.float32)
    cr_row = np.empty(width, np.float32)
    line = np.empty(3 * width, luma.dtype)
    for row in range(height):
        _row_codes(luma, cb, cr, row, siting, matrix, blended, cb_row, cr_row, line)
        for channel in range(3):
            codes[row, :, channel] = line[channel * width : (channel + 1) * width]
