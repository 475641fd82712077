"""H.264 files: their colours, their times, and what is left when something goes wrong."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from blursynth.decoding import decode, to_rgb
from blursynth.encoding import write_h264
from blursynth.errors import DeviceError, OutputError, SettingsError, ShardError
from blursynth.video import describe

Frame = NDArray[np.uint8]

SIZE = (32, 48)
BLACK = np.zeros((*SIZE, 3), np.uint8)


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


@pytest.mark.parametrize("rate", [Fraction(240), Fraction(240, 7), Fraction(24000, 1001)])
def test_frames_come_back_with_their_colours_and_times(tmp_path: Path, rate: Fraction) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (12, 3)).astype(np.uint8)
    frames = [np.broadcast_to(colour, (*SIZE, 3)).astype(np.uint8) for colour in colours]
    path = tmp_path / "clip.mp4"
    assert write_h264(path, frames, size=SIZE, frame_rate=rate, quality=1) == 12
    info = describe(path)
    assert (info.codec, info.pixel_format, info.colour.matrix, info.colour.guessed) == ("h264", "yuv420p", "bt709", ())
    assert info.num_frames == 12
    assert info.frame_rate == rate
    for frame in decode(info):
        assert np.abs(to_rgb(info, frame).astype(int) - colours[frame.index]).max() <= 3


@pytest.mark.parametrize("rate", [Fraction(240), Fraction(240, 7), Fraction(240000, 1001)])
def test_steps_are_equal_and_tags_are_set(tmp_path: Path, rate: Fraction) -> None:
    write_h264(tmp_path / "clip.mp4", [BLACK] * 12, size=SIZE, frame_rate=rate)
    stream, frames = decoded(tmp_path / "clip.mp4")
    context = stream.codec_context
    assert (context.color_primaries, context.color_trc, context.colorspace, context.color_range) == (1, 1, 1, 1)
    assert stream.average_rate == rate
    assert stream.time_base is not None
    assert [frame.pts * stream.time_base for frame in frames if frame.pts is not None] == [n / rate for n in range(12)]


def test_flat_colours_survive(tmp_path: Path) -> None:
    extremes = [(0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255), (128, 128, 128)]
    colours = np.array([*extremes, *np.random.default_rng(0).integers(0, 256, (20, 3))], np.uint8)
    flat = [np.broadcast_to(colour, (*SIZE, 3)) for colour in colours]
    write_h264(tmp_path / "flat.mp4", flat, size=SIZE, frame_rate=Fraction(30))
    _, frames = decoded(tmp_path / "flat.mp4")
    errors = np.array([bt709_limited_to_rgb(frame) for frame in frames]) - colours
    assert np.abs(errors).max() < 1.7  # 8-bit 4:2:0 itself rounds blue by up to 1.64
    assert np.abs(errors.mean(axis=0)).max() < 0.5


@pytest.mark.parametrize(("axis", "centre_px"), [(1, 0.0), (0, 0.5)])
def test_chroma_stands_where_h264_that_says_nothing_has_it(tmp_path: Path, axis: int, centre_px: float) -> None:
    """On the left luma column, between the luma rows (H.264, annex E: chroma_sample_loc_type 0)."""
    place = np.arange(128)
    blue = 60 * np.sin(2 * np.pi * place / 32)
    wave = np.stack([128 + 0 * blue, 128 - 0.1873 * blue, 128 + 1.8556 * blue], axis=-1).round().astype(np.uint8)
    frame = np.broadcast_to(wave[None] if axis else wave[:, None], (64, 128, 3) if axis else (128, 64, 3))
    write_h264(tmp_path / "wave.mp4", [frame], size=frame.shape[:2], frame_rate=Fraction(30), quality=1)
    _, (found,) = decoded(tmp_path / "wave.mp4")
    plane = found.to_ndarray(format="yuv420p")
    rows = frame.shape[0]
    line = plane[rows : rows * 5 // 4].reshape(rows // 2, -1).mean(axis=1 - axis) - 128
    # The phase of the wave tells where the samples are.
    phase = np.angle(np.sum(line * np.exp(-2j * np.pi * 2 * np.arange(line.size) / 32))) + np.pi / 2
    assert phase * 32 / (2 * np.pi) == pytest.approx(centre_px, abs=0.05)


def test_odd_sizes_lose_their_last_line(tmp_path: Path) -> None:
    frames = [np.zeros((33, 47, 3), np.uint8)] * 3
    write_h264(tmp_path / "clip.mp4", frames, size=(33, 47), frame_rate=Fraction(30))
    stream, _ = decoded(tmp_path / "clip.mp4")
    assert (stream.height, stream.width) == (32, 46)


@pytest.mark.parametrize("error", [RuntimeError, ShardError, BrokenPipeError])
def test_an_error_of_the_frames_is_not_the_encoders_and_leaves_nothing(tmp_path: Path, error: type[Exception]) -> None:
    def failing() -> Iterator[Frame]:
        yield BLACK
        raise error("no more")

    expected = OutputError if error is BrokenPipeError else error  # any OSError is taken for the disk's
    with pytest.raises(expected, match="no more"):
        write_h264(tmp_path / "clip.mp4", failing(), size=SIZE, frame_rate=Fraction(30))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("frames", "expected"), [([], "no frames"), ([BLACK, BLACK[:-2]], r"frame 1 .*\(30, 48, 3\)")])
def test_no_frames_and_wrong_frames_are_refused(tmp_path: Path, frames: list[Frame], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        write_h264(tmp_path / "clip.mp4", frames, size=SIZE, frame_rate=Fraction(30))
    assert list(tmp_path.iterdir()) == []


def test_what_ffmpeg_says_is_one_sentence_and_no_file(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"clip\.mp4: the encoder stopped: .*preset") as caught:
        write_h264(tmp_path / "clip.mp4", [BLACK] * 100, size=SIZE, frame_rate=Fraction(30), preset="hasty")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_that_fails_in_the_end_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ffmpeg").write_text("#!/bin/sh\ncat > /dev/null\nexit 7\n")
    (tmp_path / "ffmpeg").chmod(0o755)
    monkeypatch.setattr("imageio_ffmpeg.get_ffmpeg_exe", lambda: str(tmp_path / "ffmpeg"))
    with pytest.raises(OutputError, match=r"clip\.mp4: the encoder stopped: exit status 7"):
        write_h264(tmp_path / "clip.mp4", [BLACK], size=SIZE, frame_rate=Fraction(30))
    assert [path.name for path in tmp_path.iterdir()] == ["ffmpeg"]


def test_a_machine_without_ffmpeg_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> str:
        raise RuntimeError("No ffmpeg exe could be found.")

    for stand_in in (missing, lambda: str(tmp_path / "ffmpeg")):
        monkeypatch.setattr("imageio_ffmpeg.get_ffmpeg_exe", stand_in)
        with pytest.raises(DeviceError, match="IMAGEIO_FFMPEG_EXE"):
            write_h264(tmp_path / "clip.mp4", [BLACK], size=SIZE, frame_rate=Fraction(30))
    assert list(tmp_path.iterdir()) == []


def test_names_are_checked_first(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"\.mp4"):
        write_h264(tmp_path / "clip.avi", [], size=SIZE, frame_rate=Fraction(30))
    (tmp_path / "clip.mp4").touch()
    with pytest.raises(SettingsError, match="--overwrite"):
        write_h264(tmp_path / "clip.mp4", [], size=SIZE, frame_rate=Fraction(30))
    (tmp_path / "clip.mp4").unlink()
    with pytest.raises(OutputError, match=r"clip\.mp4"):
        write_h264(tmp_path / "none" / "clip.mp4", [BLACK], size=SIZE, frame_rate=Fraction(30))
