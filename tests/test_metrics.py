import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from blursynth.model.metrics import psnr, ssim

Codes = NDArray[np.uint8]
Metric = Callable[[Codes, Codes], float]


def random_codes(height: int, width: int, seed: int = 0) -> Codes:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def structured_pair() -> tuple[Codes, Codes]:
    """A chart of gradients, edges, stripes and saturated areas, and its horizontal motion blur with noise."""
    y, x = np.mgrid[0:97, 0:131]
    red = 127.5 + 127.5 * np.sin(0.002 * x * y)
    green = np.where((x // 8 + y // 8) % 2 == 0, 255, 0)
    blue = np.clip(2.5 * x - 20, 0, 255)
    chart = np.stack([red, green, blue], axis=2)
    blurred = np.mean([np.roll(chart, shift, axis=1) for shift in range(-3, 4)], axis=0)
    blurred += np.random.default_rng(1).normal(0, 2, chart.shape)
    return np.clip(blurred, 0, 255).astype(np.uint8), chart.astype(np.uint8)


def reference_ssim(restored: Codes, sharp: Codes) -> float:
    similarity = structural_similarity(  # type: ignore[no-untyped-call]
        restored, sharp, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255
    )
    return float(similarity)


def assert_agrees_with_scikit_image(restored: Codes, sharp: Codes) -> None:
    reference_psnr = peak_signal_noise_ratio(sharp, restored, data_range=255)  # type: ignore[no-untyped-call]
    assert psnr(restored, sharp) == pytest.approx(reference_psnr, abs=1e-9)
    assert ssim(restored, sharp) == pytest.approx(reference_ssim(restored, sharp), abs=1e-9)


def test_agrees_with_scikit_image_on_a_chart() -> None:
    restored, sharp = structured_pair()
    assert 0.2 < reference_ssim(restored, sharp) < 0.9
    assert_agrees_with_scikit_image(restored, sharp)


@settings(max_examples=25, deadline=None)
@given(st.integers(11, 90), st.integers(11, 90), st.integers(0, 2**32 - 1), st.sampled_from([3, 40, 255]))
def test_agrees_with_scikit_image_on_any_size(height: int, width: int, seed: int, amplitude: int) -> None:
    rng = np.random.default_rng(seed)
    sharp = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    noise = rng.integers(1, amplitude + 1, sharp.shape)
    restored = np.where(sharp >= 128, sharp - np.minimum(noise, sharp), np.minimum(sharp + noise, 255)).astype(np.uint8)
    assert_agrees_with_scikit_image(restored, sharp)


@pytest.mark.parametrize(("first", "second"), [(255, 254), (0, 1), (0, 255)])
def test_agrees_with_scikit_image_where_there_is_no_structure(first: int, second: int) -> None:
    # single precision is off by 6e-5 here
    flat = np.full((2, 40, 40, 3), [[[[first]]], [[[second]]]], dtype=np.uint8)
    assert_agrees_with_scikit_image(flat[0], flat[1])


def test_psnr_by_hand() -> None:
    sharp = np.full((11, 20, 3), 100, dtype=np.uint8)
    restored = sharp.copy()
    restored[0, 0] = (110, 100, 80)  # squared errors 100 and 400 over 660 values
    assert psnr(restored, sharp) == pytest.approx(10 * math.log10(255**2 * 660 / 500), abs=1e-12)
    assert psnr(sharp, restored) == psnr(restored, sharp)


def test_equal_images() -> None:
    image = random_codes(40, 50)
    assert psnr(image, image.copy()) == math.inf
    assert ssim(image, image.copy()) == pytest.approx(1, abs=1e-12)


def test_black_and_white_do_not_overflow() -> None:
    black, white = np.zeros((2, 600, 700, 3), dtype=np.uint8)
    white = white + 255
    assert psnr(black, white) == 0


def test_views_are_measured_as_they_look() -> None:
    restored, sharp = structured_pair()
    flipped = ssim(restored[::-1, ::-1], sharp[::-1, ::-1])
    assert flipped == pytest.approx(ssim(restored, sharp), abs=1e-12)
    assert psnr(restored[::2], sharp[::2]) == psnr(restored[::2].copy(), sharp[::2].copy())


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_inputs_are_left_as_they_are(metric: Metric) -> None:
    restored, sharp = structured_pair()
    before = restored.copy(), sharp.copy()
    metric(restored, sharp)
    np.testing.assert_array_equal(restored, before[0])
    np.testing.assert_array_equal(sharp, before[1])


@pytest.mark.parametrize("metric", [psnr, ssim])
@pytest.mark.parametrize(
    ("restored", "sharp", "named"),
    [
        (random_codes(20, 20), random_codes(20, 21), r"\(20, 20, 3\).*\(20, 21, 3\)"),
        (random_codes(10, 30), random_codes(10, 30), r"\(10, 30, 3\).*at least 11"),
        (random_codes(30, 10), random_codes(30, 10), r"\(30, 10, 3\).*at least 11"),
        (random_codes(20, 20)[..., 0], random_codes(20, 20)[..., 0], r"\(20, 20\)"),
        (random_codes(20, 20)[..., :1], random_codes(20, 20)[..., :1], r"\(20, 20, 1\)"),
        (random_codes(20, 20) / 255, random_codes(20, 20), "restored has dtype float64"),
        (random_codes(20, 20), random_codes(20, 20).astype(np.uint16), "sharp has dtype uint16"),
    ],
)
def test_other_arrays_are_refused(metric: Metric, restored: Codes, sharp: Codes, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        metric(restored, sharp)
