"""What the samples of a decoded video frame mean: matrix, range, depth, chroma siting.

Readers convert Y'CbCr by a fast path that is wrong by a whole code on average, and take untagged HD for BT.601. Here
the planes are taken as they are and this module says how to read them (ITU-R BT.601-7, BT.709-6, BT.2020-2,
"non-constant luminance"; quantisation as in BT.2100-2, table 9).
"""

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["UNSUPPORTED_MATRICES", "ColourModel", "Matrix", "colour_model", "planar_format"]

Matrix = Literal["bt601", "bt709", "bt2020", "rgb"]

_LUMA_WEIGHTS: dict[Matrix, tuple[float, float]] = {  # K_R, K_B
    "bt601": (0.299, 0.114),
    "bt709": (0.2126, 0.0722),
    "bt2020": (0.2627, 0.0593),
}
# ISO/IEC 23091-2 (H.273) MatrixCoefficients; 2 is "unspecified".
_MATRIX_BY_TAG: dict[int, Matrix] = {0: "rgb", 1: "bt709", 5: "bt601", 6: "bt601", 9: "bt2020"}
UNSUPPORTED_MATRICES = {
    4: "FCC",
    7: "SMPTE 240M",
    8: "YCgCo",
    10: "BT.2020 constant luminance",
    11: "SMPTE 2085",
    14: "ICtCp",
}
_FULL_RANGE_TAG = 2
_CENTRED_CODECS = {
    "mjpeg",
    "mpeg1video",
}  # JPEG and MPEG-1 put chroma between luma columns, all later ones on the left column
_PLANAR = re.compile(r"(?P<kind>yuvj?4(?P<chroma>20|22|44)p|gray|gbrp)(?P<depth>9|10|12|14|16)?(le)?")
# Other layouts of the same samples; they are repacked, never recomputed.
_REPACKED = {
    "nv12": "yuv420p",
    "nv21": "yuv420p",
    "nv16": "yuv422p",
    "nv24": "yuv444p",
    "p010le": "yuv420p10le",
    "p210le": "yuv422p10le",
    "yuyv422": "yuv422p",
    "uyvy422": "yuv422p",
    "gray8": "gray",
    "ya8": "gray",
    **dict.fromkeys(
        ("rgb24", "bgr24", "rgba", "bgra", "argb", "abgr", "rgb0", "bgr0", "0rgb", "0bgr", "gbrap"), "gbrp"
    ),
}


@dataclass(frozen=True, slots=True)
class ColourModel:
    """How planes become R'G'B' codes.

    ``matrix`` and ``is_full_range`` were read from the stream's tags unless ``guessed`` names them. ``shift_x`` and
    ``shift_y`` are the binary logarithms of the chroma subsampling. ``depth`` counts bits per sample, and R'G'B' codes
    have the same depth.
    """

    matrix: Matrix
    is_full_range: bool
    depth: int = 8
    shift_x: int = 1
    shift_y: int = 1
    is_chroma_centred: bool = False
    guessed: tuple[str, ...] = ()

    @property
    def peak(self) -> int:
        """The highest code."""
        return (1 << self.depth) - 1

    def siting(self) -> NDArray[np.int64]:
        """Return (3,) int64 for the kernel: subsampling shifts and whether chroma is centred."""
        return np.array([self.shift_x, self.shift_y, self.is_chroma_centred], np.int64)

    def coefficients(self) -> NDArray[np.float32]:
        """Return (12,) float32 for the kernel: luma and chroma offset, the 3 x 3 matrix by rows, the peak.

        Chroma comes in sixteenths of a code, as upsampling leaves it.
        """
        step = 1 << (self.depth - 8)
        y_offset, y_gain = (0, 1.0) if self.is_full_range else (16 * step, self.peak / (219 * step))
        if self.matrix == "rgb":  # planes are G, B, R
            rows = [[0, 0, y_gain / 16], [y_gain, 0, 0], [0, y_gain / 16, 0]]
            return np.array([y_offset, 16 * y_offset, *np.ravel(rows), self.peak], np.float32)
        k_r, k_b = _LUMA_WEIGHTS[self.matrix]
        k_g = 1 - k_r - k_b
        c_gain = (1.0 if self.is_full_range else self.peak / (224 * step)) / 16
        r_cr, b_cb = 2 * (1 - k_r), 2 * (1 - k_b)
        rows = [
            [y_gain, 0, c_gain * r_cr],
            [y_gain, -c_gain * b_cb * k_b / k_g, -c_gain * r_cr * k_r / k_g],
            [y_gain, c_gain * b_cb, 0],
        ]
        return np.array([y_offset, 16 * 128 * step, *np.ravel(rows), self.peak], np.float32)


def planar_format(pixel_format: str) -> str | None:
    """Return the planar format that holds the same samples as ``pixel_format``, or None if there is none."""
    name = _REPACKED.get(pixel_format, pixel_format)
    name = re.sub(r"^yuva", "yuv", name)
    match = _PLANAR.fullmatch(name)
    if not match or pixel_format.endswith("be"):
        return None
    return name


def colour_model(
    pixel_format: str, *, matrix_tag: int, range_tag: int, width: int, height: int, codec: str
) -> ColourModel:
    """Read the tags of a stream; where they are silent, HD is BT.709 and range is limited.

    Parameters
    ----------
    pixel_format
        A name that `planar_format` returned.
    matrix_tag, range_tag
        H.273 MatrixCoefficients and FFmpeg's colour range (2 is full).
    width, height
        In pixels; from 1280 or 720 on an untagged stream is HD.
    codec
        FFmpeg's name of the codec.
    """
    match = _PLANAR.fullmatch(pixel_format)
    if match is None:
        raise ValueError(f"{pixel_format!r} is not one of planar_format's names")
    guessed = []
    matrix = _MATRIX_BY_TAG.get(matrix_tag)
    if match["kind"] == "gbrp":
        matrix = "rgb"
    elif matrix in {None, "rgb"}:
        matrix = "bt709" if height >= 720 or width >= 1280 else "bt601"
        guessed.append("matrix")
    is_full_range = range_tag == _FULL_RANGE_TAG or "yuvj" in pixel_format or matrix == "rgb"
    if range_tag == 0 and not is_full_range:
        guessed.append("range")
    chroma = match["chroma"]
    return ColourModel(
        matrix=matrix or "bt709",
        is_full_range=is_full_range,
        depth=int(match["depth"] or 8),
        shift_x=0 if chroma == "44" or match["kind"] == "gbrp" else 1,
        shift_y=1 if chroma == "20" or match["kind"] == "gray" else 0,
        is_chroma_centred=codec in _CENTRED_CODECS,
        guessed=tuple(guessed),
    )
