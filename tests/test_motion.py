import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, pairwise, permutations
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from blursynth.crf import response_curve
from blursynth.decoding import decode
from blursynth.errors import SettingsError
from blursynth.motion import Step, View, Worth, step, view, worth
from blursynth.motion.sharpness import edge_sharpness
from blursynth.motion.steps import lengths
from blursynth.motion.worths import _half_rate
from blursynth.video import describe

Codes = NDArray[np.uint8]
GAMMA = response_curve("gamma:2.2")


def light(
    size: tuple[int, int], *, at: float = 0.0, exposed_px: float = 0.0, seed: int = 0, finest: float = 1.2
) -> NDArray[np.float64]:
    """(H, W) linear light of a random texture, moved by ``at`` px along (0.8, 0.6) while it went on for another
    ``exposed_px``: exact, because the mean of a moving sine wave is a weaker sine wave.
    """
    rng = np.random.default_rng(seed)
    y, x = np.arange(size[0])[:, None], np.arange(size[1])[None]
    total, power = np.zeros(size), 0.0
    for _ in range(16):
        pace, angle, phase = math.exp(rng.uniform(math.log(0.03), math.log(finest))), *rng.uniform(0, 2 * math.pi, 2)
        fx, fy = pace * math.cos(angle), pace * math.sin(angle)
        along = 0.8 * fx + 0.6 * fy
        left = np.sinc(along * exposed_px / (2 * math.pi)) * pace**-0.5
        a, b = fx * x + phase - along * at, fy * y
        total += left * (np.sin(a) * np.cos(b) + np.cos(a) * np.sin(b))
        power += 0.5 / pace
    return np.clip(0.4 + 0.15 * total / math.sqrt(power), 0, 1)


def encoded(linear: NDArray[Any]) -> Codes:
    return GAMMA.from_linear(linear)


def clipped(codes: NDArray[Any]) -> Codes:
    return np.asarray(np.clip(np.rint(codes), 0, 255), np.uint8)


def noisy(codes: Codes, deviation: float, seed: int = 0) -> Codes:
    return clipped(codes + np.random.default_rng(seed).normal(0, deviation, codes.shape))


def speeds(one: Step) -> NDArray[np.floating]:
    return np.hypot(one.flow[..., 0], one.flow[..., 1])


