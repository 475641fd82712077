import json
import subprocess
import sys
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from blursynth.crf import response_curve
from blursynth.errors import SettingsError
from blursynth.radiometry import OFF, Light, LightChain, NoiseLevel, render

CURVE = response_curve("gamma:2.2")
LEVEL = NoiseLevel(shot=2e-4, read=1e-3)


def some_light(height: int = 30, width: int = 41, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).random((height, width, 3), dtype=np.float32)


def test_the_package_needs_numpy_and_pillow_alone() -> None:
    code = (
        "import sys, blursynth.radiometry\n"
        "print([m for m in ('cv2', 'numba', 'av', 'h5py', 'torch', 'click', 'joblib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("curve", ["gamma:2.2", "srgb", "bt709", "linear"])
def test_without_anything_drawn_light_is_encoded_and_no_more(curve: str) -> None:
    linear = (some_light() * 1.3 - 0.1).astype(np.float32)
    linear[0, 0] = [-0.0, 1.0, 0.0]
    expected = response_curve(curve).from_linear(linear)
    assert np.array_equal(render(linear, None, response_curve(curve), OFF), expected)
    assert np.array_equal(render(linear, None, response_curve(curve), LightChain().draw(5)), expected)
    assert OFF.is_off
    assert LightChain().is_off


def test_codes_are_rounded_not_cut_off() -> None:
    linear = some_light(200, 200)
    expected = 255 * linear.astype(np.float64) ** (1 / 2.2)
    error = render(linear, None, CURVE, OFF) - expected
    assert np.abs(error).max() <= 0.5 + 1e-4
    assert abs(error.mean()) < 0.01  # cutting off makes it -0.45


@pytest.mark.parametrize(("radiance", "code"), [(1, 86), (4, 161), (16, 255)])
def test_a_moving_light_gets_back_what_clipped_frames_lost(radiance: int, code: int) -> None:
    frames = np.zeros((11, 2, 11, 3), np.float32)
    for i in range(11):
        frames[i, :, i] = radiance  # a light that dwells on each pixel for 1/11 of the window
    seen = np.minimum(frames, 1)
    linear, saturation = seen.mean(axis=0), (seen >= 1).mean(axis=0).astype(np.float32)
    light = replace(OFF, highlights=radiance - 1)
    assert (render(linear, saturation, CURVE, light) == code).all()
    as_bytes = np.rint(255 * saturation).astype(np.uint8)
    assert np.abs(render(linear, as_bytes, CURVE, light).astype(int) - code).max() <= 1
    # Where the mean is clipped, which is nowhere, is not where the frames were.
    of_the_mean = (linear >= 1).astype(np.float32)
    assert (render(linear, of_the_mean, CURVE, light) == 86).all()


def test_both_ways_of_storing_saturation_say_the_same() -> None:
    linear, light = some_light(), replace(OFF, highlights=1.5)
    share = np.random.default_rng(1).integers(0, 256, linear.shape).astype(np.uint8)
    as_float = (share / 255).astype(np.float32)
    difference = render(linear, share, CURVE, light).astype(int) - render(linear, as_float, CURVE, light)
    assert np.abs(difference).max() <= 1
    assert (difference != 0).mean() < 1e-3


@pytest.mark.parametrize("noise", ["match", "iso:25600"])
def test_clipped_light_stays_clipped_and_has_no_noise(noise: str) -> None:
    linear = np.full((64, 64, 3), 0.5, np.float32)
    linear[16:48, 16:48] = 0.9
    saturation = np.zeros((64, 64, 3), np.uint8)
    saturation[16:48, 16:48] = 255
    light = LightChain("1", noise).draw(3, NoiseLevel(1e-2, 1e-2), 11)
    codes = render(linear, saturation, CURVE, light)
    assert (codes[16:48, 16:48] == 255).all()
    assert codes[:16].std() > 3


@pytest.mark.parametrize("chain", [LightChain("on", "match", "80"), LightChain("on", "iso:50-102400", "95")])
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (2, 3), (17, 33)])
def test_every_size_is_kept_and_inputs_stay_as_they_are(chain: LightChain, size: tuple[int, int]) -> None:
    linear = some_light(*size)
    saturation = np.full_like(linear, 0.5)
    for array in (linear, saturation):
        array.setflags(write=False)
    light = chain.draw(1, LEVEL, 7)
    codes = render(linear, saturation, CURVE, light)
    assert codes.dtype == np.uint8
    assert codes.shape == linear.shape
    assert np.array_equal(codes, render(linear.copy(), saturation.copy(), CURVE, light))


def test_bytes_do_not_depend_on_the_order_of_an_array_in_memory() -> None:
    linear = some_light(33, 47)
    chain = LightChain("on", "iso:800", "90")
    expected = render(linear, linear, CURVE, chain.draw(2))
    planar = np.moveaxis(np.ascontiguousarray(np.moveaxis(linear, -1, 0)), 0, -1)
    assert np.array_equal(render(planar, planar, CURVE, chain.draw(2)), expected)
    matched = LightChain(noise="match").draw(2, LEVEL, 7)
    assert np.array_equal(render(planar, None, CURVE, matched), render(linear, None, CURVE, matched))


