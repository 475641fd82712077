"""Clips: deblurred frame by frame, and all else as it was."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import imageio_ffmpeg
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from blursynth.decoding import decode, to_rgb
from blursynth.errors import OutputError, SettingsError, VideoError
from blursynth.model import footage as module
from blursynth.model.footage import deblur_clip
from blursynth.model.lite import Lite, LiteConfig
from blursynth.model.photographs import deblur_files
from blursynth.model.restore import Deblurrer
from blursynth.places import is_clip
from blursynth.video import describe
from samples import ClipMaker, moving_texture

pytestmark = pytest.mark.usefixtures("one_thread")


class Lighter(Lite):
    """Adds a tenth to every pixel."""

    def forward(self, blurry: Tensor) -> list[Tensor]:
        return [blurry + 0.1]


def deblurrer(kind: type[Lite] = Lite) -> Deblurrer:
    """Untrained, `Lite` changes nothing."""
    with torch.random.fork_rng(devices=[]):
        network = kind(LiteConfig(channels=(2, 2), encoder_blocks=(0, 0), decoder_blocks=(0,)))
        return Deblurrer(network, device=torch.device("cpu"))


def gentle(num_frames: int = 3, height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """Ramps of colour that move: sampling chroma at half the resolution loses nothing, a shift of it would show."""
    t, y, x = np.mgrid[:num_frames, :height, :width]
    planes = (40 + 2.4 * x + 3 * t, 200 - 2.9 * y, 60 + 1.2 * x + 1.3 * y)
    frames: NDArray[np.uint8] = np.clip(np.stack(planes, axis=3), 0, 255).astype(np.uint8)
    return frames


def inner(frames: NDArray[np.float64]) -> NDArray[np.float64]:
    return frames[:, 3:-3, 3:-3]  # beyond the border, chroma is guessed


def frames_of(path: Path) -> NDArray[np.float64]:
    info = describe(path)
    return np.stack([to_rgb(info, frame) for frame in decode(info)]).astype(np.float64)


def packets_of(path: Path, kind: str) -> list[list[tuple[Fraction, bytes]]]:
    with av.open(str(path)) as container:
        streams = [stream for stream in container.streams if stream.type == kind]
        found: dict[int, list[tuple[Fraction, bytes]]] = {stream.index: [] for stream in streams}
        for packet in container.demux(streams) if streams else ():
            if packet.pts is not None:
                found[packet.stream.index].append((Fraction(packet.pts) * packet.time_base, bytes(packet)))
        return list(found.values())


def ffmpeg(*arguments: str | Path) -> None:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True)


def sounding(clip: Path, output: Path) -> Path:
    """Add two sound tracks, and subtitles if the file is one of Matroska."""
    subtitles = clip.with_suffix(".srt")
    subtitles.write_text("1\n00:00:00,100 --> 00:00:00,300\nA caption\n")
    tones = [f"sine=frequency={hertz}:duration=0.6" for hertz in (440, 880)]
    inputs: list[str | Path] = ["-i", clip, "-f", "lavfi", "-i", tones[0], "-f", "lavfi", "-i", tones[1]]
    maps = ["-map", "0:v", "-map", "1:a", "-map", "2:a"]
    if output.suffix == ".mkv":
        inputs, maps = [*inputs, "-i", subtitles], [*maps, "-map", "3:s"]
    ffmpeg(*inputs, *maps, "-c:v", "copy", "-c:a", "aac", output)
    return output


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".mov"])
def test_frames_are_what_the_network_makes_of_them(make_clip: ClipMaker, tmp_path: Path, suffix: str) -> None:
    clip = make_clip(f"a{suffix}", gentle(7), codec="libx264", options={"crf": "1"})
    output = tmp_path / f"b{suffix}"
    assert deblur_clip(clip, output, deblurrer(Lighter), quality=1) == 0
    before, after = frames_of(clip), frames_of(output)
    assert after.shape == before.shape
    assert np.abs(inner(after) - np.minimum(255, inner(before) + 25.5)).mean() < 1
    assert describe(output).codec == "h264"


def test_an_untrained_network_changes_no_more_than_coding_does(make_clip: ClipMaker, tmp_path: Path) -> None:
    clip = make_clip("a.mp4", gentle(5), codec="libx264", options={"crf": "1"})
    deblur_clip(clip, tmp_path / "b.mp4", deblurrer(), quality=0)
    difference = inner(frames_of(tmp_path / "b.mp4") - frames_of(clip))
    assert np.abs(difference).mean() < 1
    assert np.abs(difference.mean(axis=(0, 1, 2))).max() < 0.35  # no shift of colours


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_frames_keep_their_own_times(make_clip: ClipMaker, tmp_path: Path, suffix: str) -> None:
    times = [0, 3, 4, 9, 10, 17, 18, 40]
    clip = make_clip(f"a{suffix}", num_frames=8, rate=60, codec="libx264", pts=times)
    deblur_clip(clip, tmp_path / f"b{suffix}", deblurrer())
    before, after = describe(clip), describe(tmp_path / f"b{suffix}")
    assert after.num_frames == 8
    seconds = after.pts * float(after.time_base)
    assert np.abs(seconds - before.pts * float(before.time_base)).max() < 1e-3
    assert len(set(np.diff(after.pts).tolist())) > 3


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_sound_and_subtitles_are_copied_bit_for_bit(make_clip: ClipMaker, tmp_path: Path, suffix: str) -> None:
    clip = sounding(make_clip("silent.mp4", num_frames=30, rate=60, codec="libx264"), tmp_path / f"a{suffix}")
    deblur_clip(clip, tmp_path / f"b{suffix}", deblurrer())
    for kind, count in (("audio", 2), ("subtitle", int(suffix == ".mkv"))):
        before, after = packets_of(clip, kind), packets_of(tmp_path / f"b{suffix}", kind)
        assert len(before) == len(after) == count
        for theirs, ours in zip(before, after, strict=True):
            assert [data for _, data in ours] == [data for _, data in theirs]
            assert max(abs(a - b) for (a, _), (b, _) in zip(ours, theirs, strict=True)) < Fraction(2, 1000)


@pytest.mark.parametrize(("turns", "degrees"), [(1, 90), (2, 180), (3, 270)])
def test_a_clip_to_be_shown_turned_becomes_upright(
    make_clip: ClipMaker, tmp_path: Path, turns: int, degrees: int
) -> None:
    flat = make_clip("flat.mp4", gentle(), codec="libx264", options={"crf": "2"})
    ffmpeg("-display_rotation", str(degrees), "-i", flat, "-c", "copy", tmp_path / "a.mp4")
    info = describe(tmp_path / "a.mp4")
    assert info.rotation
    deblur_clip(tmp_path / "a.mp4", tmp_path / "b.mp4", deblurrer(), quality=2)
    assert describe(tmp_path / "b.mp4").rotation == 0
    upright = np.rot90(frames_of(tmp_path / "a.mp4"), info.rotation, (1, 2))
    assert np.abs(inner(frames_of(tmp_path / "b.mp4") - upright)).mean() < 1.2


@pytest.mark.parametrize("size", [(48, 64), (47, 64), (48, 63), (47, 63)])
def test_odd_sizes_stay(make_clip: ClipMaker, tmp_path: Path, size: tuple[int, int]) -> None:
    clip = make_clip("a.mkv", gentle(2, *size), pixel_format="yuv420p")
    deblur_clip(clip, tmp_path / "b.mkv", deblurrer(), quality=1)
    assert np.abs(inner(frames_of(tmp_path / "b.mkv") - frames_of(clip))).mean() < 1


TAGS: list[dict[str, int]] = [
    {"colorspace": 1, "color_range": 1, "color_primaries": 1, "color_trc": 1},
    {"colorspace": 5, "color_range": 1, "color_primaries": 5, "color_trc": 6},
    {"colorspace": 9, "color_range": 1, "color_primaries": 9, "color_trc": 14},
    {"colorspace": 1, "color_range": 2, "color_primaries": 1, "color_trc": 1},
]


@pytest.mark.parametrize("tags", TAGS)
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p", "yuv420p10le"])
def test_depth_sampling_and_colours_stay(
    make_clip: ClipMaker, tmp_path: Path, tags: dict[str, int], pixel_format: str
) -> None:
    clip = make_clip("a.mkv", gentle(), codec="libx264", options={"crf": "1"}, pixel_format=pixel_format, tags=tags)
    deblur_clip(clip, tmp_path / "b.mkv", deblurrer(), quality=1)
    before, after = describe(clip), describe(tmp_path / "b.mkv")
    assert {name.replace("j", "") for name in (before.pixel_format, after.pixel_format)} == {pixel_format}
    assert (after.colour.matrix, after.colour.is_full_range) == (before.colour.matrix, before.colour.is_full_range)
    assert after.colour.guessed == ()
    assert after.transfer == tags["color_trc"]
    with av.open(str(tmp_path / "b.mkv")) as container:
        assert container.streams.video[0].codec_context.color_primaries == tags["color_primaries"]
    scale = 255 / before.colour.peak
    difference = inner(frames_of(tmp_path / "b.mkv") - frames_of(clip)) * scale
    assert np.abs(difference).mean() < 1
    assert np.abs(difference.mean(axis=(0, 1, 2))).max() < 0.4  # no shift of colours


def test_a_clip_without_a_kind_of_file_for_it_is_refused(make_clip: ClipMaker, tmp_path: Path) -> None:
    clip = make_clip(num_frames=2)
    with pytest.raises(SettingsError, match=r"b\.avi: clips are written as \.m4v, \.mkv, \.mov, \.mp4"):
        deblur_clip(clip, tmp_path / "b.avi", deblurrer())
    (tmp_path / "b.mkv").write_text("precious")
    with pytest.raises(SettingsError, match="exists already"):
        deblur_clip(clip, tmp_path / "b.mkv", deblurrer())
    (tmp_path / "text.mp4").write_text("no clip")
    with pytest.raises(VideoError, match=r"text\.mp4"):
        deblur_clip(tmp_path / "text.mp4", tmp_path / "c.mp4", deblurrer())
    assert not (tmp_path / "c.mp4").exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_what_is_interrupted_leaves_nothing(
    make_clip: ClipMaker, tmp_path: Path, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = sounding(make_clip("silent.mp4", num_frames=9, rate=60, codec="libx264"), tmp_path / "a.mkv")
    write, calls = module._Writer.write, []

    def fail(self: Any, pixels: NDArray[Any], pts: int) -> None:
        calls.append(pts)
        if len(calls) > 4:
            raise error
        write(self, pixels, pts)

    monkeypatch.setattr(module._Writer, "write", fail)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(error):
        deblur_clip(clip, tmp_path / "b.mkv", deblurrer())
    assert sorted(tmp_path.iterdir()) == before


def test_a_full_disk_leaves_nothing(make_clip: ClipMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = make_clip(num_frames=3)

    def full(*_arguments: object) -> None:
        raise av.error.OSError(28, "No space left on device", "b.mkv")

    monkeypatch.setattr(module._Writer, "write", full)
    with pytest.raises(OutputError, match=r"b\.mkv"):
        deblur_clip(clip, tmp_path / "b.mkv", deblurrer())
    assert not (tmp_path / "b.mkv").exists()


class Watching:
    """Notes how far the source had been read when each frame was done."""

    def __init__(self) -> None:
        self.done = 0.0
        self.notes: list[str] = []

    @contextmanager
    def task(self, label: str, total: float, unit: str) -> Iterator[Callable[[float, str], None]]:
        assert (label, unit, total) == ("a.mp4", "frames", 40)

        def advance(amount: float, _remark: str) -> None:
            self.done += amount

        yield advance

    def note(self, message: str) -> None:
        self.notes.append(message)


def test_frames_are_read_as_they_are_needed(
    make_clip: ClipMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = make_clip("a.mp4", moving_texture(40, 16, 16), codec="libx264")
    watching, ahead = Watching(), list[float]()

    def counted(info: Any, frame: Any) -> NDArray[Any]:
        ahead.append(frame.index - watching.done)
        return to_rgb(info, frame)

    monkeypatch.setattr(module, "to_rgb", counted)
    deblur_clip(clip, tmp_path / "b.mp4", deblurrer(), progress=watching)
    assert (watching.done, set(ahead)) == (40, {0.0})


def test_clips_and_photographs_may_be_mixed(make_clip: ClipMaker, tmp_path: Path) -> None:
    clip, text = make_clip(num_frames=2), tmp_path / "text.mp4"
    text.write_text("no clip")
    results = deblur_files([clip, text], [tmp_path / "b.mkv", tmp_path / "c.mp4"], deblurrer())
    assert [bool(result.error) for result in results] == [False, True]
    assert (tmp_path / "b.mkv").exists()
    assert is_clip(Path("x.MOV"))
    assert not is_clip(Path("x.jpg"))


@pytest.mark.parametrize("strip_metadata", [False, True])
def test_what_a_clip_says_of_itself_is_kept_or_left_out(
    make_clip: ClipMaker, tmp_path: Path, *, strip_metadata: bool
) -> None:
    plain = make_clip("plain.mp4", num_frames=2, codec="libx264")
    ffmpeg("-i", plain, "-c", "copy", "-metadata", "title=At home", tmp_path / "a.mp4")
    deblur_clip(tmp_path / "a.mp4", tmp_path / "b.mp4", deblurrer(), strip_metadata=strip_metadata)
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert (container.metadata.get("title") == "At home") != strip_metadata


def test_what_is_odd_about_a_clip_is_told(make_clip: ClipMaker, tmp_path: Path) -> None:
    clip = make_clip("a.mp4", moving_texture(40, 16, 16), codec="libx264")
    watching = Watching()
    deblur_clip(clip, tmp_path / "b.mp4", deblurrer(), progress=watching)
    assert any("no colour tags" in note for note in watching.notes)
