from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from blursynth.crf import response_curve
from blursynth.radiometry import OFF, Light, LightChain, NoiseLevel, measure_noise, render
from blursynth.radiometry.mosaic import CAMERA_OF_SRGB, SRGB_OF_CAMERA, colour_sites, demosaic, mosaic, srgb_of_camera
from blursynth.radiometry.noise import add_noise, poisson_gauss

CURVE = response_curve("gamma:2.2")
PATTERNS = ("RGGB", "BGGR", "GRBG", "GBRG")


def generator(key: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=key))


@pytest.mark.parametrize("counts", [0.3, 5, 31, 33, 500, 20_000])
@pytest.mark.parametrize("read_counts", [0, 4])
def test_mean_and_variance_are_those_of_poisson_gauss(counts: float, read_counts: float) -> None:
    shot = 1e-4
    signal = np.full((600, 700), counts * shot, np.float32)
    noisy = poisson_gauss(signal, shot, read_counts * shot, generator()).astype(np.float64)
    variance = signal[0, 0].astype(np.float64) * shot + (read_counts * shot) ** 2
    assert noisy.mean() == pytest.approx(counts * shot, abs=4 * (variance / noisy.size) ** 0.5)
    assert noisy.var() == pytest.approx(variance, rel=0.01)


def test_few_counts_are_whole_numbers_and_none_is_none() -> None:
    noisy = poisson_gauss(np.full((100, 100), 0.03, np.float32), 0.01, 0.0, generator()) / 0.01
    assert np.allclose(noisy, np.rint(noisy), atol=1e-4)
    assert noisy.min() == 0
    assert (poisson_gauss(np.zeros((9, 9), np.float32), 0.01, 0.0, generator()) == 0).all()
    assert np.array_equal(poisson_gauss(np.full((9, 9), 0.5, np.float32), 0.0, 0.0, generator()), np.full((9, 9), 0.5))


@pytest.mark.parametrize("bayer", [-1, 0])
def test_shot_noise_grows_with_the_root_of_light(bayer: int) -> None:
    light = replace(OFF, key=7, shot_noise=1e-4, bayer=bayer)
    levels = np.array([0.04, 0.16, 0.64])
    deviations = []
    for level in levels:
        noisy = add_noise(np.full((300, 300, 3), level, np.float32), light)
        deviations.append(noisy.std(axis=(0, 1)))
    for ratio in (deviations[1] / deviations[0], deviations[2] / deviations[1]):
        assert ratio == pytest.approx(2, rel=0.02)  # noise in proportion to light would give 4


def test_matched_noise_is_of_the_variance_asked_for_and_by_channel() -> None:
    linear = np.empty((400, 400, 3), np.float32)
    linear[:] = [0.1, 0.4, 0.8]
    light = replace(OFF, key=1, shot_noise=2e-4, read_noise=3e-3)
    noise = (add_noise(linear, light) - linear).reshape(-1, 3).astype(np.float64)
    assert noise.var(axis=0) == pytest.approx(2e-4 * np.array([0.1, 0.4, 0.8]) + 9e-6, rel=0.02)
    assert np.abs(np.corrcoef(noise.T) - np.eye(3)).max() < 0.01


def test_keys_give_different_noise_and_the_same_key_the_same() -> None:
    linear = np.full((16, 16, 3), 0.3, np.float32)
    for chain in (LightChain(noise="iso:1600"), LightChain(noise="match")):
        level = NoiseLevel(1e-3, 1e-3)
        first, again, other = (render(linear, None, CURVE, chain.draw(key, level, 7)) for key in (1, 1, 2))
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)


def test_camera_colours_come_back_and_grey_stays_grey() -> None:
    forth, back = np.array(CAMERA_OF_SRGB), np.array(SRGB_OF_CAMERA)
    assert back @ forth == pytest.approx(np.eye(3), abs=2e-6)
    assert forth.sum(axis=1) == pytest.approx(1, abs=1e-9)
    assert (forth >= 0).all()  # so light in [0, 1] stays there
    pixels = np.random.default_rng(0).random((5, 6, 3), dtype=np.float32)
    camera = np.stack([pixels @ np.array(row, np.float32) for row in CAMERA_OF_SRGB])
    assert srgb_of_camera(camera) == pytest.approx(pixels, abs=5e-6)