def test_jpeg_comes_last_and_keeps_all_colour_from_quality_90_on() -> None:
    linear = np.full((64, 64, 3), 0.2, np.float32)
    linear[:, ::2, 0] = 0.6  # stripes of a pixel, in colour
    plain = CURVE.from_linear(linear).astype(int)

    def stripes(quality: int) -> float:
        codes = render(linear, None, CURVE, replace(OFF, jpeg=quality)).astype(int)
        return float(np.abs(np.diff(codes[..., 0] - codes[..., 1], axis=1)).mean())

    full = float(np.abs(np.diff(plain[..., 0] - plain[..., 1], axis=1)).mean())
    assert stripes(90) > 0.9 * full
    assert stripes(89) < 0.2 * full
    better, worse = (render(linear, None, CURVE, replace(OFF, jpeg=q)).astype(int) - plain for q in (100, 20))
    assert 0 < (better**2).mean() < 2 < (worse**2).mean()


def test_our_own_large_picture_is_not_taken_for_a_bomb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert render(some_light(), None, CURVE, replace(OFF, jpeg=90)).shape == (30, 41, 3)


@pytest.mark.parametrize(
    ("linear", "saturation", "light", "message"),
    [
        (np.zeros((4, 4, 3)), None, OFF, "float32"),
        (np.zeros((4, 4), np.float32), None, OFF, "shape"),
        (np.zeros((4, 4, 4), np.float32), None, OFF, "shape"),
        (np.zeros((0, 4, 3), np.float32), None, OFF, "shape"),
        (np.full((4, 4, 3), np.nan, np.float32), None, OFF, "finite"),
        (np.full((4, 4, 3), np.inf, np.float32), None, OFF, "finite"),
        (np.full((4, 4, 3), -np.inf, np.float32), None, OFF, "finite"),
        (np.zeros((4, 4, 3), np.float32), None, replace(OFF, highlights=1), "highlights 1: "),
        (np.zeros((4, 4, 3), np.float32), np.zeros((4, 5, 3), np.uint8), replace(OFF, highlights=1), "saturation"),
        (np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 3)), replace(OFF, highlights=1), "float64"),
        (np.zeros((4, 4, 3), np.float32), np.full((4, 4, 3), 255, np.float32), replace(OFF, highlights=1), "0 to 1"),
        (np.zeros((4, 4, 3), np.float32), np.full((4, 4, 3), np.nan, np.float32), replace(OFF, highlights=1), "0 to 1"),
        (np.zeros((1, 65501, 3), np.float32), None, replace(OFF, jpeg=90), "jpeg"),
    ],
)
def test_bad_arrays_are_refused(linear: Any, saturation: Any, light: Light, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        render(linear, saturation, CURVE, light)


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (("on", "match", "90"), ("0.25-1.75", "match", "90")),
        (("0", "OFF", " 70 - 95 "), ("off", "off", "70-95")),
        (("0.0-0", "iso: 100-1600.0", "90-90"), ("off", "iso:100-1600", "90")),
        (("00.50-1.", "iso:102400", "off"), ("0.5-1", "iso:102400", "off")),
        (("3", "iso : 50 - 50", "100"), ("3", "iso:50", "100")),
    ],
)
def test_equal_settings_have_equal_text(written: tuple[str, str, str], kept: tuple[str, str, str]) -> None:
    chain = LightChain(*written)
    assert (chain.highlights, chain.noise, chain.jpeg) == kept
    assert LightChain(*kept) == chain
    assert LightChain(**json.loads(json.dumps(asdict(chain)))) == chain


@given(st.floats(0, 16), st.floats(0, 16), st.floats(50, 102400), st.floats(50, 102400))
def test_normalising_twice_is_normalising_once(a: float, b: float, c: float, d: float) -> None:
    (a, b), (c, d) = sorted((a, b)), sorted((c, d))
    chain = LightChain(f"{a:.9f}-{b:.9f}", f"iso:{c:.5f}-{d:.5f}")
    assert LightChain(chain.highlights, chain.noise) == chain


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(
            ("highlights", text)
            for text in ("", "yes", "-1", "17", "1.75-0.25", "nan", "inf", "1e3", "1-2-3", "١", "1,5")
        ),
        *(("noise", text) for text in ("", "on", "iso", "iso:", "iso:49", "iso:102401", "iso:200-100", "iso:x", "100")),
        *(("noise", text) for text in ("match:1", "iso:nan", "iso:1e3", "iso:-100", "matched")),
        *(("jpeg", text) for text in ("", "0", "101", "90.5", "95-70", "on", "-5", "9" * 400)),
    ],
)
def test_nonsense_is_refused_by_name(name: str, text: str) -> None:
    with pytest.raises(SettingsError, match=name):
        LightChain(**{name: text})
    not_text: Any = 90
    with pytest.raises(SettingsError, match=name):
        LightChain(**{name: not_text})


