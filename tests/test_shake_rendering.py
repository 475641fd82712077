from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from blursynth.crf import response_curve
from blursynth.errors import PhotoError, SettingsError
from blursynth.shake import (
    GyroLog,
    Layers,
    ShakeRule,
    Trajectory,
    draw_layers,
    draw_trajectory,
    expose,
    homographies,
    trajectory_of_gyro,
)
from blursynth.shake.kernel import render
from blursynth.shake.rendering import Shaken, shaken

Linear = NDArray[np.float32]
SRGB = response_curve("srgb")
FOCAL_PX = 400.0


def slide(x_px: float, y_px: float = 0.0) -> Trajectory:
    """Let the camera move sideways, steadily, so that the far layer moves by so much."""
    poses = np.zeros((2, 6))
    poses[:, 3] = np.array([-0.5, 0.5]) * x_px / FOCAL_PX
    poses[:, 4] = np.array([-0.5, 0.5]) * y_px / FOCAL_PX
    return Trajectory(np.array([0.0, 1.0]), poses, FOCAL_PX, 0.1, 0.0, "gyro")


def turning(rates: NDArray[np.float64], *, readout: float = 0.0) -> Trajectory:
    """Turn with these rates, rad/s, evenly spread over a second of which the middle tenth is exposed."""
    return trajectory_of_gyro(
        GyroLog(np.linspace(0, 1, len(rates)), rates), 0.45, 0.1, FOCAL_PX, readout_fraction=readout
    )


