"""The street of `blursynth demo`: its frames, its motion, its file."""

import gc
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from blursynth import scene
from blursynth.errors import DeviceError, OutputError, SettingsError
from blursynth.scene import render_frames, write_clip

Frame = NDArray[np.uint8]

WIDTH, HEIGHT = 160, 96
RATE = Fraction(240000, 1001)


def frames_of(seed: int, num_frames: int = 2, width: int = WIDTH, height: int = HEIGHT) -> list[Frame]:
    return list(render_frames(num_frames, width=width, height=height, rng=np.random.default_rng(seed)))


def write_small(path: Path, num_frames: int = 12, **options: Any) -> None:
    write_clip(path, seconds=num_frames / 240, width=WIDTH, height=HEIGHT, **options)


@pytest.fixture(scope="module")
def street() -> list[Frame]:
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


def bt709_limited_to_rgb(frame: av.VideoFrame) -> NDArray[np.float64]:
    """Mean colour of a flat frame, from the formulas of BT.709 and not from a library."""
    planes = frame.to_ndarray(format="yuv420p").astype(np.float64)
    rows = frame.height
    luma = (planes[:rows].mean() - 16) / 219
    blue, red = (
        planes[a:b].mean() / 224 - 128 / 224 for a, b in ((rows, rows * 5 // 4), (rows * 5 // 4, rows * 3 // 2))
    )
    r, b = luma + 1.5748 * red, luma + 1.8556 * blue
    return np.array([r, (luma - 0.2126 * r - 0.0722 * b) / 0.7152, b]) * 255


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


def test_neighbouring_frames_differ_by_about_a_pixel(street: list[Frame]) -> None:
    lengths = [flow_lengths(first, second) for first, second in islice(pairwise(street), 0, None, 6)]
    medians = np.array([np.median(length) for length in lengths])
    assert 0.2 < np.median(medians) < 2.5
    assert medians.max() < 4
    assert medians.max() > 1.5 * medians.min(), "calmer and faster by turns"
    assert np.mean([np.percentile(length, 95) for length in lengths]) > np.mean(medians) + 0.3, (
        "things move by themselves"
    )


def test_lights_clip_and_shadows_are_dark(street: list[Frame]) -> None:
    assert 0.002 < np.mean(street[0].max(axis=2) == 255) < 0.1
    assert 0.01 < np.mean(street[0].max(axis=2) < 40) < 0.3


def test_there_is_detail_everywhere(street: list[Frame]) -> None:
    grey = cv2.cvtColor(street[0], cv2.COLOR_RGB2GRAY).astype(np.float32)
    tiles = grey[:352, :640].reshape(11, 32, 20, 32).std(axis=(1, 3))
    assert np.quantile(tiles, 0.05) > 4


def test_both_halves_look_alike(street: list[Frame]) -> None:
    first, second = (np.concatenate([f.reshape(-1, 3) for f in half[::8]]) for half in (street[:24], street[24:]))
    assert np.abs(first.mean(axis=0) - second.mean(axis=0)).max() < 8
    assert np.abs(first.std(axis=0) - second.std(axis=0)).max() < 8


def test_the_camera_never_sees_beyond_the_painted_street() -> None:
    times, corners = np.arange(0, 20, 1 / 60), np.array([[-640, -360], [640, -360], [640, 360], [-640, 360]])
    for seed in range(20):
        right, down, roll, zoom = scene._shake(times, np.random.default_rng(seed)).T[..., None]
        x, y = corners[:, 0] / (1 + zoom), corners[:, 1] / (1 + zoom)
        beyond_x = np.abs(np.cos(roll) * x + np.sin(roll) * y - right) - 640
        beyond_y = np.abs(np.cos(roll) * y - np.sin(roll) * x - down) - 360
        assert max(beyond_x.max(), beyond_y.max()) < scene._margin(1280)


def test_nearer_layers_are_laid_later_and_at_least_three_move() -> None:
    layers = scene._layers(1280, scene._margin(1280), 0.25, np.random.default_rng(0))
    depths = [layer.depth for layer in layers]
    assert depths == sorted(depths)
    assert len({layer.velocity for layer in layers} - {(0.0, 0.0)}) >= 3


def test_a_painting_covers_what_is_behind_it_and_lets_through_what_its_alpha_says() -> None:
    frame = np.full((8, 8, 3), 200, np.uint8)
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[..., :] = (100, 0, 0, 255)
    pixels[:, 1] = (50, 0, 0, 128)
    scene._lay(frame, pixels, np.array([[1.0, 0, 3], [0, 1.0, 3]]))
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


@pytest.mark.parametrize("rate", [240, RATE])
def test_the_clip_is_h264_tagged_bt709_limited_with_equal_steps(tmp_path: Path, rate: int | Fraction) -> None:
    path, done = tmp_path / "clip.mp4", list[int]()
    write_small(path, frame_rate=rate, seed=5, progress=done.append)
    stream, frames = decoded(path)
    context = stream.codec_context
    assert (context.name, context.pix_fmt, context.width, context.height) == ("h264", "yuv420p", 160, 96)
    assert (context.color_primaries, context.color_trc, context.colorspace, context.color_range) == (1, 1, 1, 1)
    assert stream.average_rate == rate
    assert stream.time_base is not None
    assert [frame.pts * stream.time_base for frame in frames if frame.pts is not None] == [
        n / Fraction(rate) for n in range(12)
    ]
    assert done == list(range(1, 13))
    assert list(tmp_path.iterdir()) == [path]


def test_the_clip_holds_the_frames_of_its_seed(tmp_path: Path) -> None:
    write_small(tmp_path / "clip.mp4", 2, seed=6)
    _, frames = decoded(tmp_path / "clip.mp4")
    for frame, expected in zip(frames, frames_of(6), strict=True):
        green = expected[..., 1].astype(np.float64)  # the least touched by 4:2:0
        assert np.sqrt(np.mean((frame.to_ndarray(format="rgb24")[..., 1] - green) ** 2)) < 10


def test_flat_colours_survive_the_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extremes = [(0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255), (128, 128, 128)]
    colours = np.array([*extremes, *np.random.default_rng(0).integers(0, 256, (20, 3))], np.uint8)
    flat = [np.broadcast_to(colour, (HEIGHT, WIDTH, 3)).copy() for colour in colours]
    monkeypatch.setattr(scene, "render_frames", lambda *_, **__: iter(flat))
    write_small(tmp_path / "flat.mp4", len(flat))
    _, frames = decoded(tmp_path / "flat.mp4")
    errors = np.array([bt709_limited_to_rgb(frame) for frame in frames]) - colours
    assert np.abs(errors).max() < 1.7  # 8-bit 4:2:0 itself rounds blue by up to 1.64
    assert np.abs(errors.mean(axis=0)).max() < 0.5


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


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # imageio-ffmpeg drops a broken pipe
def test_a_failing_encoder_is_one_sentence_and_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene, "_H264", "-no_such_option 1 -f mp4")
    with pytest.raises(OutputError, match=r"clip\.mp4: (ffmpeg gave up|0 of 12 frames)") as caught:
        write_small(tmp_path / "clip.mp4")
    assert "\n" not in str(caught.value)
    del caught
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_frames_lost_by_the_encoder_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene, "render_frames", lambda *_, **__: iter(frames_of(0, 2)))
    with pytest.raises(OutputError, match=r"clip\.mp4: 2 of 3 frames"):
        write_small(tmp_path / "clip.mp4", 3)
    assert list(tmp_path.iterdir()) == []


def test_a_machine_without_ffmpeg_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> str:
        raise RuntimeError("No ffmpeg exe could be found.")

    monkeypatch.setattr("imageio_ffmpeg.get_ffmpeg_exe", missing)
    with pytest.raises(DeviceError, match="IMAGEIO_FFMPEG_EXE"):
        write_small(tmp_path / "clip.mp4")