@pytest.mark.parametrize("bayer", range(4))
@pytest.mark.parametrize("size", [(8, 10), (9, 7)])
def test_patterns_are_what_their_names_say(bayer: int, size: tuple[int, int]) -> None:
    linear = np.zeros((*size, 3), np.float32)
    linear[:] = srgb_of_camera(np.array([0.2, 0.4, 0.6], np.float32).reshape(3, 1, 1))[0, 0]
    names = np.array(["R", "G", "B"])[np.rint(mosaic(linear, bayer) / 0.2).astype(int) - 1]
    assert "".join(names[:2, :2].ravel()) == PATTERNS[bayer]
    assert (names == np.tile(names[:2, :2], (5, 5))[: size[0], : size[1]]).all()


def malvar_by_the_book(raw: NDArray[np.float32], colours: NDArray[np.str_]) -> NDArray[np.float64]:
    """The eight 5x5 filters of the paper, pixel by pixel; ``colours`` names each pixel of the mosaic."""
    cross = np.array([[0, 0, -1, 0, 0], [0, 0, 2, 0, 0], [-1, 2, 4, 2, -1], [0, 0, 2, 0, 0], [0, 0, -1, 0, 0]])
    in_row = np.array([[0, 0, 0.5, 0, 0], [0, -1, 0, -1, 0], [-1, 4, 5, 4, -1], [0, -1, 0, -1, 0], [0, 0, 0.5, 0, 0]])
    opposite = np.array(
        [[0, 0, -1.5, 0, 0], [0, 2, 0, 2, 0], [-1.5, 0, 6, 0, -1.5], [0, 2, 0, 2, 0], [0, 0, -1.5, 0, 0]]
    )
    padded, names = np.pad(raw, 2, mode="reflect"), np.pad(colours, 2, mode="reflect")
    out = np.empty((3, *raw.shape))
    for y, x in np.ndindex(raw.shape):
        around, own = padded[y : y + 5, x : x + 5], names[y + 2, x + 2]
        for channel, wanted in enumerate("RGB"):
            if wanted == own:
                out[channel, y, x] = raw[y, x]
            else:
                if wanted == "G":
                    kernel = cross
                elif own == "G":
                    kernel = in_row if names[y + 2, x + 1] == wanted else in_row.T
                else:
                    kernel = opposite
                out[channel, y, x] = (kernel * around).sum() / 8
    return out


@pytest.mark.parametrize("bayer", range(4))
@pytest.mark.parametrize("size", [(6, 8), (7, 5), (11, 12)])
def test_demosaicking_is_malvars_up_to_the_border(bayer: int, size: tuple[int, int]) -> None:
    raw = np.random.default_rng(bayer).random(size, dtype=np.float32)
    tile = np.array(list(PATTERNS[bayer])).reshape(2, 2)
    colours = np.tile(tile, (6, 6))[: size[0], : size[1]]
    assert demosaic(raw, bayer) == pytest.approx(malvar_by_the_book(raw, colours), abs=1e-6)


@pytest.mark.parametrize("bayer", range(4))
def test_the_mosaic_leaves_flat_colours_and_grey_ramps_alone(bayer: int) -> None:
    clean = replace(OFF, bayer=bayer, red_gain=2.1, blue_gain=1.7)
    colour = np.empty((17, 22, 3), np.float32)
    colour[:] = [0.9, 0.05, 0.3]
    assert add_noise(colour, clean) == pytest.approx(colour, abs=1e-5)
    y, x = np.mgrid[:32, :41]
    ramp = np.repeat((0.1 + 0.01 * x + 0.005 * y)[..., None], 3, axis=2).astype(np.float32)
    assert add_noise(ramp, clean)[2:-2, 2:-2] == pytest.approx(ramp[2:-2, 2:-2], abs=1e-5)


def test_the_mosaic_softens_what_is_finer_than_itself() -> None:
    stripes = np.zeros((32, 32, 3), np.float32)
    stripes[:, ::2] = [0.8, 0.1, 0.1]
    through = add_noise(stripes, replace(OFF, bayer=0))
    assert through[8:24, 8:24, 0].std() < 0.8 * stripes[8:24, 8:24, 0].std()