def texture(height: int, width: int, seed: int = 0) -> Linear:
    """Light from dark to clipping with detail of some pixels."""
    codes = np.random.default_rng(seed).integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    return SRGB.to_linear(np.asarray(cv2.resize(codes, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8))


def points(places: list[tuple[int, int]], size: tuple[int, int] = (240, 320)) -> Linear:
    photo = np.zeros((*size, 3), np.float32)
    for x, y in places:
        photo[y, x] = 8
    return photo


def spread(result: Shaken, x: int, y: int, *, reach: int = 30) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the centroid, relative to (x, y), and covariance of the light around a point."""
    top, left = y - reach - result.top, x - reach - result.left
    light = result.blurry_linear[top : top + 2 * reach + 1, left : left + 2 * reach + 1, 0].astype(np.float64)
    here = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1.0)] * 2), axis=-1).reshape(-1, 2)
    weights = light.ravel() / light.sum()
    mean = weights @ here
    return mean, (here - mean).T @ ((here - mean) * weights[:, None])


def streak_length(covariance: NDArray[np.float64]) -> float:
    """Length of a uniform streak; bilinear interpolation adds a sixth of a square pixel."""
    return float(np.sqrt(12 * (np.linalg.eigvalsh(covariance)[-1] - 1 / 6)))


@pytest.mark.parametrize("kind", ["boracchi-foi", "tremor"])
@pytest.mark.parametrize("readout", ["0", "0.4"])
def test_a_point_draws_the_trajectory_and_keeps_its_light_and_place(kind: str, readout: str) -> None:
    for key in range(3):
        rule = ShakeRule(blur_px="20", trajectory=kind, readout=readout)
        trajectory = draw_trajectory(rule, key, (240, 320))
        result = shaken(points([(160, 120)]), trajectory)
        assert result.blurry_linear.min() >= 0
        assert result.blurry_linear[..., 0].sum() == pytest.approx(8, rel=0.01)
        mean, covariance = spread(result, 160, 120)
        assert np.hypot(*mean) < 0.25
        pixels = trajectory.focal_px * trajectory.at((np.arange(2000) + 0.5) / 2000)
        path = -np.stack([pixels[:, 1] + pixels[:, 3], pixels[:, 4] - pixels[:, 0]])  # light moves against the camera
        np.testing.assert_allclose(covariance, np.cov(path) + np.eye(2) / 6, atol=0.06 * np.trace(np.cov(path)) + 0.1)


def test_a_steady_slide_is_a_box_filter() -> None:
    x = np.arange(200)
    for length, period in ((6, 16), (9, 12), (2, 5)):
        wave = 0.5 + 0.2 * np.cos(2 * np.pi * x / period)
        photo = np.broadcast_to(wave[None, :, None], (60, 200, 3)).astype(np.float32)
        result = shaken(photo, slide(length), step_px=0.1)
        here = np.arange(result.left, result.left + result.blurry_linear.shape[1])
        expected = 0.5 + 0.2 * np.sinc(length / period) * np.cos(2 * np.pi * here / period)
        error = np.abs(result.blurry_linear - expected[None, :, None]).max()
        assert error < 0.006  # bilinear interpolation: 0.020 for the last
        assert result.motion_p50_px == pytest.approx(length, abs=0.11)


def test_light_that_does_not_vary_stays_as_it_is_everywhere() -> None:
    codes = np.full((120, 160, 3), (7, 128, 255), np.uint8)
    for key in range(6):
        rule = ShakeRule(blur_px="14", layers="3", readout="0.5")
        photo = SRGB.to_linear(codes)
        result = shaken(photo, draw_trajectory(rule, key, (120, 160)), draw_layers(rule, key, (120, 160)))
        np.testing.assert_allclose(result.blurry_linear - photo[0, 0], 0, atol=1e-6)
        np.testing.assert_allclose(result.saturation - np.array([0, 0, 1]), 0, atol=1e-6)
        assert (SRGB.from_linear(result.blurry_linear) == codes[0, 0]).all()


def test_nothing_outside_the_photo_is_ever_read() -> None:
    size, frame = (100, 140), 12
    for key in range(8):
        rule = ShakeRule(blur_px="12", layers="2", readout="0.5")
        trajectory, layers = draw_trajectory(rule, key, size), draw_layers(rule, key, size)
        photo = texture(*size)
        result = shaken(photo, trajectory, layers)
        framed = np.pad(np.moveaxis(photo, -1, 0), ((0, 0), (frame, frame), (frame, frame)), constant_values=np.nan)
        alphas = np.pad(layers.alphas, ((0, 0), (frame, frame), (frame, frame)), constant_values=np.nan)
        exposure = expose(trajectory, size, depths=layers.depths)
        shift = np.array([[1, 0, frame], [0, 1, frame], [0, 0, 1.0]])
        matrices = np.stack(
            [
                shift
                @ homographies(
                    exposure.rotations, exposure.translations, focal_px=trajectory.focal_px, size=size, depth=depth
                )
                @ np.linalg.inv(shift)
                for depth in layers.depths
            ]
        )
        pads = ((0, 0), (frame, frame), (0, 0), (0, 0), (0, 0))
        matrices = np.pad(matrices, pads, mode="edge")
        weights = np.pad(exposure.weights, (pads[1], (0, 0)), mode="edge").astype(np.float32)
        means = np.empty((3, *result.blurry_linear.shape[:2]), np.float32)
        render(framed, 3, alphas, matrices, weights, result.top + frame, result.left + frame, means)
        np.testing.assert_allclose(np.moveaxis(means, 0, -1), result.blurry_linear, atol=2e-5)


def test_the_sharp_image_is_the_photo_itself() -> None:
    photo = texture(96, 128)
    before = photo.copy()
    rule = ShakeRule(blur_px="8", readout="0.5", layers="2")
    trajectory, layers = draw_trajectory(rule, 1, (96, 128)), draw_layers(rule, 1, (96, 128))
    for size, key in ((None, None), ((64, 80), None), ((64, 80), 5)):
        result = shaken(photo, trajectory, layers, size=size, key=key)
        height, width = result.blurry_linear.shape[:2]
        part = photo[result.top : result.top + height, result.left : result.left + width]
        assert (result.sharp_linear == part).all()
        assert not np.shares_memory(result.sharp_linear, photo)
        assert size is None or (height, width) == size
        if key is None:
            assert abs(96 - height - 2 * result.top) <= 1
            assert abs(128 - width - 2 * result.left) <= 1
    places = {(r.top, r.left) for r in (shaken(photo, trajectory, size=(64, 80), key=key) for key in range(8))}
    assert len(places) > 4
    assert (photo == before).all()


def test_a_part_is_the_same_wherever_it_is_cut_out() -> None:
    photo = texture(96, 128)
    trajectory = draw_trajectory(ShakeRule(blur_px="8", readout="0.5"), 1, (96, 128))
    whole, part = shaken(photo, trajectory), shaken(photo, trajectory, size=(40, 50), key=3)
    top, left = part.top - whole.top, part.left - whole.left
    np.testing.assert_allclose(part.blurry_linear, whole.blurry_linear[top : top + 40, left : left + 50], atol=1e-6)


def test_almost_no_motion_changes_almost_nothing() -> None:
    photo = texture(96, 128)
    still = Trajectory(np.array([0.0, 1.0]), np.zeros((2, 6)), FOCAL_PX, 0.1, 0.0, "gyro")
    result = shaken(photo, still, draw_layers(ShakeRule(layers="3"), 1, (96, 128)))
    assert result.num_poses == 1
    np.testing.assert_allclose(result.blurry_linear, result.sharp_linear, atol=1e-6)
    result = shaken(photo, slide(0.1, 0.1))
    codes, sharp = (SRGB.from_linear(image).astype(int) for image in (result.blurry_linear, result.sharp_linear))
    assert np.abs(codes - sharp).max() <= 1


def test_a_roll_blurs_in_proportion_to_the_distance_from_the_centre() -> None:
    rates = np.tile([0, 0, 2.0], (101, 1))  # 0.2 rad in the exposure
    result = shaken(points([(160 + r, 120) for r in (40, 80)]), turning(rates))
    for radius in (40, 80):
        mean, covariance = spread(result, 160 + radius, 120, reach=19)
        chord = 2 * np.hypot(radius + 0.5, 0.5) * np.sin(0.1)
        assert streak_length(covariance) == pytest.approx(chord, rel=0.02)
        assert abs(covariance[0, 0]) < 0.1 * covariance[1, 1]
        assert np.hypot(*mean) < 0.25


def test_a_rolling_shutter_exposes_rows_one_after_the_other() -> None:
    rates = np.zeros((101, 3))
    rates[:, 1] = np.linspace(-4.5, 5.5, 101)  # 0.5 rad/s in the middle of the exposure, 10 rad/s^2
    result = shaken(points([(160, 60), (160, 120), (160, 180)]), turning(rates, readout=0.6))
    for y in (60, 120, 180):
        when = 0.1 * 0.6 * ((y + 0.5) / 240 - 0.5)
        # The spread of a t + s t^2 / 2 over an exposure T is that of a streak of this length.
        length = FOCAL_PX * np.hypot(0.1 * (0.5 + 10 * when), 10 * 0.1**2 / np.sqrt(60))
        mean, covariance = spread(result, 160, y)
        assert streak_length(covariance) == pytest.approx(length, rel=0.01)
        assert np.hypot(*mean) < 0.25


def test_a_rolling_shutter_leaves_no_bands() -> None:
    wave = 0.5 + 0.3 * np.sin(np.arange(240) / 3)
    photo = np.broadcast_to(wave[None, :, None], (180, 240, 3)).astype(np.float32)
    rates = np.random.default_rng(3).normal(size=(41, 3)) * [0.5, 2, 0.5]  # a turn at every 2.5 % of a second
    result = shaken(photo, turning(rates, readout=0.8), step_px=0.25)
    across_rows = np.diff(result.blurry_linear[..., 0], axis=0)
    assert np.abs(across_rows).max() > 1e-4  # rows differ
    assert np.abs(np.diff(across_rows, axis=0)).max() < 4e-3  # but smoothly: less than a code per row


def test_a_near_layer_moves_more_and_hides_what_is_behind() -> None:
    alphas = np.zeros((1, 240, 320), np.float32)
    alphas[:, 120:] = 1
    result = shaken(points([(160, 60), (160, 180)]), slide(10), Layers((1.0, 0.5), alphas), step_px=0.1)
    for y, length in ((60, 10), (180, 20)):
        mean, covariance = spread(result, 160, y)
        assert streak_length(covariance) == pytest.approx(length, rel=0.02)
        assert np.hypot(*mean) < 0.02
    assert result.motion_max_px == pytest.approx(20, abs=0.25)
    half = Layers((1.0, 0.5), np.full((1, 240, 320), 0.5, np.float32))
    both = shaken(points([(160, 60)]), slide(10), half, step_px=0.1).blurry_linear[60 - 2 :, :, 0].sum(axis=0)
    far, near = (shaken(points([(160, 60)]), slide(n), step_px=0.1) for n in (10, 20))
    wanted = np.zeros(320)
    for one in (far, near):
        wanted[one.left : one.left + one.blurry_linear.shape[1]] += one.blurry_linear[..., 0].sum(axis=0) / 2
    margin = (320 - both.size) // 2
    np.testing.assert_allclose(both, wanted[margin : margin + both.size], atol=0.01)


def test_saturation_is_the_time_spent_at_the_clipping_code() -> None:
    photo = np.full((80, 120, 3), 0.1, np.float32)
    photo[30:50, 40:80, 1] = 1.0
    photo[30:50, 40:80, 0] = 0.999
    result = shaken(photo, slide(10), step_px=0.1)
    assert result.saturation[..., [0, 2]].max() == 0
    row = result.saturation[40 - result.top, :, 1]
    here = np.arange(result.left, result.left + row.size)
    expected = np.clip((25 - np.abs(here - 59.5)) / 10, 0, 1)  # a ramp of 10 px at both ends
    np.testing.assert_allclose(row, expected, atol=0.02)
    assert result.saturation.min() >= 0
    assert result.saturation.max() <= 1


def test_lamps_leave_no_dark_halo_and_their_streak_no_gap() -> None:
    photo = np.full((120, 160, 3), 0.01, np.float32)
    cv2.circle(photo, (80, 60), 3, (16.0, 16.0, 16.0), -1)
    for key in range(4):
        trajectory = draw_trajectory(ShakeRule(blur_px="14"), key, (120, 160))
        result = shaken(photo, trajectory)
        assert result.blurry_linear.min() > 0.01 * 0.75  # Keys' kernel alone: nothing is left of the ground
        light = (result.blurry_linear[..., 0] - 0.01).sum()
        assert light == pytest.approx((photo[..., 0] - 0.01).sum(), rel=0.01)
    line = shaken(photo, slide(18)).blurry_linear[:, :, 0]
    middle = line[line.max(axis=1).argmax()]
    assert np.abs(np.diff(middle, 2)).max() < 1.0  # no beads: the streak rises by 16 / 18 a pixel and falls again
    plateau = middle[middle > 0.95 * middle.max()]
    assert plateau.size >= 10


def test_bytes_do_not_depend_on_threads_or_order() -> None:
    photo, size = texture(96, 128), (96, 128)

    def make(key: int) -> bytes:
        rule = ShakeRule(blur_px="4-10")
        result = shaken(photo, draw_trajectory(rule, key, size), draw_layers(rule, key, size), size=(48, 64), key=key)
        return result.blurry_linear.tobytes() + result.saturation.tobytes() + result.sharp_linear.tobytes()

    alone = [make(key) for key in range(8)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(make, reversed(range(8))))
    assert together[::-1] == alone
    assert len(set(alone)) == 8


def test_photos_that_do_not_do_are_refused() -> None:
    trajectory = slide(10)
    with pytest.raises(PhotoError, match=r"24x24 px: .* are needed"):
        shaken(np.zeros((24, 24, 3), np.float32), trajectory)
    with pytest.raises(PhotoError, match=r"90x90 px are needed; take a larger photo"):
        shaken(np.zeros((100, 100, 3), np.float32), trajectory, size=(90, 90))
    with pytest.raises(PhotoError, match="needed"):
        shaken(np.zeros((100, 100, 3), np.float32), trajectory, size=(0, 10))
    good = np.zeros((60, 60, 3), np.float32)
    bad: list[NDArray[Any]] = [
        good[..., 0],
        good.astype(np.float64),
        good[..., :2],
        good * np.nan,
        good - 1,
        good + np.inf,
    ]
    for photo in bad:
        with pytest.raises(SettingsError, match="photo"):
            shaken(photo, trajectory)
    with pytest.raises(SettingsError, match="masks of"):
        shaken(good, trajectory, Layers((1.0, 0.5), np.zeros((1, 50, 60), np.float32)))


def centroid_offset(blurry: Linear, sharp: Linear) -> NDArray[np.float64]:
    """Offset of the centroid of the blur, x and y, from coarse versions B and S of the images.

    B - S = -offset . grad S + half the covariance : Hessian S, which is solved for both by least squares.
    """
    sigma = 20.0
    coarse_blurry, coarse = (cv2.GaussianBlur(i.mean(axis=2, dtype=np.float64), (0, 0), sigma) for i in (blurry, sharp))
    down, right = np.gradient(coarse)
    design = np.stack([-right, -down, *np.gradient(right), np.gradient(down)[0]])
    inside = (slice(None), slice(60, -60), slice(60, -60))
    answer = np.linalg.lstsq(design[inside].reshape(5, -1).T, (coarse_blurry - coarse)[inside[1:]].ravel(), rcond=None)
    return np.asarray(answer[0][:2])


@pytest.mark.shared
def test_pairs_of_real_photos_are_aligned(shared: Path) -> None:
    for key, name in enumerate(("opensfm-lund_images_08", "kodak24-PhotoCD_PCD0992_16", "kodak24-PhotoCD_PCD0992_05")):
        codes: Any = cv2.imread(str(shared / "photos" / f"{name}.jpg"))
        photo = SRGB.to_linear(np.ascontiguousarray(codes[:512, :768, ::-1]))
        for kind in ("boracchi-foi", "tremor"):
            rule = ShakeRule(blur_px="16", trajectory=kind, layers="2", readout="0.4")
            size = (photo.shape[0], photo.shape[1])
            result = shaken(photo, draw_trajectory(rule, key, size), draw_layers(rule, key, size))
            offset = centroid_offset(result.blurry_linear, result.sharp_linear)
            assert np.hypot(*offset) < 0.25
            assert 0.9 < result.blurry_linear.mean() / result.sharp_linear.mean() < 1.1
