from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from blursynth.encoding import write_h264
from blursynth.errors import OutputError, SettingsError
from blursynth.video import decode, describe, to_rgb


@pytest.mark.parametrize("rate", [Fraction(240), Fraction(240, 7), Fraction(24000, 1001)])
def test_frames_come_back_with_their_colours_and_times(tmp_path: Path, rate: Fraction) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (12, 3)).astype(np.uint8)
    frames = [np.broadcast_to(colour, (32, 48, 3)).astype(np.uint8) for colour in colours]
    path = tmp_path / "clip.mp4"
    assert write_h264(path, frames, size=(32, 48), frame_rate=rate, quality=1) == 12
    info = describe(path)
    assert (info.codec, info.pixel_format, info.colour.matrix, info.colour.guessed) == ("h264", "yuv420p", "bt709", ())
    assert info.num_frames == 12
    assert float(info.frame_rate) == pytest.approx(float(rate), rel=1e-3)
    assert len(set(np.diff(info.pts).tolist())) <= 2
    for frame in decode(info):
        assert np.abs(to_rgb(info, frame).astype(int) - colours[frame.index]).max() <= 3


def test_odd_sizes_lose_their_last_line(tmp_path: Path) -> None:
    frames = [np.zeros((33, 47, 3), np.uint8)] * 3
    write_h264(tmp_path / "clip.mp4", frames, size=(33, 47), frame_rate=Fraction(30))
    with av.open(str(tmp_path / "clip.mp4")) as container:
        assert (container.streams.video[0].height, container.streams.video[0].width) == (32, 46)


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def failing() -> Iterator[NDArray[np.uint8]]:
        yield np.zeros((32, 48, 3), np.uint8)
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        write_h264(tmp_path / "clip.mp4", failing(), size=(32, 48), frame_rate=Fraction(30))
    with pytest.raises(OutputError, match=r"clip\.mp4"):
        write_h264(tmp_path / "none" / "clip.mp4", [], size=(32, 48), frame_rate=Fraction(30))
    assert list(tmp_path.iterdir()) == []


def test_names_are_checked_first(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"\.mp4"):
        write_h264(tmp_path / "clip.avi", [], size=(32, 48), frame_rate=Fraction(30))
    (tmp_path / "clip.mp4").touch()
    with pytest.raises(SettingsError, match="--overwrite"):
        write_h264(tmp_path / "clip.mp4", [], size=(32, 48), frame_rate=Fraction(30))
