"""The street of `blursynth demo`: its frames, its motion, its file."""

import re
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from blursynth.errors import SettingsError
from blursynth.scene import clip, painting, render_frames, street, write_clip

Frame = NDArray[np.uint8]

WIDTH, HEIGHT = 160, 96
RATE = Fraction(240000, 1001)


def frames_of(seed: int, num_frames: int = 2, width: int = WIDTH, height: int = HEIGHT) -> list[Frame]:
    return list(render_frames(num_frames, width=width, height=height, rng=np.random.default_rng(seed)))


def write_small(path: Path, num_frames: int = 12, **options: Any) -> None:
    write_clip(path, seconds=num_frames / 240, width=WIDTH, height=HEIGHT, **options)


@pytest.fixture(scope="module")
def seen() -> list[Frame]:
    """640x360 at half the rate moves as many pixels between frames as 1280x720 at 240 Hz."""
    frames = render_frames(48, width=640, height=360, frame_rate=120, rng=np.random.default_rng(0))
    return list(frames)


def flow_lengths(first: Frame, second: Frame) -> NDArray[np.float64]:
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (first, second)]
    still = np.zeros((*first.shape[:2], 2), np.float32)
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(grey[0], grey[1], still)
    return np.asarray(np.hypot(flow[..., 0], flow[..., 1]), np.float64)


def decoded(path: Path) -> tuple[av.VideoStream, list[av.VideoFrame]]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream, list(container.decode(stream))


def test_the_example_of_the_notation_is_what_it_says() -> None:
    example = re.search(r"``(red oval .*?)``", painting.__doc__ or "", re.DOTALL)
    assert example
    p = painting.Painting.blank(-12, -12, (24, 24), 8, np.random.default_rng(0))
    p.draw(example[1], name="No")
    squares = [(x, 0) for x in (-4, 0, 4)]
    assert [p.pixels[(y + 12) * 8, (x + 12) * 8].tolist() for x, y in squares] == [[0x18, 0x18, 0x1E, 255]] * 3
    assert [p.pixels[12 * 8, (x + 12) * 8].tolist() for x in (-2, 2, 7)] == [[0xC8, 0x18, 0x1E, 255]] * 3
    assert p.pixels[0, 0].tolist() == [0, 0, 0, 0]
    assert (p.pixels[14 * 8 : 18 * 8, 4 * 8 : 20 * 8, 1] == 0xEA).sum() > 100


def test_drawings_know_numbers_colours_and_words_left_open() -> None:
    p = painting.Painting.blank(0, 0, (20, 20), 4, np.random.default_rng(0))
    p.draw("2y10 paint box 0 0 4 4; - light 0 10 20 4 .5 .5", (200, 100, 60))
    assert p.pixels[8, 8].tolist() == [200, 100, 60, 255]
    assert p.pixels[48, 8].tolist() == [100, 50, 30, 255]
    with pytest.raises(ValueError, match="circle"):
        p.draw("red circle 0 0 4 4")


def test_a_seed_gives_the_same_frames_however_many_and_another_seed_another_street() -> None:
    first, longer, other = frames_of(1, 2), frames_of(1, 3), frames_of(2, 2)
    np.testing.assert_array_equal(first, longer[:2])
    assert np.mean(np.abs(np.subtract(first, other, dtype=np.int16))) > 5


@pytest.mark.parametrize(("width", "height"), [(64, 64), (96, 160), (400, 64)])
def test_frames_are_rgb_codes_of_the_size_asked_for(width: int, height: int) -> None:
    first, second = frames_of(0, 2, width, height)
    assert first.shape == second.shape == (height, width, 3)
    assert first.dtype == second.dtype == np.uint8
    assert not np.shares_memory(first, second)


def test_neighbouring_frames_differ_by_about_a_pixel(seen: list[Frame]) -> None:
    lengths = [flow_lengths(first, second) for first, second in islice(pairwise(seen), 0, None, 6)]
    medians = np.array([np.median(length) for length in lengths])
    assert 0.2 < np.median(medians) < 2.5
    assert medians.max() < 4
    assert medians.max() > 1.5 * medians.min(), "calmer and faster by turns"
    assert np.mean([np.percentile(length, 95) for length in lengths]) > np.mean(medians) + 0.3, (
        "things move by themselves"
    )


def test_lights_clip_and_shadows_are_dark(seen: list[Frame]) -> None:
    assert 0.002 < np.mean(seen[0].max(axis=2) == 255) < 0.1
    assert 0.01 < np.mean(seen[0].max(axis=2) < 40) < 0.3


def test_there_is_detail_everywhere(seen: list[Frame]) -> None:
    grey = cv2.cvtColor(seen[0], cv2.COLOR_RGB2GRAY).astype(np.float32)
    tiles = grey[:352, :640].reshape(11, 32, 20, 32).std(axis=(1, 3))
    assert np.quantile(tiles, 0.05) > 4


