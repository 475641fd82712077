"""Sub-frames against scenes whose motion is known."""

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from blursynth.crf import response_curve
from blursynth.decoding import decode, to_rgb
from blursynth.errors import SettingsError
from blursynth.interpolate import Gap, Interpolator, Motion, sub_frames_for
from blursynth.video import describe
from samples import moving_texture

Codes = NDArray[np.uint8]
Light = NDArray[np.float32]
CURVE = response_curve("gamma:2.2")


@pytest.fixture
def any_threads() -> Iterator[None]:
    before = cv2.getNumThreads()
    yield
    cv2.setNumThreads(before)


def luma(codes: Codes) -> Codes:
    weighted: NDArray[np.float64] = codes @ np.array([0.2126, 0.7152, 0.0722])
    return np.rint(weighted).astype(np.uint8)


def gap_of(before: Codes, after: Codes) -> tuple[Gap, Light, Light]:
    return Gap(luma(before), luma(after)), CURVE.to_linear(before), CURVE.to_linear(after)


def psnr(codes: Codes, truth: Codes) -> float:
    error = float(np.mean((codes.astype(np.float64) - truth) ** 2))
    return 10 * math.log10(255**2 / max(error, 1e-9))


def noise_texture(height: int, width: int, seed: int) -> NDArray[np.float64]:
    noise = np.random.default_rng(seed).normal(size=(height, width, 3))
    blurs = [np.asarray(cv2.GaussianBlur(noise, (0, 0), size)) * size for size in (1.5, 4.0, 10.0)]
    texture: NDArray[np.float64] = np.stack(blurs).sum(0)
    return np.asarray((texture - texture.mean()) / texture.std())