def measured(frames: Sequence[Codes], weights: NDArray[np.float64] | None = None) -> Worth:
    views = [view(codes) for codes in frames]
    steps = [step(a, b) for a, b in pairwise(views)]
    num = len(frames)
    return worth(views, steps, np.full(num, 1 / num) if weights is None else weights, num // 2, GAMMA)


@pytest.mark.parametrize("speed", [0.5, 2.0, 8.0, 20.0])
def test_movement_is_measured_within_ten_percent(speed: float) -> None:
    one = step(*(view(encoded(light((720, 1280), at=at))) for at in (0.0, speed)))
    assert float(np.median(speeds(one))) == pytest.approx(speed, rel=0.1)
    assert np.median(one.flow, axis=(0, 1)) == pytest.approx([0.8 * speed, 0.6 * speed], rel=0.1)
    assert not one.is_cut
    assert not one.is_duplicate


def test_what_stands_still_does_not_move_even_with_noise() -> None:
    still = encoded(light((720, 1280)))
    assert measured([still] * 3).motion_max_px < 0.05
    one = step(view(noisy(still, 2, seed=1)), view(noisy(still, 2, seed=2)))
    assert float(np.median(speeds(one))) < 0.05


def test_path_lengths_add_up_over_the_window() -> None:
    frames = [encoded(light((360, 640), at=3.0 * i)) for i in range(5)]
    result = measured(frames)
    assert result.motion_p50_px == pytest.approx(12, rel=0.1)
    assert result.motion_p50_px <= result.motion_p95_px <= result.motion_max_px < 15
    there_and_back = measured([frames[0], frames[1], frames[0]])
    assert there_and_back.motion_p50_px == pytest.approx(6, rel=0.1)


def test_a_small_object_shows_in_the_maximum_and_in_the_ghosts_alone() -> None:
    still, thing = encoded(light((360, 640))), patches((80, 160))

    def window(speed: float) -> Worth:
        frames = [still.copy() for _ in range(7)]
        for i, codes in enumerate(frames):
            codes[150:210, 300:370] = thing[:60, 60 - int(speed * i) : 130 - int(speed * i)]
        return measured(frames)

    fast, slow = window(8), window(1)
    assert fast.motion_p50_px < 0.05
    assert fast.motion_max_px > 20
    assert not fast.is_frozen
    assert fast.ghost_score > 3 > 2 * slow.ghost_score


def test_half_rate_weights_are_the_trapezoidal_rule() -> None:
    np.testing.assert_allclose(_half_rate(np.full(11, 1.0)), [1.5, 0, 2, 0, 2, 0, 2, 0, 2, 0, 1.5])
    np.testing.assert_allclose(_half_rate(np.full(4, 1.0)), [1.5, 0, 2.5, 0])
    np.testing.assert_allclose(_half_rate(np.array([0.25, 1, 0.75])), [0.75, 0, 1.25])


@given(st.lists(st.floats(0.01, 1), min_size=3, max_size=40))
def test_half_rate_weights_lose_nothing(weights: list[float]) -> None:
    half = _half_rate(np.array(weights))
    assert half.sum() == pytest.approx(sum(weights))
    assert (half[1::2] == 0).all()


def test_the_ghost_score_ranks_windows_like_their_true_error() -> None:
    num, scores, errors = 11, [], []
    for seed, largest in ((1, 10), (2, 30), (3, 60)):
        linear = cv2.resize(GAMMA.to_linear(patches((180, 340), seed, largest)), (2720, 180))
        scene = np.cumsum(cv2.blur(linear, (8, 1)), axis=1, dtype=np.float64)

        def exposed(start: int, stop: int, scene: NDArray[np.float64] = scene) -> NDArray[np.float64]:
            # The picture moves by an eighth of a pixel at a time, and all the while light adds up.
            return (scene[:, 400 + stop : 2320 + stop : 8] - scene[:, 400 + start : 2320 + start : 8]) / (stop - start)

        for speed in (4, 8, 16, 32, 64):  # eighths of a pixel per frame
            for exposed_for in (2, speed // 2):
                begins = [(i - num // 2) * speed - exposed_for // 2 for i in range(num)]
                frames = [encoded(exposed(begin, begin + exposed_for)) for begin in begins]
                truth = exposed(-num * speed // 2, num * speed // 2)
                mean = np.mean([GAMMA.to_linear(codes) for codes in frames], axis=0)
                errors.append(float(np.sqrt(np.mean((255 * (mean ** (1 / 2.2) - truth ** (1 / 2.2))) ** 2))))
                scores.append(measured_ghost(frames))
    ranks = np.argsort(np.argsort([scores, errors])) - (len(scores) - 1) / 2
    assert (ranks[0] * ranks[1]).sum() / (ranks[0] ** 2).sum() >= 0.9  # Spearman's


def measured_ghost(frames: Sequence[Codes]) -> float:
    views = [view(codes) for codes in frames]
    steps = [Step(np.zeros((1, 1, 2), np.float32), is_cut=False, is_duplicate=False, difference=1.0)] * (len(views) - 1)
    return worth(views, steps, np.full(len(views), 1 / len(views)), 0, GAMMA).ghost_score


def test_frames_without_weight_make_no_ghosts() -> None:
    still, other = encoded(light((180, 240))), encoded(light((180, 240), seed=5))
    weights = np.array([0.25, 0, 0.25, 0.25, 0.25])
    assert measured([still, other, still, still, still], weights).ghost_score == pytest.approx(0, abs=1e-4)
    assert measured([still, other, still, still, still]).ghost_score > 5
    assert measured([still, other]).ghost_score == 0  # a half of two is nothing to compare with


def test_ghosts_are_measured_in_light_as_the_curve_has_it() -> None:
    dark, bright = np.full((60, 60), 20, np.uint8), np.full((60, 60), 220, np.uint8)
    views = [view(codes) for codes in (dark, bright, dark)]
    steps = [step(a, b) for a, b in pairwise(views)]
    for name in ("gamma:2.2", "linear", "srgb"):
        curve = response_curve(name)
        full = np.interp(curve.to_linear(np.array([20, 220, 20], np.uint8)).mean(), curve.linear_of_codes(), range(256))
        score = worth(views, steps, np.full(3, 1 / 3), 1, curve).ghost_score
        assert score == pytest.approx(float(full) - 20, abs=0.01)


@pytest.mark.parametrize("gain", [1.0, 0.1])
def test_hard_cuts_are_found_in_the_dark_too(gain: float) -> None:
    scenes = [noisy(clipped(encoded(light((360, 640), seed=seed)) * gain), 1, seed=seed) for seed in range(4)]
    for a, b in permutations(scenes, 2):
        assert step(view(a), view(b)).is_cut
    assert step(view(scenes[0]), view(np.full((360, 640), 16, np.uint8))).is_cut
    assert measured([scenes[0], scenes[0], scenes[1]]).has_cut
    assert not measured([scenes[0]] * 3).has_cut


@pytest.mark.parametrize("gain", [0.1, 0.3, 0.6, 1.5, 2.5])
def test_light_that_goes_on_or_off_is_no_cut(gain: float) -> None:
    before, after = (encoded(light((360, 640), at=at)) for at in (0.0, 2.0))
    assert not step(view(before), view(clipped(after * gain))).is_cut


def test_a_flash_that_clips_much_of_the_picture_is_no_cut() -> None:
    before, after = (encoded(light((360, 640), at=at)) for at in (0.0, 2.0))
    lit = np.minimum(after * 1.6, 235)
    assert 0.2 < (lit == 235).mean() < 0.9
    assert not step(view(before), view(clipped(lit))).is_cut


def test_a_fast_pan_is_no_cut() -> None:
    for speed in (30, 60):
        before, after = (encoded(light((360, 640), at=at, exposed_px=speed / 2)) for at in (0.0, speed))
        assert not step(view(before), view(after)).is_cut


def test_repeats_are_known_exactly_and_after_compression_but_noise_is_no_repeat() -> None:
    still = encoded(light((360, 640)))
    assert step(view(still), view(still.copy())).is_duplicate
    residue = np.random.default_rng(3).random(still.shape) < 0.05  # what an encoder leaves of a repeat
    assert step(view(still), view(clipped(still + residue.astype(float)))).is_duplicate
    assert not step(view(noisy(still, 0.6, seed=1)), view(noisy(still, 0.6, seed=2))).is_duplicate
    assert not step(view(still), view(encoded(light((360, 640), at=0.2)))).is_duplicate


def test_a_small_thing_that_moves_makes_another_picture() -> None:
    still = encoded(light((360, 640)))
    moved = still.copy()
    moved[100:116, 200:216] = 255 - moved[100:116, 200:216]
    assert not step(view(still), view(moved)).is_duplicate


def test_windows_that_repeat_or_freeze_say_so() -> None:
    a, b = (encoded(light((180, 320), at=at)) for at in (0.0, 4.0))
    assert measured([a] * 5).is_frozen
    assert measured([a] * 5).num_duplicates == 4
    some = measured([a, a, b, b, a])
    assert not some.is_frozen
    assert some.num_duplicates == 2
    alone = measured([a])
    assert (alone.motion_max_px, alone.ghost_score, alone.num_duplicates, alone.is_frozen) == (0, 0, 0, True)


def test_steps_too_small_to_see_still_lead_somewhere() -> None:
    frames = [encoded(light((180, 320), at=0.01 * i, finest=0.3)) for i in range(61)]
    result = measured(frames)
    assert result.num_duplicates == 60
    assert not result.is_frozen


def gaussian(px: float) -> Callable[[Codes], Codes]:
    return lambda codes: clipped(cv2.GaussianBlur(codes.astype(np.float32), (0, 0), px))


def line(px: int, direction: str) -> Callable[[Codes], Codes]:
    kernel = {"x": np.ones((1, px + 1)), "y": np.ones((px + 1, 1)), "diagonal": np.eye(px + 1)}[direction]
    return lambda codes: clipped(cv2.filter2D(codes.astype(np.float32), -1, kernel / kernel.sum()))


def patches(size: tuple[int, int] = (480, 640), seed: int = 0, largest: int = 50) -> Codes:
    """A picture full of edges: ellipses before one another."""
    rng = np.random.default_rng(seed)
    codes = np.full(size, 90, np.uint8)
    for _ in range(250 if largest > 20 else 2000):
        centre = (int(rng.integers(size[1])), int(rng.integers(size[0])))
        axes = (int(rng.integers(6, largest)), int(rng.integers(6, largest)))
        turn = int(rng.integers(180))
        cv2.ellipse(codes, centre, axes, turn, 0, 360, int(rng.integers(20, 230)), -1, cv2.LINE_AA)
    return codes


@pytest.mark.parametrize("direction", ["x", "y", "diagonal", "every"])
@pytest.mark.parametrize("noise", [0, 4])
def test_sharpness_falls_with_every_blur_in_any_direction(direction: str, noise: int) -> None:
    sharp = patches()
    blurs = [gaussian(px) if direction == "every" else line(2 * px, direction) for px in (1, 2, 4)]
    scores = [edge_sharpness(view(noisy(codes, noise))) for codes in (sharp, *(blur(sharp) for blur in blurs))]
    assert all(more > less + 0.02 for more, less in pairwise(scores))
    assert 0.6 < scores[0] <= 1
    assert scores[-1] > 0


@pytest.mark.parametrize("px", [1.0, 2.0, 3.0])
def test_sharpness_is_the_slope_that_blur_leaves_of_an_edge(px: float) -> None:
    score = edge_sharpness(view(gaussian(px)(patches())))
    assert score == pytest.approx(1 / math.hypot(1, px), rel=0.15)


def test_sharpness_depends_little_on_exposure_noise_and_content() -> None:
    sharp = patches()
    score = edge_sharpness(view(sharp))
    for codes in (
        clipped(sharp * 0.3),
        clipped(60 + sharp * 0.5),
        noisy(sharp, 3),
        patches(seed=1),
        patches((700, 960)),
    ):
        assert edge_sharpness(view(codes)) == pytest.approx(score, abs=0.1)


def test_noise_and_flat_pictures_are_not_sharp() -> None:
    flat = np.full((480, 640), 100, np.uint8)
    assert edge_sharpness(view(flat)) == 0
    assert edge_sharpness(view(noisy(flat, 5))) < 0.1
    soft = gaussian(4)(patches())
    assert edge_sharpness(view(noisy(soft, 5))) < 0.35


def test_ten_bits_give_what_eight_bits_give() -> None:
    frames = [encoded(light((180, 320), at=2.0 * i)) for i in range(3)]
    ten_bits = [np.rint(codes * (1023 / 255)).astype(np.uint16) for codes in frames]
    for a, b in zip(frames, ten_bits, strict=True):
        np.testing.assert_array_equal(view(a).samples, view(b, 1023).samples)
    eight, ten = (step(view(x[0], peak), view(x[1], peak)) for x, peak in ((frames, 255), (ten_bits, 1023)))
    np.testing.assert_allclose(eight.flow, ten.flow, atol=0.1)


def test_a_view_keeps_little_and_nothing_of_the_callers() -> None:
    luma = encoded(light((720, 1280)))
    before = luma.copy()
    kept = view(luma)
    pictures = (kept.reduced, kept.samples, kept.tiles)
    assert sum(codes.nbytes for codes in pictures) < 300_000
    np.testing.assert_array_equal(luma, before)
    copies = [codes.copy() for codes in pictures]
    luma[:] = 0
    for codes, copied in zip(pictures, copies, strict=True):
        assert codes.base is None or not np.shares_memory(codes, luma)
        np.testing.assert_array_equal(codes, copied)


def test_threads_see_the_same_as_one() -> None:
    views = [view(encoded(light((180, 320), at=3.0 * i))) for i in range(9)]
    alone = [step(a, b) for a, b in pairwise(views)]
    with ThreadPoolExecutor(4) as executor:
        together = list(executor.map(step, views[:-1], views[1:]))
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_array_equal(a.flow, b.flow)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 3))
def test_every_size_is_measured(height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    frames = [rng.integers(0, 256, (height, width), np.uint8) for _ in range(3)]
    result = measured(frames)
    numbers = (result.motion_p50_px, result.motion_p95_px, result.motion_max_px, result.ghost_score, result.sharpness)
    assert all(math.isfinite(number) and number >= 0 for number in numbers)
    assert result.sharpness <= 1


@pytest.mark.parametrize(
    ("luma", "peak"),
    [
        (np.zeros((4, 4, 3), np.uint8), 255),
        (np.zeros((0, 4), np.uint8), 255),
        (np.zeros((4, 4), np.float32), 255),
        (np.zeros((4, 4), np.uint8), 1023),
        (np.zeros((4, 4), np.uint16), 0),
    ],
)
def test_planes_that_are_none_are_refused(luma: NDArray[Any], peak: int) -> None:
    with pytest.raises(SettingsError, match="must be"):
        view(luma, peak)


def test_windows_that_do_not_fit_together_are_refused() -> None:
    views = [view(np.zeros((20, 20), np.uint8))] * 3
    steps = [step(views[0], views[1])] * 2
    good = np.full(3, 1 / 3)
    bad: list[tuple[list[View], list[Step], NDArray[np.float64], int]] = [
        (views, steps[:1], good, 1),
        (views, steps, good[:2], 1),
        ([], [], np.zeros(0), 0),
        (views, steps, good, 3),
        (views, steps, good, -1),
        (views, steps, np.array([np.nan, 0.5, 0.5]), 1),
        (views, steps, np.array([-1.0, 1, 1]), 1),
        (views, steps, np.array([1.0, 1, 1]), 1),
        ([*views[:2], view(np.zeros((20, 22), np.uint8))], steps, good, 1),
    ]
    for arguments in bad:
        with pytest.raises(SettingsError):
            worth(*arguments, GAMMA)
    with pytest.raises(SettingsError, match="one size"):
        step(views[0], view(np.zeros((20, 22), np.uint8)))


def first_frames(path: Path, num: int) -> list[View]:
    info = describe(path)
    return [view(frame.planes[0], info.colour.peak) for frame in islice(decode(info), num)]


REAL = ("gopro_240fps", "diabolo_240fps", "phone_vfr", "walking_60fps_portrait", "x4k_1000fps_TEST11_078_f4977_2k")


@pytest.mark.shared
@pytest.mark.parametrize("name", REAL)
def test_real_clips_have_no_cuts_and_no_repeats(name: str, shared: Path) -> None:
    views = first_frames(shared / "video" / f"{name}.mp4", 9)
    steps = [step(a, b) for a, b in pairwise(views)]
    assert not any(one.is_cut or one.is_duplicate for one in steps)
    result = worth(views[:7], steps[:6], np.full(7, 1 / 7), 3, GAMMA)
    assert 0 < result.motion_p50_px < result.motion_p95_px < 100
    assert 0.3 < result.sharpness < 0.95


@pytest.mark.shared
def test_cuts_between_real_clips_are_found(shared: Path) -> None:
    pictures = []
    for name in REAL:
        reduced = first_frames(shared / "video" / f"{name}.mp4", 1)[0].reduced
        pictures.append(cv2.resize(reduced, (320, 180), interpolation=cv2.INTER_AREA))
    for a, b in permutations(pictures, 2):
        assert step(view(np.asarray(a, np.uint8)), view(np.asarray(b, np.uint8))).is_cut


def test_lengths_do_not_depend_on_where_their_memory_lies() -> None:
    flow = np.random.default_rng(0).normal(0, 9, (45, 81, 2)).astype(np.float32)
    expected = lengths(flow)
    for offset in range(1, 9):
        room = np.empty(flow.size + offset, np.float32)
        moved = room[offset:].reshape(flow.shape)
        moved[...] = flow
        assert np.array_equal(lengths(moved), expected)


@pytest.mark.parametrize("noise", [6, 12, 20])
def test_noise_on_a_still_even_scene_is_no_cut(noise: float) -> None:
    rng = np.random.default_rng(1)
    scene = np.repeat(np.linspace(40, 200, 640)[None], 360, axis=0)
    first, second = (np.clip(np.rint(scene + rng.normal(0, noise, scene.shape)), 0, 255).astype(np.uint8) for _ in "ab")
    assert not step(view(first), view(second)).is_cut
