import numpy as np
import pytest

from blursynth.crf import response_curve
from blursynth.errors import SettingsError

NAMES = ["gamma:2.2", "gamma:1.8", "gamma:2.4", "srgb", "bt709", "linear"]


@pytest.mark.parametrize(
    ("name", "code", "linear"),
    [
        ("gamma:2.2", 128, (128 / 255) ** 2.2),
        ("srgb", 118, 0.18116424424986022),  # the grey card
        ("srgb", 10, 10 / 255 / 12.92),
        ("bt709", 20, 20 / 255 / 4.5),
        ("bt709", 255, 1.0),
        ("linear", 51, 0.2),
    ],
)
def test_known_values(name: str, code: int, linear: float) -> None:
    assert response_curve(name).linear_of_codes()[code] == pytest.approx(linear, rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_all_codes_survive_a_round_trip(name: str) -> None:
    curve = response_curve(name)
    codes = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)
    assert np.array_equal(curve.from_linear(curve.to_linear(codes)), codes)
    assert np.array_equal(curve.from_linear(curve.linear_of_codes()), codes.ravel())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("peak", [255, 1023, 4095])
def test_curves_rise_from_nought_to_one(name: str, peak: int) -> None:
    linear = response_curve(name).linear_of_codes(peak)
    assert linear.shape == (peak + 1,)
    assert (linear[0], linear[-1]) == (0.0, 1.0)
    assert (np.diff(linear) > 0).all()
    thresholds = response_curve(name).code_thresholds()
    assert (np.diff(thresholds) > 0).all()


def test_encoding_rounds_to_the_nearest_code_and_clips() -> None:
    curve = response_curve("gamma:2.2")
    linear = np.random.default_rng(0).uniform(-0.1, 1.2, 10_000)
    expected = np.rint(255 * np.clip(linear, 0, 1) ** (1 / 2.2))
    assert np.array_equal(curve.from_linear(linear), expected)


@pytest.mark.parametrize(
    "name", ["", "gamma", "gamma:", "gamma:x", "gamma:0", "gamma:-1", "gamma:nan", "gamma:9", "sRGB"]
)
def test_other_names_are_refused_by_name(name: str) -> None:
    with pytest.raises(SettingsError, match="response curve"):
        response_curve(name)
