import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from blursynth.crf import response_curve
from blursynth.decoding import decode, to_rgb
from blursynth.errors import SettingsError
from blursynth.radiometry import NoiseLevel, measure_noise
from blursynth.video import describe

GAMMA = response_curve("gamma:2.2")


def smooth_scene(height: int = 360, width: int = 480) -> NDArray[np.float64]:
    """Light from black to white, soft edges."""
    y, x = np.mgrid[:height, :width]
    channels = [(x / width) ** 2, (y / height) ** 1.5, 0.5 + 0.45 * np.sin(x / 17) * np.cos(y / 23)]
    light: NDArray[np.float64] = np.stack(channels, axis=-1)
    return light


def photographed(light: NDArray[np.float64], level: NoiseLevel, seed: int, curve: Any = GAMMA) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).standard_normal(light.shape)
    codes: NDArray[np.uint8] = curve.from_linear(light + np.sqrt(level.shot * light + level.read**2) * noise)
    return codes


def squares(height: int, width: int) -> NDArray[np.float64]:
    small = np.random.default_rng(0).random((-(-height // 6), -(-width // 6), 3))
    return small.repeat(6, axis=0).repeat(6, axis=1)[:height, :width]


@pytest.mark.parametrize("curve", ["gamma:2.2", "srgb"])
@pytest.mark.parametrize("level", [NoiseLevel(1e-4, 1e-3), NoiseLevel(2e-5, 2e-4), NoiseLevel(5e-3, 1e-2)])
def test_the_noise_of_a_still_clip_is_recovered(level: NoiseLevel, curve: str) -> None:
    chosen = response_curve(curve)
    frames = [photographed(smooth_scene(), level, seed, chosen) for seed in range(4)]
    found = measure_noise([(frames[0], frames[1]), (frames[2], frames[3])], chosen)
    assert found.shot == pytest.approx(level.shot, rel=0.05)
    assert found.read == pytest.approx(level.read, rel=0.05)


@pytest.mark.parametrize("level", [NoiseLevel(1e-3, 2e-3), NoiseLevel(4e-4, 5e-4)])
def test_where_shot_noise_rules_the_variance_is_right_at_every_light(level: NoiseLevel) -> None:
    frames = [photographed(smooth_scene(), level, seed) for seed in range(4)]
    found = measure_noise([(frames[0], frames[1]), (frames[2], frames[3])], GAMMA)
    light = np.geomspace(0.005, 1, 50)  # read noise alone is a guess beyond the darkest light that is not clipped
    truth = level.shot * light + level.read**2
    assert found.shot * light + found.read**2 == pytest.approx(truth, rel=0.05)
    assert found.read == pytest.approx(level.read, rel=0.2)


def test_either_part_may_be_missing() -> None:
    scene = smooth_scene()
    shot, read = NoiseLevel(5e-4, 0), NoiseLevel(0, 3e-3)
    found = measure_noise([(photographed(scene, shot, 0), photographed(scene, shot, 1))], GAMMA)
    assert found.shot == pytest.approx(5e-4, rel=0.05)
    assert found.read < 5e-4
    found = measure_noise([(photographed(scene, read, 0), photographed(scene, read, 1))], GAMMA)
    assert found.read == pytest.approx(3e-3, rel=0.05)
    assert found.shot < 5e-6


def test_frames_of_ten_bits_are_measured_too() -> None:
    level, scene = NoiseLevel(1e-4, 5e-4), smooth_scene()
    frames = []
    for seed in (0, 1):
        noise = np.random.default_rng(seed).standard_normal(scene.shape)
        light = np.clip(scene + np.sqrt(level.shot * scene + level.read**2) * noise, 0, 1)
        frames.append(np.rint(1023 * light ** (1 / 2.2)).astype(np.uint16))
    found = measure_noise([(frames[0], frames[1])], GAMMA, peak=1023)
    assert found.shot == pytest.approx(level.shot, rel=0.05)
    assert found.read == pytest.approx(level.read, rel=0.05)


@pytest.mark.parametrize("step", [1, 3, 20])
def test_things_that_move_do_not_count(step: int) -> None:
    level, scene = NoiseLevel(4e-4, 1.5e-3), smooth_scene()
    frames = []
    for i in range(4):
        frame = scene.copy()
        frame[30:330, 60 + step * i : 300 + step * i] = squares(300, 240)  # over 40 % of the picture
        frames.append(photographed(frame, level, i))
    found = measure_noise([(frames[0], frames[1]), (frames[2], frames[3])], GAMMA)
    assert found.shot == pytest.approx(level.shot, rel=0.05)
    assert found.read == pytest.approx(level.read, rel=0.1)


@pytest.mark.parametrize("step", [1, 2, 7, 30])
def test_nothing_is_made_up_where_all_moves(step: int) -> None:
    level, scene = NoiseLevel(1e-4, 1e-3), squares(360, 480)
    found = measure_noise([(photographed(scene, level, 0), photographed(np.roll(scene, step, 1), level, 1))], GAMMA)
    assert found.shot <= 1.2 * level.shot
    assert found.read <= 1.2 * level.read


@pytest.mark.parametrize("brighter", [1.005, 1.01, 1.02, 1.1])
def test_a_flicker_of_the_lamp_is_no_noise(brighter: float) -> None:
    level, scene = NoiseLevel(1e-4, 1e-3), 0.9 * smooth_scene()
    found = measure_noise([(photographed(scene, level, 0), photographed(brighter * scene, level, 1))], GAMMA)
    light = np.linspace(0.01, 1, 50)
    assert (found.shot * light + found.read**2 < 1.15 * (level.shot * light + level.read**2)).all()


def test_clipped_light_does_not_count() -> None:
    level, scene = NoiseLevel(4e-4, 2e-3), smooth_scene()
    scene[:120] = 0
    scene[240:] = 1.5
    found = measure_noise([(photographed(scene, level, 0), photographed(scene, level, 1))], GAMMA)
    assert found.shot == pytest.approx(level.shot, rel=0.06)
    assert found.read == pytest.approx(level.read, rel=0.1)


def test_without_noise_or_without_anything_to_measure_there_is_none() -> None:
    still = photographed(smooth_scene(), NoiseLevel(0, 0), 0)
    nothing = NoiseLevel(0, 0)
    assert measure_noise([], GAMMA) == nothing
    assert measure_noise([(still, still)], GAMMA) == nothing
    for shape in ((0, 0, 3), (1, 1, 3), (9, 40, 3), (20, 20, 3)):
        tiny = np.full(shape, 90, np.uint8)
        assert measure_noise([(tiny, tiny)], GAMMA) == nothing
    white = np.full((100, 100, 3), 255, np.uint8)
    assert measure_noise([(white, white)], GAMMA) == nothing


def test_repeated_frames_say_nothing() -> None:
    one, two = (photographed(smooth_scene(), NoiseLevel(1e-4, 1e-3), seed) for seed in (0, 1))
    assert measure_noise([(one, one), (one, two), (two, two)], GAMMA) == measure_noise([(one, two)], GAMMA)


def test_frames_are_not_written_to() -> None:
    frame = photographed(smooth_scene(100, 100), NoiseLevel(1e-4, 1e-3), 0)
    frame.setflags(write=False)
    measure_noise([(frame, frame)], GAMMA)


@pytest.mark.shared
@pytest.mark.parametrize(
    "name", ["gopro_240fps.mp4", "x4k_1000fps_TEST03_081_f4833_2k.mp4", "ordinary_24fps_1080p.mp4"]
)
def test_the_motion_of_real_footage_is_not_taken_for_noise(shared: Path, name: str) -> None:
    info = describe(shared / "video" / name)
    first, second = (to_rgb(info, frame) for frame in itertools.islice(decode(info), 10, 12))
    found = measure_noise([(first, second)], GAMMA)
    for light in (0.05, 0.2, 0.6):
        deviation = (found.shot * light + found.read**2) ** 0.5
        assert deviation * 255 / 2.2 * light ** (1 / 2.2 - 1) < 1  # in codes


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (np.zeros((20, 20, 3), np.float32), np.zeros((20, 20, 3), np.float32), "float32"),
        (np.zeros((20, 20), np.uint8), np.zeros((20, 20), np.uint8), "shape"),
        (np.zeros((20, 20, 3), np.uint8), np.zeros((20, 21, 3), np.uint8), "differ in size"),
        (np.full((20, 20, 3), 256, np.uint16), np.zeros((20, 20, 3), np.uint16), "code 256"),
    ],
)
def test_bad_frames_are_refused(first: Any, second: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        measure_noise([(first, second)], GAMMA)
