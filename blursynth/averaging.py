"""The one hot kernel: decoded planes of a window of frames in, display codes of their mean in linear light out.

Per pixel and frame: chroma is brought to full resolution where it was sited, Y'CbCr becomes R'G'B' codes, the inverse
response curve is looked up as an integer, and integers are summed. The sum is encoded by comparing it with the sums
at which each code begins. Integer sums are exact but for the rounding of the table, so wherever a sum is too near a
threshold to be sure, that value is summed again in float64: the result is the code of the true mean, always.

Compiled by numba on first use (some seconds) and cached on disk. All arithmetic on the way to codes is float32 in a
fixed order without contraction, so every machine gives the same bytes.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blursynth.compiling import compiled
from blursynth.crf import ResponseCurve

__all__ = ["ExactEncoder", "convert_frame", "linear_mean", "mean_codes"]

Array = NDArray[Any]


_MAX_SCALE_BITS = 28  # 15 frames of full light still fit into 32 bits
_MAX_BIN_BITS = 15  # the low bits of a float32 that are dropped to find the bin of a sum: 256 bins to an octave
_NEVER = 1 << 40  # a sum that no window has


@dataclass(frozen=True, slots=True, eq=False)
class ExactEncoder:
    """Tables that turn a sum of table entries into the display code of the mean; made by `ExactEncoder.build`."""

    table: NDArray[np.uint32]  # (peak + 1,) linear light of each code, scaled
    linear: NDArray[np.float64]  # (peak + 1,) the same without rounding
    bins: NDArray[np.uint8]  # the code with which each bin of sums begins
    bin_bits: int  # a bin is a sum's float32 representation without these low bits
    thresholds: NDArray[np.int64]  # (257,) smallest sum of each code; those of 0 and 256 are out of reach
    exact_thresholds: NDArray[np.float64]  # (257,) the same in linear light times the number of frames
    code8: NDArray[np.uint8]  # (peak + 1,) source code to 8-bit code

    @classmethod
    def build(cls, curve: ResponseCurve, num_frames: int, peak: int = 255) -> "ExactEncoder":
        """Make the tables for windows of ``num_frames`` frames of codes from 0 to ``peak``."""
        scale_bits = min(_MAX_SCALE_BITS, 32 - int(num_frames).bit_length())
        scale = float(1 << scale_bits)
        linear = curve.linear_of_codes(peak)
        exact = np.concatenate([[-np.inf], curve.code_thresholds() * num_frames, [np.inf]])
        thresholds = np.array([-_NEVER, *np.ceil(exact[1:256] * scale), _NEVER]).astype(np.int64)
        bins, bin_bits = _bins(thresholds[1:256], largest=scale * num_frames)
        return cls(
            table=np.rint(linear * scale).astype(np.uint32),
            linear=linear,
            bins=bins,
            bin_bits=bin_bits,
            thresholds=thresholds,
            exact_thresholds=exact,
            code8=np.rint(np.arange(peak + 1) * (255 / peak)).astype(np.uint8),
        )


def _bins(thresholds: NDArray[np.int64], *, largest: float) -> tuple[NDArray[np.uint8], int]:
    """Divide the sums into bins, as few as leave at most one threshold in each."""
    for bin_bits in range(_MAX_BIN_BITS, 0, -1):
        num_bins = int(np.float32(largest).view(np.uint32) >> bin_bits) + 2
        begins = (np.arange(num_bins, dtype=np.uint32) << bin_bits).view(np.float32).astype(np.float64)
        codes = np.searchsorted(thresholds, begins, side="right")  # how many thresholds each bin is past
        inside = np.searchsorted(thresholds, begins[1:], side="left") - codes[:-1]
        if inside.max() <= 1:
            return codes.astype(np.uint8), bin_bits
    raise ValueError("the response curve is too flat: its codes cannot be told apart")


@compiled
def _widen_row(blended: Array, shift_x: int, is_centred: int, out: Array) -> None:
    """Bring a row of quarters of a code to full width, in sixteenths; the entry after the last repeats it."""
    three = np.float32(3.0)
    full_width = out.size
    if not shift_x:
        for x in range(full_width):
            out[x] = np.float32(4.0) * blended[x]
        return
    pairs = full_width >> 1
    if is_centred:
        previous = blended[0]
        for i in range(pairs):
            here = blended[i]
            out[2 * i] = three * here + previous
            out[2 * i + 1] = three * here + blended[i + 1]
            previous = here
        if full_width & 1:
            out[full_width - 1] = three * blended[pairs] + previous
    else:
        for i in range(pairs):
            here = blended[i]
            out[2 * i] = np.float32(4.0) * here
            out[2 * i + 1] = np.float32(2.0) * (here + blended[i + 1])
        if full_width & 1:
            out[full_width - 1] = np.float32(4.0) * blended[pairs]


@compiled
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
    blended[width] = blended[width - 1]
    _widen_row(blended, shift_x, is_centred, out)


@compiled
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


@compiled
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


@compiled
def _sum_frames(codes: Array, table: Array, sums: Array) -> None:
    """Sum the table's entries of all frames; several at a time, which spares writing and reading the sums."""
    num_frames = codes.shape[0]
    sums[:] = 0
    done = 0
    while done + 4 <= num_frames:
        a, b, c, d = codes[done], codes[done + 1], codes[done + 2], codes[done + 3]
        for i in range(sums.size):
            sums[i] += table[a[i]] + table[b[i]] + table[c[i]] + table[d[i]]
        done += 4
    while done < num_frames:
        a = codes[done]
        for i in range(sums.size):
            sums[i] += table[a[i]]
        done += 1


