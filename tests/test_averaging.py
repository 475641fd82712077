import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from blursynth.averaging import ExactEncoder, linear_mean, mean_codes
from blursynth.colour import ColourModel
from blursynth.crf import ResponseCurve, response_curve

GREY = ColourModel("bt709", True, shift_x=0, shift_y=0)  # with neutral chroma, codes are the luma samples


def average(luma: NDArray[np.uint8], curve: ResponseCurve) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Average (M, H, W) codes through the kernel; the red channel of (blurry, sharp)."""
    tables = ExactEncoder.build(curve, luma.shape[0])
    neutral = np.full(luma.shape, 128, np.uint8)
    blurry, sharp = np.empty((2, *luma.shape[1:], 3), np.uint8)
    mean_codes(
        luma, neutral, neutral, np.arange(luma.shape[0]), GREY.siting(), GREY.coefficients(), tables.table,
        tables.linear, tables.bins, tables.bin_bits, tables.thresholds, tables.exact_thresholds, tables.code8,
        blurry, sharp,
    )  # fmt: skip
    return blurry[:, :, 0], sharp[:, :, 0]


def float64_mean(luma: NDArray[np.uint8], curve: ResponseCurve) -> NDArray[np.uint8]:
    return curve.from_linear(curve.linear_of_codes()[luma].mean(0))


@pytest.mark.parametrize("name", ["gamma:2.2", "srgb", "bt709", "linear", "gamma:0.4", "gamma:5"])
@pytest.mark.parametrize("num_frames", [1, 3, 7, 13, 33, 255])
def test_the_mean_is_the_code_that_float64_gives(name: str, num_frames: int) -> None:
    rng = np.random.default_rng(num_frames)
    for high in (3, 8, 256):  # dark codes are where integers alone would go wrong
        luma = rng.integers(0, high, (num_frames, 64, 97)).astype(np.uint8)
        curve = response_curve(name)
        blurry, sharp = average(luma, curve)
        assert np.array_equal(blurry, float64_mean(luma, curve))
        assert np.array_equal(sharp, luma[num_frames // 2])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 255), min_size=1, max_size=15).filter(lambda codes: len(codes) % 2 == 1))
def test_any_pixel_through_time(codes: list[int]) -> None:
    curve = response_curve("gamma:2.2")
    luma = np.array(codes, np.uint8).reshape(-1, 1, 1)
    expected = np.rint(255 * np.mean((np.array(codes) / 255) ** 2.2) ** (1 / 2.2))
    assert average(luma, curve)[0][0, 0] == expected


def test_a_constant_pixel_keeps_its_code() -> None:
    luma = np.broadcast_to(np.arange(256, dtype=np.uint8), (11, 1, 256)).copy()
    assert np.array_equal(average(luma, response_curve("gamma:2.2"))[0][0], np.arange(256))


def test_a_white_object_in_one_of_eleven_frames() -> None:
    """What the choice of curve is worth: none 23, BT.709 70, sRGB 85, gamma 2.2 86 codes."""
    luma = np.zeros((11, 1, 1), np.uint8)
    luma[4] = 255
    for name, code in [("linear", 23), ("bt709", 70), ("srgb", 85), ("gamma:2.2", 86)]:
        assert average(luma, response_curve(name))[0][0, 0] == code


def test_linear_mean_is_the_mean_of_light() -> None:
    rng = np.random.default_rng(0)
    luma = rng.integers(0, 256, (5, 8, 9)).astype(np.uint8)
    neutral = np.full(luma.shape, 128, np.uint8)
    luma[1, 0, 0] = luma[4, 0, 0] = 255
    light, saturation = np.empty((8, 9, 3)), np.empty((8, 9, 3), np.float32)
    linear = response_curve("srgb").linear_of_codes()
    slots, weights = np.array([4, 1, 2]), np.array([1.0, 2.0, 1.0])
    siting, matrix = GREY.siting(), GREY.coefficients()
    linear_mean(luma, neutral, neutral, slots, weights, siting, matrix, linear, light, saturation)
    expected = np.average(linear[luma[slots]], axis=0, weights=weights)
    np.testing.assert_allclose(light[:, :, 1], expected, rtol=1e-12)
    np.testing.assert_allclose(saturation[:, :, 1], np.average(luma[slots] == 255, axis=0, weights=weights))
    assert saturation[0, 0, 1] >= 0.75