def test_both_halves_look_alike(seen: list[Frame]) -> None:
    first, second = (np.concatenate([f.reshape(-1, 3) for f in half[::8]]) for half in (seen[:24], seen[24:]))
    assert np.abs(first.mean(axis=0) - second.mean(axis=0)).max() < 8
    assert np.abs(first.std(axis=0) - second.std(axis=0)).max() < 8


def test_the_camera_never_sees_beyond_the_painted_street() -> None:
    times, corners = np.arange(0, 20, 1 / 60), np.array([[-640, -360], [640, -360], [640, 360], [-640, 360]])
    for seed in range(20):
        right, down, roll, zoom = clip._shake(times, np.random.default_rng(seed)).T[..., None]
        x, y = corners[:, 0] / (1 + zoom), corners[:, 1] / (1 + zoom)
        beyond_x = np.abs(np.cos(roll) * x + np.sin(roll) * y - right) - 640
        beyond_y = np.abs(np.cos(roll) * y - np.sin(roll) * x - down) - 360
        assert max(beyond_x.max(), beyond_y.max()) < clip._margin(1280)


def test_nearer_layers_are_laid_later_and_at_least_three_move() -> None:
    layers = street.paint_layers(1280, clip._margin(1280), 0.25, np.random.default_rng(0))
    depths = [layer.depth for layer in layers]
    assert depths == sorted(depths)
    assert len({layer.velocity for layer in layers} - {(0.0, 0.0)}) >= 3


def test_a_painting_covers_what_is_behind_it_and_lets_through_what_its_alpha_says() -> None:
    frame = np.full((8, 8, 3), 200, np.uint8)
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[..., :] = (100, 0, 0, 255)
    pixels[:, 1] = (50, 0, 0, 128)
    clip._lay(frame, pixels, np.array([[1.0, 0, 3], [0, 1.0, 3]]))
    assert frame[3, 3].tolist() == [100, 0, 0]
    np.testing.assert_allclose(frame[3, 4], [50 + 200 * 127 / 255, 200 * 127 / 255, 200 * 127 / 255], atol=1)
    assert frame[3, 6].tolist() == frame[0, 0].tolist() == [200, 200, 200]


@pytest.mark.parametrize(
    "wrong",
    [{"num_frames": 0}, {"frame_rate": 0}, {"frame_rate": -240}, {"width": 161}, {"height": 97}, {"width": 32}],
)
def test_impossible_numbers_are_refused_at_once(wrong: dict[str, int]) -> None:
    arguments = {"num_frames": 1, "width": WIDTH, "height": HEIGHT} | wrong
    with pytest.raises(SettingsError, match=str(next(iter(wrong.values())))):
        render_frames(**arguments, rng=np.random.default_rng(0))


def test_the_clip_is_h264_at_the_rate_asked_for(tmp_path: Path) -> None:
    path, done = tmp_path / "clip.mp4", list[int]()
    write_small(path, frame_rate=RATE, seed=5, progress=done.append)
    stream, frames = decoded(path)
    context = stream.codec_context
    assert (context.name, context.pix_fmt, context.width, context.height) == ("h264", "yuv420p", 160, 96)
    assert stream.average_rate == RATE
    assert len(frames) == 12
    assert done == list(range(1, 13))
    assert list(tmp_path.iterdir()) == [path]


def test_the_clip_holds_the_frames_of_its_seed(tmp_path: Path) -> None:
    write_small(tmp_path / "clip.mp4", 2, seed=6)
    _, frames = decoded(tmp_path / "clip.mp4")
    for frame, expected in zip(frames, frames_of(6), strict=True):
        green = expected[..., 1].astype(np.float64)  # the least touched by 4:2:0
        assert np.sqrt(np.mean((frame.to_ndarray(format="rgb24")[..., 1] - green) ** 2)) < 10


def test_an_error_on_the_way_leaves_no_file(tmp_path: Path) -> None:
    def stop(num_done: int) -> None:
        if num_done == 2:
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write_small(tmp_path / "clip.mp4", progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_refused_unless_it_may_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"mine")
    with pytest.raises(SettingsError, match=r"clip\.mp4: exists already"):
        write_small(path, 2)
    assert path.read_bytes() == b"mine"
    write_small(path, 2, overwrite=True)
    assert len(decoded(path)[1]) == 2


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_a_clip_without_frames_is_refused(tmp_path: Path, seconds: float) -> None:
    with pytest.raises(SettingsError, match=r"^(0|-240) frames at 240"):
        write_clip(tmp_path / "clip.mp4", seconds=seconds)
    assert list(tmp_path.iterdir()) == []