@compiled
def _encode(
    sums: Array, bits: Array, bins: Array, bin_bits: int, thresholds: Array, guard: int, encoded: Array
) -> bool:
    """Encode sums; return whether one of them is so near a threshold that the rounding of the table might decide.

    Without branches, which would be mispredicted: a bin holds one threshold at most.
    """
    is_unsure = False
    for i in range(sums.size):
        total = np.int64(sums[i])
        code: Any = np.int64(bins[bits[i] >> bin_bits])
        code += total >= thresholds[code + 1]
        is_unsure |= (total - thresholds[code] <= guard) | (thresholds[code + 1] - total <= guard)
        encoded[i] = code
    return is_unsure


@compiled
def _make_sure(
    sums: Array, codes: Array, thresholds: Array, guard: int, linear: Array, exact_thresholds: Array, encoded: Array
) -> None:
    """Encode again, from the same sums in float64, what is near a threshold."""
    for i in range(sums.size):
        total = np.int64(sums[i])
        code: Any = np.int64(encoded[i])
        if total - thresholds[code] <= guard or thresholds[code + 1] - total <= guard:
            encoded[i] = _exact_code(code, codes, i, linear, exact_thresholds)


@compiled
def _interleave(line: Array, out: Array) -> None:
    """Write a row of R, then G, then B into a row of pixels, (W, 3)."""
    width = out.shape[0]
    for x in range(width):
        out[x, 0] = line[x]
        out[x, 1] = line[width + x]
        out[x, 2] = line[2 * width + x]


@compiled
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
    bin_bits: int,
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
    table, linear, bins, bin_bits, thresholds, exact_thresholds, code8
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
    encoded = np.empty(3 * width, np.uint8)
    guard = num_frames // 2 + 2  # each table entry is off by half a unit at most
    for row in range(height):
        for j in range(num_frames):
            slot = slots[j]
            _row_codes(luma[slot], cb[slot], cr[slot], row, siting, matrix, blended, cb_row, cr_row, codes[j])
        _sum_frames(codes, table, sums)
        floats[:] = sums
        if _encode(sums, bits, bins, bin_bits, thresholds, guard, encoded):
            _make_sure(sums, codes, thresholds, guard, linear, exact_thresholds, encoded)
        _interleave(encoded, blurry[row])
        for i in range(3 * width):
            encoded[i] = code8[codes[num_frames // 2, i]]
        _interleave(encoded, sharp[row])


@compiled
def linear_mean(
    luma: Array,
    cb: Array,
    cr: Array,
    slots: Array,
    weights: Array,
    siting: Array,
    matrix: Array,
    linear: Array,
    light: Array,
    saturation: Array,
) -> None:
    """Write the weighted mean of frames in linear light, and how much of the exposure was clipped.

    Parameters
    ----------
    luma, cb, cr, siting, matrix
        As in `mean_codes`.
    slots, weights
        (M,) int64 and (M,) float64: the ring slots of the frames and what each weighs; the sum is divided by theirs.
    linear
        (peak + 1,) float64: linear light of each code.
    light
        (H, W, 3) float64, written.
    saturation
        (H, W, 3) float32, written: the share of the exposure, 0 to 1, that shows the highest code.
    """
    height, width = luma.shape[1], luma.shape[2]
    blended = np.empty(cb.shape[2] + 1, np.float32)
    cb_row = np.empty(width, np.float32)
    cr_row = np.empty(width, np.float32)
    codes = np.empty(3 * width, luma.dtype)
    sums = np.empty(3 * width, np.float64)
    clipped = np.empty(3 * width, np.float64)
    total = 0.0
    for j in range(slots.size):
        total += weights[j]
    peak = linear.size - 1
    for row in range(height):
        sums[:] = 0.0
        clipped[:] = 0.0
        for j in range(slots.size):
            slot, weight = slots[j], weights[j]
            _row_codes(luma[slot], cb[slot], cr[slot], row, siting, matrix, blended, cb_row, cr_row, codes)
            for i in range(3 * width):
                sums[i] += weight * linear[codes[i]]
                if codes[i] == peak:
                    clipped[i] += weight
        for i in range(3 * width):
            sums[i] = min(sums[i] / total, 1.0)
            clipped[i] = min(clipped[i] / total, 1.0)
        _interleave(sums, light[row])
        _interleave(clipped, saturation[row])


@compiled
def convert_frame(luma: Array, cb: Array, cr: Array, siting: Array, matrix: Array, codes: Array) -> None:
    """Write one frame's R'G'B' codes, (H, W, 3) uint8 or uint16; ``luma`` is (H, W), ``cb`` and ``cr`` are (h, w)."""
    height, width = luma.shape
    blended = np.empty(cb.shape[1] + 1, np.float32)
    cb_row = np.empty(width, np.float32)
    cr_row = np.empty(width, np.float32)
    line = np.empty(3 * width, luma.dtype)
    for row in range(height):
        _row_codes(luma, cb, cr, row, siting, matrix, blended, cb_row, cr_row, line)
        _interleave(line, codes[row])
