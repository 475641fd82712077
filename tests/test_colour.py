from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from blursynth.averaging import convert_frame
from blursynth.colour import ColourModel, colour_model, planar_format

Codes = NDArray[Any]


def tags(
    pixel_format: str = "yuv420p", matrix: int = 2, range_: int = 0, size: tuple[int, int] = (1280, 720)
) -> ColourModel:
    return colour_model(pixel_format, matrix_tag=matrix, range_tag=range_, width=size[0], height=size[1], codec="h264")


def test_untagged_hd_is_bt709_and_untagged_sd_is_bt601() -> None:
    assert tags().matrix == "bt709"
    assert tags(size=(720, 1280)).matrix == "bt709"
    assert tags(size=(720, 576)).matrix == "bt601"
    assert tags().guessed == ("matrix", "range")
    assert tags(matrix=1, range_=1).guessed == ()
    assert tags(matrix=6).matrix == "bt601"
    assert tags(matrix=9).matrix == "bt2020"
    assert not tags(range_=1).is_full_range
    assert tags(range_=2).is_full_range
    assert tags("yuvj420p").is_full_range


@pytest.mark.parametrize(
    ("name", "planar"),
    [("nv12", "yuv420p"), ("p010le", "yuv420p10le"), ("yuva444p12le", "yuv444p12le"), ("bgr0", "gbrp"),
     ("gray", "gray"), ("yuv420p", "yuv420p"), ("yuv420p10be", None), ("pal8", None), ("bayer_rggb8", None)],
)  # fmt: skip
def test_formats_are_repacked_or_refused(name: str, planar: str | None) -> None:
    assert planar_format(name) == planar


@pytest.mark.parametrize("matrix", ["bt601", "bt709", "bt2020"])
@pytest.mark.parametrize("is_full_range", [False, True])
@pytest.mark.parametrize("depth", [8, 10, 12])
@pytest.mark.parametrize("shifts", [(1, 1), (1, 0), (0, 0)])
def test_conversion_equals_the_standard_in_float64(
    matrix: str, is_full_range: bool, depth: int, shifts: tuple[int, int]
) -> None:
    model = ColourModel(matrix, is_full_range, depth, *shifts)  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    dtype = np.uint8 if depth == 8 else np.uint16
    height, width = 18, 34
    luma = rng.integers(0, model.peak + 1, (height, width)).astype(dtype)
    cb, cr = rng.integers(0, model.peak + 1, (2, height >> shifts[1], width >> shifts[0])).astype(dtype)
    codes = np.empty((height, width, 3), dtype)
    convert_frame(luma, cb, cr, model.siting(), model.coefficients(), codes)

    expected = reference(luma, cb, cr, matrix, is_full_range, depth, shifts)
    error = codes - expected
    assert np.abs(error).max() <= 0.5 + 1e-3  # float32 on the way: a tie may go either way


def reference(
    luma: Codes, cb: Codes, cr: Codes, matrix: str, is_full_range: bool, depth: int, shifts: tuple[int, int]
) -> NDArray[np.float64]:
    """The standards' formulas as they are printed, in float64; chroma interpolated where MPEG-2 puts it."""
    k_r, k_b = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}[matrix]
    step, peak = 1 << (depth - 8), (1 << depth) - 1
    y = luma / peak if is_full_range else (luma / step - 16.0) / 219
    c = [plane_at_full_size(plane.astype(np.float64), luma.shape, shifts) for plane in (cb, cr)]
    u, v = [((p - 128 * step) / peak if is_full_range else (p / step - 128) / 224) for p in c]
    r = y + 2 * (1 - k_r) * v
    b = y + 2 * (1 - k_b) * u
    g = (y - k_r * r - k_b * b) / (1 - k_r - k_b)
    return np.clip(np.stack([r, g, b], 2) * peak, 0, peak)


def plane_at_full_size(
    plane: NDArray[np.float64], shape: tuple[int, ...], shifts: tuple[int, int]
) -> NDArray[np.float64]:
    rows = np.arange(shape[0]) if not shifts[1] else (np.arange(shape[0]) - 0.5) / 2  # between two luma rows
    columns = np.arange(shape[1]) if not shifts[0] else np.arange(shape[1]) / 2  # on the left luma column
    y = np.clip(rows, 0, plane.shape[0] - 1).astype(np.float64)
    x = np.clip(columns, 0, plane.shape[1] - 1).astype(np.float64)
    tall = np.stack([np.interp(y, np.arange(plane.shape[0]), plane[:, i]) for i in range(plane.shape[1])], 1)
    return np.stack([np.interp(x, np.arange(plane.shape[1]), line) for line in tall])


def test_rgb_planes_pass_unchanged_and_grey_is_grey() -> None:
    rng = np.random.default_rng(1)
    g, b, r = rng.integers(0, 256, (3, 5, 7)).astype(np.uint8)
    model = tags("gbrp", matrix=0)
    codes = np.empty((5, 7, 3), np.uint8)
    convert_frame(g, b, r, model.siting(), model.coefficients(), codes)
    assert np.array_equal(codes, np.stack([r, g, b], 2))

    model = tags("gray", range_=2)
    neutral = np.full((3, 4), 128, np.uint8)
    convert_frame(g, neutral, neutral, model.siting(), model.coefficients(), codes)
    assert np.array_equal(codes, np.stack([g, g, g], 2))


def test_centred_chroma_of_jpeg() -> None:
    model = ColourModel("bt601", True, is_chroma_centred=True)
    luma = np.full((2, 4), 100, np.uint8)
    cb = np.full((1, 2), 128, np.uint8)
    cr = np.array([[100, 180]], np.uint8)
    codes = np.empty((2, 4, 3), np.uint8)
    convert_frame(luma, cb, cr, model.siting(), model.coefficients(), codes)
    interpolated = np.array([100, 120, 160, 180])  # at a quarter and three quarters of the way
    assert np.array_equal(codes[0, :, 0], np.rint(100 + 1.402 * (interpolated - 128)))