def test_what_is_drawn_depends_on_the_key_and_its_own_setting_alone() -> None:
    everything = LightChain("0-2", "iso:100-1600", "50-99")
    drawn = everything.draw(12)
    assert everything.draw(12) == drawn
    assert everything.draw(13) != drawn
    assert LightChain(highlights="0-2").draw(12) == replace(OFF, key=drawn.key, highlights=drawn.highlights)
    assert LightChain(jpeg="50-99").draw(12) == replace(OFF, key=drawn.key, jpeg=drawn.jpeg)
    assert LightChain(noise="iso:100-1600").draw(12) == replace(drawn, highlights=0, jpeg=0)


def test_draws_stay_the_same_for_ever() -> None:
    drawn = LightChain("on", "iso:100-1600", "70-95").draw(2**63 + 1)
    assert asdict(drawn) == {
        "key": 15157332835085670334,
        "highlights": pytest.approx(1.706678761988751, rel=1e-12),
        "shot_noise": pytest.approx(3.0561200765128454e-05, rel=1e-12),
        "read_noise": pytest.approx(6.0002072260042086e-05, rel=1e-12),
        "bayer": 0,
        "red_gain": pytest.approx(1.9318954567478595, rel=1e-12),
        "blue_gain": pytest.approx(1.5738375565853497, rel=1e-12),
        "iso": pytest.approx(106.13880341121273, rel=1e-12),
        "jpeg": 89,
    }
    assert all(type(value) in {int, float} for value in asdict(drawn).values())
    assert Light(**json.loads(json.dumps(asdict(drawn)))) == drawn


def test_draws_cover_their_ranges_evenly() -> None:
    lights = [LightChain("on", "iso:100-1600", "70-95").draw(key) for key in range(2000)]
    bounds = {"highlights": (0.25, 1.75), "red_gain": (1.9, 2.4), "blue_gain": (1.5, 1.9)}
    for name, (low, high) in bounds.items():
        values = np.array([getattr(light, name) for light in lights])
        assert low <= values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() <= high
        assert values.mean() == pytest.approx((low + high) / 2, abs=0.03 * (high - low))
    assert np.median([light.iso for light in lights]) == pytest.approx(400, rel=0.1)  # even in the logarithm
    assert {light.jpeg for light in lights} == set(range(70, 96))
    assert {light.bayer for light in lights} == {0, 1, 2, 3}
    assert np.bincount([light.bayer for light in lights]).min() > 430
    assert len({light.key for light in lights}) == 2000
    shot = np.array([light.shot_noise / light.iso for light in lights])
    read = np.array([light.read_noise / light.iso for light in lights])
    assert shot.max() / shot.min() == pytest.approx(3, rel=0.02)
    assert read.max() / read.min() == pytest.approx(3, rel=0.02)
    assert abs(np.corrcoef(shot, read)[0, 1]) < 0.1
    assert shot.mean() * 400 == pytest.approx(8.8915e-5, rel=0.02)


def test_matched_noise_is_what_averaging_took_away() -> None:
    light = LightChain(noise="match").draw(1, LEVEL, 4.0)
    assert light.shot_noise == pytest.approx(0.75 * LEVEL.shot)
    assert light.read_noise**2 == pytest.approx(0.75 * LEVEL.read**2)
    assert (light.bayer, light.red_gain, light.blue_gain, light.iso) == (-1, 1.0, 1.0, 0.0)
    single = LightChain(noise="match").draw(1, LEVEL, 1 - 1e-9)  # weights that add up to 1 but for rounding
    assert single.is_off


@pytest.mark.parametrize("frames", [0.0, 0.5, -1.0, float("nan"), float("inf")])
def test_matching_needs_a_level_and_a_number_of_frames(frames: float) -> None:
    with pytest.raises(SettingsError, match="effective frames"):
        LightChain(noise="match").draw(1, LEVEL, frames)
    with pytest.raises(SettingsError, match="not measured"):
        LightChain(noise="match").draw(1, None, 7)


def test_numbers_from_files_become_plain_ones() -> None:
    row: dict[str, Any] = {name: np.float32(value) for name, value in asdict(OFF).items()}
    row |= {"key": np.uint64(2**64 - 1), "bayer": np.int8(2), "jpeg": np.uint8(90)}
    light = Light(**row)
    assert light == replace(OFF, key=2**64 - 1, bayer=2, jpeg=90)
    assert all(type(value) in {int, float} for value in asdict(light).values())


@pytest.mark.parametrize("name", list(asdict(OFF)))
@pytest.mark.parametrize("value", [-2, float("nan"), float("inf"), 1e30, "x", None])
def test_lights_that_cannot_be_are_refused(name: str, value: Any) -> None:
    with pytest.raises(SettingsError, match=name):
        replace(OFF, **{name: value})


@pytest.mark.parametrize("value", [-1e-9, float("nan"), float("inf"), 2, "x"])
def test_levels_that_cannot_be_are_refused(value: Any) -> None:
    with pytest.raises(SettingsError, match="shot noise"):
        NoiseLevel(value, 0)
    with pytest.raises(SettingsError, match="read noise"):
        NoiseLevel(0, value)