def test_white_balance_amplifies_the_noise_of_red_and_blue() -> None:
    grey = np.full((400, 400, 3), 0.4, np.float32)
    light = replace(OFF, key=3, shot_noise=1e-4, bayer=0, red_gain=2.25, blue_gain=1.96)
    rng = generator(light.key)
    raw = mosaic(grey, 0)
    (red,), (green, _), (blue,) = colour_sites(0)
    raw[red] /= light.red_gain
    raw[blue] /= light.blue_gain
    raw = poisson_gauss(raw, light.shot_noise, 0.0, rng)
    deviations = [gain * raw[site].std() for gain, site in ((2.25, red), (1.96, blue), (1.0, green))]
    assert np.array(deviations) / deviations[2] == pytest.approx([1.5, 1.4, 1.0], rel=0.02)
    by_channel = add_noise(grey, light).std(axis=(0, 1))
    assert by_channel[1] < by_channel[2] < by_channel[0]


def test_more_sensitive_is_noisier() -> None:
    grey = np.full((128, 128, 3), 0.18, np.float32)
    lights = [LightChain(noise=f"iso:{iso}").draw(1) for iso in (100, 400, 1600, 6400)]
    deviations = [float(render(grey, None, CURVE, light).std()) for light in lights]
    assert deviations == sorted(deviations)
    assert deviations[-1] / deviations[1] == pytest.approx(4, rel=0.15)  # the root of 16: shot noise rules here


def averaged(frames: list[NDArray[np.uint8]], weights: NDArray[np.float64]) -> NDArray[np.float32]:
    mean = np.zeros(frames[0].shape)
    for frame, weight in zip(frames, weights, strict=True):
        mean += weight * CURVE.to_linear(frame)
    return mean.astype(np.float32)


@pytest.mark.parametrize("weights", [[1.0] * 11, [0.5, 1, 1, 1, 0.5]])
def test_noise_that_averaging_took_away_comes_back(weights: list[float]) -> None:
    truth, side = NoiseLevel(3e-4, 2e-3), 208
    levels = np.array([0.02, 0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8], np.float32)
    scene = np.repeat(np.repeat(levels.reshape(2, 4), side, 0), side, 1)[..., None].repeat(3, 2)
    deviation = np.sqrt(truth.shot * scene + truth.read**2)
    rng = generator(5)
    frames = [
        CURVE.from_linear(scene + deviation * rng.standard_normal(scene.shape, dtype=np.float32)) for _ in weights
    ]
    shares = np.array(weights) / sum(weights)
    linear = averaged(frames, shares)
    level = measure_noise([(frames[0], frames[1]), (frames[2], frames[3])], CURVE)
    light = LightChain(noise="match").draw(9, level, 1 / float((shares**2).sum()))

    def variances(codes: NDArray[np.uint8]) -> NDArray[np.float64]:
        """By patch of equal light, (8,)."""
        patches = codes.reshape(2, side, 4, side, 3).astype(np.float64)
        return np.asarray(patches.var(axis=(1, 3, 4)).ravel(), np.float64)

    single = np.mean([variances(frame) for frame in frames], axis=0)
    plain, matched = variances(render(linear, None, CURVE, OFF)), variances(render(linear, None, CURVE, light))
    assert (plain < 0.4 * single).all()
    assert matched == pytest.approx(single, rel=0.03)


def test_a_light_from_a_file_gives_the_same_bytes() -> None:
    linear = np.random.default_rng(0).random((20, 20, 3), dtype=np.float32)
    light = LightChain("on", "iso:400-800", "90").draw(4)
    values = [getattr(light, name) for name in Light.__slots__]
    row = np.array([tuple(values)], [(n, "u8" if n == "key" else "f8") for n in Light.__slots__])[0]
    whole = {"key", "bayer", "jpeg"}
    again = Light(**{name: int(row[name]) if name in whole else row[name] for name in Light.__slots__})
    assert np.array_equal(render(linear, linear, CURVE, again), render(linear, linear, CURVE, light))
