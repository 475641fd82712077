"""Metrics against slow references, written as MATLAB and scikit-image compute them."""

import math
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter  # type: ignore[import-untyped]
from scipy.signal import convolve2d  # type: ignore[import-untyped]
from skimage.metrics import structural_similarity

from blursynth.errors import RefusedError, SettingsError
from blursynth.model.evaluation.alignment import intensity_scale, realblur_scores
from blursynth.model.evaluation.definitions import METRICS, choose_metrics
from blursynth.model.evaluation.luma import full_luma, psnr_y, studio_luma
from blursynth.model.evaluation.structural import ms_ssim, ssim_3d, window_statistics
from blursynth.model.metrics import psnr, ssim

Codes = NDArray[np.uint8]
Plane = NDArray[np.float64]
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def pair(height: int, width: int, *, noise: float = 4.0) -> tuple[Codes, Codes]:
    """Coloured waves and a chequerboard, and their horizontal blur with noise."""
    y, x = np.mgrid[0:height, 0:width]
    red = 127.5 + 127.5 * np.sin(0.002 * x * y)
    green = np.where((x // 8 + y // 8) % 2 == 0, 230, 20)
    blue = np.clip(1.5 * x - 20, 0, 255)
    chart = np.stack([red, green, blue], axis=2)
    blurred = np.mean([np.roll(chart, shift, axis=1) for shift in range(-2, 3)], axis=0)
    blurred += np.random.default_rng(1).normal(0, noise, chart.shape)
    return np.clip(np.rint(blurred), 0, 255).astype(np.uint8), np.rint(chart).astype(np.uint8)


def ssim_of_volume(restored: Codes, sharp: Codes) -> float:
    """One Gaussian along each of three axes, borders repeated: what MATLAB's ssim does with an array of three axes."""

    def means(volume: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(gaussian_filter(volume, 1.5, mode="nearest", radius=5))

    a, b = restored.astype(float), sharp.astype(float)
    mu, nu = means(a), means(b)
    covariance = means(a * b) - mu * nu
    variances = means(a * a) - mu**2 + means(b * b) - nu**2
    values = (2 * mu * nu + C1) * (2 * covariance + C2) / ((mu**2 + nu**2 + C1) * (variances + C2))
    return float(values.mean())


def gaussian_window() -> Plane:
    offsets = np.arange(-5, 6)
    window = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    return np.asarray(window / window.sum())


def wang_ms_ssim(first: Plane, second: Plane) -> float:
    """Five scales of one channel, with whole two-dimensional windows and MATLAB's symmetric borders."""
    window = gaussian_window()
    weights = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333]
    terms = []
    for _ in weights:
        mu, nu = convolve2d(first, window, "valid"), convolve2d(second, window, "valid")
        variance = convolve2d(first**2, window, "valid") - mu**2
        other = convolve2d(second**2, window, "valid") - nu**2
        covariance = convolve2d(first * second, window, "valid") - mu * nu
        structure = (2 * covariance + C2) / (variance + other + C2)
        luminance = (2 * mu * nu + C1) / (mu**2 + nu**2 + C1)
        terms.append((float((luminance * structure).mean()), float(structure.mean())))
        first, second = (
            convolve2d(np.pad(plane, ((0, 1), (0, 1)), mode="symmetric"), np.ones((2, 2)) / 4, "valid")[::2, ::2]
            for plane in (first, second)
        )
    structures = [structure for _, structure in terms[:-1]]
    return float(np.prod(np.power(structures, weights[:-1])) * terms[-1][0] ** weights[-1])


@pytest.mark.parametrize(("height", "width"), [(11, 11), (12, 40), (61, 47)])
def test_ssim_3d_is_ssim_of_the_volume(height: int, width: int) -> None:
    restored, sharp = pair(height, width)
    assert ssim_3d(restored, sharp) == pytest.approx(ssim_of_volume(restored, sharp), abs=1e-9)


def test_ssim_3d_of_one_window_by_its_definition() -> None:
    """Eleven to the third products for every value of a volume of three channels, without separating anything."""
    rng = np.random.default_rng(3)
    a, b = rng.integers(0, 256, (2, 11, 11, 3)).astype(float)
    taps = np.exp(-(np.arange(-5, 6) ** 2) / 4.5)
    taps /= taps.sum()
    window = taps[:, None, None] * taps[:, None] * taps

    def mean(volume: NDArray[np.float64], y: int, x: int, c: int) -> float:
        padded = np.pad(volume, 5, mode="edge")
        return float((padded[y : y + 11, x : x + 11, c : c + 11] * window).sum())

    values = []
    for y, x, c in np.ndindex(11, 11, 3):
        mu, nu = mean(a, y, x, c), mean(b, y, x, c)
        covariance = mean(a * b, y, x, c) - mu * nu
        variances = mean(a * a, y, x, c) - mu**2 + mean(b * b, y, x, c) - nu**2
        values.append((2 * mu * nu + C1) * (2 * covariance + C2) / ((mu**2 + nu**2 + C1) * (variances + C2)))
    assert ssim_3d(a.astype(np.uint8), b.astype(np.uint8)) == pytest.approx(np.mean(values), abs=1e-9)


def test_ssim_3d_sees_grey_pictures_as_ssim_with_borders_does() -> None:
    restored, sharp = pair(64, 48)
    grey = [np.repeat(image[..., :1], 3, axis=2) for image in (restored, sharp)]
    padded = [np.pad(image, ((5, 5), (5, 5), (0, 0)), mode="edge") for image in grey]
    assert ssim_3d(grey[0], grey[1]) == pytest.approx(ssim(padded[0], padded[1]), abs=1e-9)


@pytest.mark.parametrize(("height", "width"), [(176, 176), (181, 203), (200, 177)])
def test_ms_ssim_is_wangs_on_every_channel(height: int, width: int) -> None:
    restored, sharp = pair(height, width)
    channels = [
        wang_ms_ssim(*(image[..., channel].astype(float) for image in (restored, sharp))) for channel in (0, 1, 2)
    ]
    assert ms_ssim(restored, sharp) == pytest.approx(np.mean(channels), abs=1e-9)
    assert 0.3 < ms_ssim(restored, sharp) < 0.999


def test_ms_ssim_of_opposites_is_not_negative_or_complex() -> None:
    _, sharp = pair(176, 176)
    assert 0 <= ms_ssim(255 - sharp, sharp) < 0.1


def test_ms_ssim_says_what_is_too_small() -> None:
    with pytest.raises(SettingsError, match=r"ms-ssim of 180x175 px.*176"):
        ms_ssim(*pair(175, 180))


def test_psnr_y_by_hand() -> None:
    sharp = np.full((20, 20, 3), 100, np.uint8)
    restored = sharp.copy()
    restored[:10] += np.array([10, 20, 30], np.uint8)
    step = (10 * 65.481 + 20 * 128.553 + 30 * 24.966) / 255
    assert psnr_y(restored, sharp) == pytest.approx(10 * math.log10(255**2 / (step**2 / 2)), abs=1e-9)
    assert psnr_y(sharp, restored) == psnr_y(restored, sharp)
    assert psnr_y(sharp, sharp) == math.inf


def test_luma_has_the_levels_of_bt601() -> None:
    corners = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    np.testing.assert_allclose(studio_luma(corners), [[16, 235, 81.481, 144.553, 40.966]], atol=1e-9)
    np.testing.assert_allclose(full_luma(corners), [[0, 255, 76.245, 149.685, 29.07]], atol=1e-9)


def test_psnr_y_is_the_psnr_of_studio_luma_and_higher_than_of_rgb() -> None:
    restored, sharp = pair(64, 80)
    error = float(np.square(studio_luma(restored) - studio_luma(sharp)).mean())
    assert psnr_y(restored, sharp) == pytest.approx(10 * math.log10(255**2 / error), abs=1e-9)
    grey = [np.repeat(image[..., :1], 3, axis=2) for image in (restored, sharp)]
    assert psnr_y(grey[0], grey[1]) - psnr(grey[0], grey[1]) == pytest.approx(20 * math.log10(255 / 219), abs=1e-9)


def test_window_statistics_are_those_of_scikit_image() -> None:
    restored, sharp = pair(50, 60)
    found = window_statistics(restored.astype(float), sharp.astype(float)).similarity()
    _, full = structural_similarity(  # type: ignore[no-untyped-call]
        restored,
        sharp,
        channel_axis=2,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=255,
        full=True,
    )
    np.testing.assert_allclose(found, full[5:-5, 5:-5], atol=1e-9)


@pytest.mark.parametrize("name", ["psnr", "psnr-y", "ssim", "ssim-3d", "ms-ssim"])
def test_every_metric_knows_equal_pictures_and_leaves_its_inputs_alone(name: str) -> None:
    restored, sharp = pair(180, 190)
    before = restored.copy(), sharp.copy()
    metric = METRICS[name]
    worse, equal = metric.score(restored, sharp), metric.score(sharp, sharp.copy())
    assert metric.is_higher_better
    assert worse < equal
    assert equal == (math.inf if metric.unit else pytest.approx(1, abs=1e-12))
    assert worse == metric.score(restored, sharp)
    np.testing.assert_array_equal(restored, before[0])
    np.testing.assert_array_equal(sharp, before[1])


@pytest.mark.parametrize("score", [psnr_y, ssim_3d, ms_ssim, realblur_scores])
def test_other_arrays_are_refused(score: Callable[[Codes, Codes], object]) -> None:
    restored, sharp = pair(180, 180)
    with pytest.raises(ValueError, match="sharp has dtype float64"):
        score(restored, sharp / 255)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\(180, 179, 3\)"):
        score(restored[:, 1:], sharp)


def test_metrics_are_chosen_by_name_and_explain_themselves() -> None:
    assert [metric.name for metric in choose_metrics(["ssim", "psnr"])] == ["ssim", "psnr"]
    assert list(METRICS) == [metric.name for metric in METRICS.values()]
    assert len({metric.definition for metric in METRICS.values()}) == len(METRICS)
    assert all(len(metric.definition) <= 100 and metric.definition.isprintable() for metric in METRICS.values())
    with pytest.raises(
        SettingsError, match="'fid' is unknown; choose from psnr, psnr-y, ssim, ssim-3d, ms-ssim, lpips"
    ):
        choose_metrics(["psnr", "fid"])
    with pytest.raises(SettingsError, match="'psnr' is given twice"):
        choose_metrics(["psnr", "psnr"])
    with pytest.raises(SettingsError, match="no metric"):
        choose_metrics([])


def smooth_picture(height: int, width: int) -> Plane:
    rng = np.random.default_rng(7)
    picture = np.stack([gaussian_filter(rng.random((height, width)), 3) for _ in range(3)], axis=2)
    picture -= picture.min()
    return np.asarray(picture / picture.max() * 200 + 20)


def seen_from(picture: Plane, matrix: NDArray[np.float64]) -> Codes:
    size = (picture.shape[1], picture.shape[0])
    moved = cv2.warpPerspective(picture, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    return np.clip(np.rint(moved), 0, 255).astype(np.uint8)


def test_realblur_aligns_a_dimmed_turned_picture() -> None:
    picture = smooth_picture(120, 160)
    turn = np.array([[1.01, 0.012, -2.3], [-0.008, 0.995, 1.7], [1e-5, -2e-5, 1]])
    restored, sharp = seen_from(picture * 0.7, turn), np.rint(picture).astype(np.uint8)
    found_psnr, found_ssim = realblur_scores(restored, sharp)
    assert psnr(restored, sharp) < 20
    assert found_psnr > 40
    assert found_ssim > 0.98


def test_realblur_is_plain_where_nothing_is_to_be_aligned() -> None:
    sharp = np.rint(smooth_picture(100, 130)).astype(np.uint8)
    noise = np.random.default_rng(0).integers(-6, 7, sharp.shape)
    restored = (sharp + noise).astype(np.uint8)
    found_psnr, found_ssim = realblur_scores(restored, sharp)
    assert found_psnr == pytest.approx(psnr(restored, sharp), abs=0.3)
    assert found_ssim == pytest.approx(ssim(restored, sharp), abs=0.03)


def test_realblur_follows_the_authors_steps() -> None:
    picture = smooth_picture(90, 110)
    restored = seen_from(picture * 0.8 + 5, np.array([[1, 0, 3.4], [0, 1, -2.2], [0, 0, 1.0]]))
    sharp = np.rint(picture).astype(np.uint8)
    x, z = (image.astype(np.float32) / 255 for image in (sharp, restored))
    z = z * np.float32((x * z).sum() / (z * z).sum())
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 100, 0)
    first, second = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (x, z))
    everywhere = np.ones((90, 110), np.uint8)
    start = np.eye(3, dtype=np.float32)
    _, matrix = cv2.findTransformECC(first, second, start, cv2.MOTION_HOMOGRAPHY, criteria, everywhere, 5)
    inverse = cv2.WARP_INVERSE_MAP
    size = (110, 90)
    aligned = cv2.warpPerspective(z, matrix, size, flags=cv2.INTER_CUBIC + inverse, borderMode=cv2.BORDER_REFLECT)
    mask = cv2.warpPerspective(np.ones_like(x), matrix, size, flags=cv2.INTER_NEAREST + inverse)
    assert 0.8 < mask.mean() < 1  # a part is not seen
    z, x = np.asarray(aligned * mask), x * mask
    expected_psnr = 10 * np.log10(1 / (np.square(x - z, dtype=np.float64).sum() / mask.sum(dtype=np.float64)))
    _, full = structural_similarity(  # type: ignore[no-untyped-call]
        x.astype(float),
        z.astype(float),
        channel_axis=2,
        gaussian_weights=True,
        use_sample_covariance=False,
        data_range=1.0,
        full=True,
    )
    inside = mask[5:-5, 5:-5]
    expected_ssim = np.mean((full[5:-5, 5:-5] * inside).sum(axis=(0, 1)) / inside.sum(axis=(0, 1)))
    found = realblur_scores(restored, sharp)
    assert found[0] == pytest.approx(expected_psnr, abs=1e-3)
    assert found[1] == pytest.approx(expected_ssim, abs=1e-5)


def test_intensity_is_matched_by_least_squares() -> None:
    z = np.random.default_rng(0).random((20, 20, 3))
    assert intensity_scale(z, 1.7 * z) == pytest.approx(1.7)
    errors = [np.square(0.4 * z + 0.1 - scale * z).sum() for scale in np.linspace(0.3, 0.9, 601)]
    assert np.linspace(0.3, 0.9, 601)[np.argmin(errors)] == pytest.approx(intensity_scale(z, 0.4 * z + 0.1), abs=1e-3)


def test_realblur_refuses_what_cannot_be_aligned() -> None:
    _, sharp = pair(60, 60)
    with pytest.raises(RefusedError, match="black"):
        realblur_scores(np.zeros_like(sharp), sharp)
    with pytest.raises(RefusedError, match="alignment"):
        realblur_scores(np.full_like(sharp, 90), sharp)