def square_over_texture(speed: float, num_frames: int = 3) -> Codes:
    """(T, 200, 280, 3): a textured square moves over another texture by ``speed`` px in all."""
    ground, square = 125 + 40 * noise_texture(200, 280, 0), 125 + 50 * noise_texture(80, 80, 1)
    frames = []
    for t in range(num_frames):
        shift = np.array([[1, 0, 80 + speed * t / (num_frames - 1)], [0, 1, 60]])
        moved = cv2.warpAffine(square, shift, (280, 200), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        cover = cv2.warpAffine(np.ones((80, 80)), shift, (280, 200))[..., None]
        frames.append(np.clip(np.rint(cover * moved + (1 - cover) * ground), 0, 255).astype(np.uint8))
    return np.stack(frames)


def test_nothing_changes_where_nothing_moves() -> None:
    frame = moving_texture(1, 120, 160)[0]
    gap, light, _ = gap_of(frame, frame)
    assert gap.speed_px < 0.01
    for fraction in (0.1, 0.5, 0.9):
        assert np.abs(gap.between(light, light, fraction) - light).max() < 1e-3


def test_flicker_without_motion_is_a_cross_fade() -> None:
    frame = moving_texture(1, 120, 160)[0]
    gap, light, _ = gap_of(frame, frame)
    brighter = light * np.float32(1.5)
    assert np.allclose(gap.between(light, brighter, 0.25), 1.125 * light, atol=1e-3)


@pytest.mark.parametrize("speed", [1.5, 3.0, 4.5])
def test_a_moving_texture_is_where_it_should_be_at_each_time(speed: float) -> None:
    frames = moving_texture(5, 128, 192, speed=speed / 4)
    gap, before, after = gap_of(frames[0], frames[4])
    assert gap.speed_px == pytest.approx(speed, rel=0.1, abs=0.2)
    for t in (1, 2, 3):
        found = CURVE.from_linear(gap.between(before, after, t / 4))
        assert psnr(found[16:-16, 16:-16], frames[t, 16:-16, 16:-16]) > 40


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("direction", [1, -1])
def test_what_enters_at_a_border_is_neither_black_nor_smeared(axis: int, direction: int) -> None:
    wide = np.clip(np.rint(140 + 35 * noise_texture(160, 160, 2)), 60, 255).astype(np.uint8)
    frames = [np.roll(wide, -direction * shift, axis)[20:140, 20:140] for shift in (0, 5, 10)]
    gap, before, after = gap_of(frames[0], frames[2])
    middle = gap.between(before, after, 0.5)
    assert middle.min() > 0.95 * before.min()
    assert middle.max() <= 1.0001
    border = np.ones((120, 120), np.bool_)
    border[10:-10, 10:-10] = False
    found, faded = CURVE.from_linear(middle), CURVE.from_linear((before + after) / 2)
    assert psnr(found[border], frames[1][border]) > psnr(faded[border], frames[1][border]) + 3


@pytest.mark.parametrize("speed", [6, 10, 14, 20])
def test_what_is_covered_and_uncovered_leaves_no_double_edges(speed: int) -> None:
    first, truth, last = square_over_texture(speed)
    gap, before, after = gap_of(first, last)
    found, faded = CURVE.from_linear(gap.between(before, after, 0.5)), CURVE.from_linear((before + after) / 2)
    moving = np.zeros(truth.shape[:2], np.bool_)
    moving[50:150, 70 : 170 + speed] = True
    assert psnr(found[moving], truth[moving]) > psnr(faded[moving], truth[moving]) + 7


def test_blur_with_sub_frames_is_nearer_to_a_long_exposure() -> None:
    frames = square_over_texture(12, 13)
    light = CURVE.to_linear(frames)
    truth = CURVE.from_linear(light.mean(0, dtype=np.float64))
    total = (light[0] + light[12]) / 13
    gap = Gap(luma(frames[0]), luma(frames[12]))
    gap.add(light[0], light[12], [t / 12 for t in range(1, 12)], [1 / 13] * 11, total)
    assert psnr(CURVE.from_linear(total), truth) > psnr(CURVE.from_linear((light[0] + light[12]) / 2), truth) + 10


def test_add_adds_what_between_returns_and_leaves_its_inputs_alone() -> None:
    first, _, last = square_over_texture(9)
    planes = luma(first), luma(last)
    kept = [plane.copy() for plane in planes]
    gap = Gap(*planes)
    before, after = CURVE.to_linear(first), CURVE.to_linear(last)
    lights = before.copy(), after.copy()
    total = np.ones_like(before)
    gap.add(before, after, [0.25, 0.75], [0.5, 2.0], total)
    expected = 1 + 0.5 * gap.between(before, after, 0.25) + 2 * gap.between(before, after, 0.75)
    assert np.allclose(total, expected, atol=1e-5)
    assert all(np.array_equal(now, then) for now, then in zip(planes, kept, strict=True))
    assert all(np.array_equal(now, then) for now, then in zip((before, after), lights, strict=True))
    gap.add(before, after, [], [], total)
    assert np.allclose(total, expected, atol=1e-5)


def test_six_channels_are_treated_as_three_are() -> None:
    first, _, last = square_over_texture(9)
    gap, before, after = gap_of(first, last)
    six = gap.between(np.dstack([before, before[..., ::-1]]), np.dstack([after, after[..., ::-1]]), 0.5)
    three = gap.between(before, after, 0.5)
    assert np.array_equal(six, np.dstack([three, three[..., ::-1]]))


def test_time_runs_both_ways() -> None:
    first, _, last = square_over_texture(8)
    gap, before, after = gap_of(first, last)
    back = Gap(luma(last), luma(first))
    assert np.allclose(gap.between(before, after, 0.25), back.between(after, before, 0.75), atol=1e-5)


@pytest.mark.usefixtures("any_threads")
def test_bytes_do_not_depend_on_the_number_of_threads() -> None:
    first, _, last = square_over_texture(14)
    before, after = CURVE.to_linear(first), CURVE.to_linear(last)

    def made(_: int) -> bytes:
        gap = Gap(luma(first), luma(last))
        return gap.between(before, after, 0.3).tobytes() + np.float64(gap.speed_px).tobytes()

    found = set()
    for threads in (1, 2, 3, 8):
        cv2.setNumThreads(threads)
        found.add(made(0))
    with ThreadPoolExecutor(4) as pool:
        found.update(pool.map(made, range(8)))
    assert len(found) == 1


@pytest.mark.parametrize("peak", [1023, 4095, 65535])
def test_deeper_luma_means_the_same(peak: int) -> None:
    first, _, last = square_over_texture(6)
    gap, before, after = gap_of(first, last)
    planes = [np.rint(luma(codes) * (peak / 255)).astype(np.uint16) for codes in (first, last)]
    deep = Gap(*planes, peak=peak)
    assert np.array_equal(deep.between(before, after, 0.5), gap.between(before, after, 0.5))


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (5, 3), (31, 33), (97, 131)])
def test_any_size_will_do(size: tuple[int, int]) -> None:
    frames = moving_texture(3, *size, speed=1)
    gap, before, after = gap_of(frames[0], frames[2])
    middle = gap.between(before, after, 0.5)
    assert middle.shape == before.shape
    assert np.isfinite(middle).all()
    assert min(before.min(), after.min()) - 1e-5 <= middle.min()
    assert middle.max() <= max(before.max(), after.max()) + 1e-5


def test_planes_may_be_views_of_any_order() -> None:
    first, _, last = square_over_texture(6)
    gap, before, after = gap_of(first, last)
    mirrored = Gap(luma(first)[:, ::-1], luma(last)[:, ::-1])
    expected = Gap(np.ascontiguousarray(luma(first)[:, ::-1]), np.ascontiguousarray(luma(last)[:, ::-1]))
    views = before[:, ::-1], after[:, ::-1]
    copies = views[0].copy(), views[1].copy()
    assert np.array_equal(mirrored.between(*views, 0.5), expected.between(*copies, 0.5))
    assert gap.speed_px == pytest.approx(mirrored.speed_px, rel=0.1)


def test_one_fast_thing_in_a_still_picture_sets_the_speed() -> None:
    first, _, last = square_over_texture(9)
    assert Gap(luma(first), luma(last)).speed_px == pytest.approx(9, abs=0.5)


def test_sub_frames_leave_no_step_of_more_than_a_pixel() -> None:
    assert [sub_frames_for(speed) for speed in (0, 0.3, 1, 1.01, 2, 2.5, 8, 17, 400)] == [0, 0, 0, 1, 1, 2, 7, 16, 16]
    assert sub_frames_for(1e300, limit=5) == 5
    assert sub_frames_for(9, limit=0) == 0
    for speed in np.linspace(0, 17, 100):
        assert speed / (sub_frames_for(speed) + 1) <= 1


@pytest.mark.parametrize("speed", [-0.1, math.nan, math.inf])
def test_a_speed_that_is_none_is_refused(speed: float) -> None:
    with pytest.raises(SettingsError, match="speed"):
        sub_frames_for(speed)
    with pytest.raises(SettingsError, match="limit -1"):
        sub_frames_for(1.0, limit=-1)


PLANE = np.zeros((20, 30), np.uint8)


@pytest.mark.parametrize(
    ("before", "after", "peak", "what"),
    [
        (PLANE, PLANE[:10], 255, "one size"),
        (PLANE[None], PLANE[None], 255, "one size"),
        (PLANE[:0], PLANE[:0], 255, "one size"),
        (PLANE.astype(np.float32), PLANE.astype(np.float32), 255, "float32"),
        (PLANE, PLANE.astype(np.uint16), 255, "one type"),
        (PLANE, PLANE, 1023, "peak 1023"),
        (PLANE, PLANE, 0, "peak 0"),
    ],
)
def test_planes_that_do_not_fit_are_refused(before: Any, after: Any, peak: int, what: str) -> None:
    with pytest.raises(SettingsError, match=what):
        Gap(before, after, peak=peak)


@pytest.mark.parametrize(
    ("fractions", "weights", "what"),
    [
        ([0.0], [1.0], "fraction 0"),
        ([1.0], [1.0], "fraction 1"),
        ([math.nan], [1.0], "fraction nan"),
        ([0.5], [math.inf], "weight inf"),
        ([0.5], [1e300], "weight 1e"),
        ([0.5], [math.nan], "weight nan"),
        ([0.5, 0.6], [1.0], "as many"),
    ],
)
def test_numbers_that_make_no_sense_are_refused_before_anything_is_added(
    fractions: list[float], weights: list[float], what: str
) -> None:
    light, total = np.ones((20, 30, 3), np.float32), np.zeros((20, 30, 3), np.float32)
    with pytest.raises(SettingsError, match=what):
        Gap(PLANE, PLANE).add(light, light, fractions, weights, total)
    assert not total.any()


@pytest.mark.parametrize(
    "light", [np.ones((20, 30, 3)), np.ones((20, 30), np.float32), np.ones((20, 31, 3), np.float32)]
)
def test_light_that_does_not_fit_is_refused(light: Any) -> None:
    with pytest.raises(SettingsError, match="light"):
        Gap(PLANE, PLANE).between(light, light, 0.5)
    three, six = np.ones((20, 30, 3), np.float32), np.ones((20, 30, 6), np.float32)
    with pytest.raises(SettingsError, match="channels"):
        Gap(PLANE, PLANE).add(three, three, [0.5], [1.0], six)


def test_a_gap_is_made_by_an_interpolator() -> None:
    interpolator: Interpolator = Gap
    motion: Motion = interpolator(PLANE, PLANE, peak=255)
    assert motion.speed_px == 0


@pytest.mark.shared
def test_pictures_that_have_nothing_in_common_are_cross_faded(shared: Path) -> None:
    infos = [describe(shared / "video" / name) for name in ("gopro_240fps.mp4", "x4k_1000fps_TEST04_140_f3889_2k.mp4")]
    pictures = [to_rgb(info, next(iter(decode(info))))[150:550, 400:1000].copy() for info in infos]
    gap, before, after = gap_of(*pictures)
    found, faded = (CURVE.from_linear(light) for light in (gap.between(before, after, 0.5), (before + after) / 2))
    assert psnr(found, faded) > 60


@pytest.mark.shared
def test_every_eighth_real_frame_blurs_as_all_of_them_do(shared: Path) -> None:
    info = describe(shared / "video" / "x4k_1000fps_TEST03_081_f4833_2k.mp4")
    crop = slice(300, 700), slice(600, 1200)
    frames, planes = [], []
    for frame in decode(info):
        if frame.index > 16:
            break
        frames.append(to_rgb(info, frame)[crop].copy())
        planes.append(frame.planes[0][crop].copy())
    light = CURVE.to_linear(np.stack(frames))
    truth = CURVE.from_linear(light.mean(0, dtype=np.float64))
    plain = np.tensordot(np.array([4.5, 8, 4.5], np.float32) / np.float32(17), light[::8], 1)
    total = light[::8].sum(0) / np.float32(17)
    for start in (0, 8):
        gap = Gap(planes[start], planes[start + 8])
        gap.add(light[start], light[start + 8], [t / 8 for t in range(1, 8)], [1 / 17] * 7, total)
    assert psnr(CURVE.from_linear(total), truth) > psnr(CURVE.from_linear(plain), truth) + 10
