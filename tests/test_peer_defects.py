"""What other makers of blur data get wrong, each a test that their code would fail."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from blursynth.make import MakeConfig, MakeSummary, make_dataset
from blursynth.shards import Manifest, Shard
from samples import ClipMaker, moving_texture


def made(clip: Path, directory: Path, **settings: Any) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], MakeSummary]:
    """Blurry images, sharp ones and rows of all pairs."""
    summary = make_dataset([clip], directory, MakeConfig(**settings))
    blurry, sharp, rows = [], [], []
    for entry in Manifest.read(directory):
        with Shard(entry.path(directory)) as shard:
            rows.append(shard.rows())
            for index in range(len(shard)):
                pair = shard.pair(index)
                blurry.append(pair[0])
                sharp.append(pair[1])
    return np.array(blurry), np.array(sharp), np.concatenate(rows), summary


def flashes(num_frames: int, frame: int) -> NDArray[np.uint8]:
    """Black frames with a textured white one."""
    frames = np.zeros((num_frames, 32, 32, 3), np.uint8)
    frames[frame] = 200
    return frames


def test_means_are_rounded_and_not_cut_off(make_clip: ClipMaker, tmp_path: Path) -> None:
    """Floor costs half a code on average (MotionBlurGenerator, BIN, LBMD and others)."""
    frames = np.repeat(np.array([10, 11, 11], np.uint8), 32 * 32 * 3).reshape(3, 32, 32, 3)
    clip = make_clip(frames=frames, pixel_format="bgr0")
    blurry, _, _, _ = made(clip, tmp_path / "out", window="3", crf="linear")
    assert set(np.unique(blurry)) == {11}


@pytest.mark.parametrize("frame", range(7))
def test_every_frame_of_a_window_weighs_the_same(make_clip: ClipMaker, tmp_path: Path, frame: int) -> None:
    """A running mean that counts the first frame twice gives it twice the weight (MotionBlurGenerator)."""
    clip = make_clip(frames=flashes(7, frame), pixel_format="bgr0")
    blurry, _, _, _ = made(clip, tmp_path / "out", window="7", crf="linear", measure=False)
    assert set(np.unique(blurry)) == {round(200 / 7)}


@pytest.mark.parametrize("window", ["3", "7", "11"])
def test_the_sharp_frame_is_the_middle_one_and_its_number_is_told(
    make_clip: ClipMaker, tmp_path: Path, window: str
) -> None:
    """Others give the first frame, the last, or trail by half a window (MotionBlurGenerator, Auto-Crop, tmix)."""
    frames = moving_texture(22, 32, 32)
    clip = make_clip(frames=frames, pixel_format="bgr0")
    _, sharp, rows, _ = made(clip, tmp_path / "out", window=window)
    for image, row in zip(sharp, rows, strict=True):
        middle = (row["first_frame"] + row["last_frame"]) // 2
        assert row["centre_frame"] == middle
        assert np.array_equal(image, frames[middle])


def test_no_frame_is_in_two_exposures_that_follow_each_other(make_clip: ClipMaker, tmp_path: Path) -> None:
    """Windows of 11 every 8 frames are a shutter of 495 degrees (BIN)."""
    clip = make_clip(num_frames=40)
    _, _, rows, _ = made(clip, tmp_path / "out", window="5-9")
    frames = [range(row["first_frame"], row["last_frame"] + 1) for row in rows]
    assert max(Counter(frame for window in frames for frame in window).values()) == 1
    assert sum(map(len, frames)) == frames[-1][-1] + 1  # and none is left out between them


def test_brightness_and_contrast_are_left_alone(make_clip: ClipMaker, tmp_path: Path) -> None:
    """Stretching each picture from black to white changes what the network sees (DeblurGAN)."""
    frames = (moving_texture(9, 32, 48) // 4 + 30).astype(np.uint8)
    clip = make_clip(frames=frames, pixel_format="bgr0")
    blurry, _, _, _ = made(clip, tmp_path / "out", window="9")
    assert frames.min() <= blurry.min() <= blurry.max() <= frames.max()
    light = (frames / 255.0) ** 2.2
    assert ((blurry / 255.0) ** 2.2).mean() == pytest.approx(light.mean(), rel=2e-3)


def test_blurry_and_sharp_lie_on_each_other(make_clip: ClipMaker, tmp_path: Path) -> None:
    """A kernel off its centre shifts one against the other (DeblurGAN #78, #218; albumentations #1233)."""
    frames = np.zeros((7, 32, 64, 3), np.uint8)
    for t in range(7):
        frames[t, 12:20, 20 + 2 * t : 30 + 2 * t] = 255
    clip = make_clip(frames=frames, pixel_format="bgr0")
    blurry, sharp, _, _ = made(clip, tmp_path / "out", window="7", crf="linear")
    centres = [(image[0, 16, :, 0] * np.arange(64.0)).sum() / image[0, 16, :, 0].sum() for image in (blurry, sharp)]
    assert centres[0] == pytest.approx(centres[1], abs=0.05)


def test_light_is_averaged_and_not_codes(make_clip: ClipMaker, tmp_path: Path) -> None:
    """A white object that stays for 1/11 of the exposure over black (S-SDM, BIN and users of Adobe240)."""
    frames = flashes(11, 3)
    frames[3] = 255
    clip = make_clip(frames=frames, pixel_format="bgr0")
    for crf, code in (("linear", 23), ("bt709", 70), ("srgb", 85), ("gamma:2.2", 86)):
        blurry, _, _, _ = made(clip, tmp_path / crf.replace(":", "-"), window="11", crf=crf, measure=False)
        assert set(np.unique(blurry)) == {code}


def test_a_lamp_that_moves_streaks_although_the_mean_of_its_path_is_not_clipped(
    make_clip: ClipMaker, tmp_path: Path
) -> None:
    """A mask of what clips in the mean misses it (GS-Blur)."""
    frames = np.full((11, 32, 96, 3), 20, np.uint8)
    for t in range(11):
        frames[t, 12:20, 6 + 7 * t : 13 + 7 * t] = 255
    clip = make_clip(frames=frames, pixel_format="bgr0")
    plain, _, _, _ = made(clip, tmp_path / "plain", window="11")
    streaked, _, _, _ = made(clip, tmp_path / "streaked", window="11", highlights="3")
    assert plain[0, 16, 20:70].max() < 100
    assert streaked[0, 16, 20:70].min() > plain[0, 16, 20:70].max() + 50
    assert np.array_equal(streaked[0, :8], plain[0, :8])  # away from the lamp nothing changes


def two_scenes(first: int, second: int) -> NDArray[np.uint8]:
    dark, bright = moving_texture(first, 96, 128, seed=1) // 3, 255 - moving_texture(second, 96, 128, seed=2) // 3
    return np.concatenate([dark, bright])


def test_no_window_crosses_a_cut(make_clip: ClipMaker, tmp_path: Path) -> None:
    """None of them looks."""
    clip = make_clip(frames=two_scenes(17, 18), pixel_format="bgr0")
    _, _, rows, summary = made(clip, tmp_path / "out", window="7")
    spans = [(row["first_frame"], row["last_frame"]) for row in rows]
    assert spans == [(0, 6), (7, 13), (21, 27), (28, 34)]
    (told,) = summary.clips
    assert told.rejected == {"cut": 1}
    assert told.is_whole
    assert any("1 for cut" in note for note in told.notes)
    _, _, rows, _ = made(make_clip("at.mkv", two_scenes(14, 14), pixel_format="bgr0"), tmp_path / "at", window="7")
    assert len(rows) == 4  # a cut between windows costs none


@pytest.mark.parametrize("settings", [{"interpolate": "3"}, {"exposure": "7/240"}, {"exposure": "6/240"}])
def test_nothing_looks_over_a_cut_beside_a_window(
    make_clip: ClipMaker, tmp_path: Path, settings: dict[str, str]
) -> None:
    frames = two_scenes(14, 14)
    clip = make_clip("at.mkv", frames, pixel_format="bgr0")
    blurry, sharp, rows, _ = made(clip, tmp_path / "out", **settings)
    assert len(rows) >= 2
    for image, middle, row in zip(blurry, sharp, rows, strict=True):
        assert (row["first_frame"] < 14) == (row["last_frame"] < 14)
        assert abs(image.mean() - middle.mean()) < 6  # the scenes are 100 codes apart


def test_what_is_too_still_too_fast_or_too_soft_is_left_out(make_clip: ClipMaker, tmp_path: Path) -> None:
    scenes = {
        "still": moving_texture(7, 96, 128, speed=0),
        "slow": moving_texture(7, 96, 128, speed=1),
        "fast": moving_texture(7, 96, 128, speed=5),
    }
    rows = {}
    for name, frames in scenes.items():
        clip = make_clip(f"{name}.mkv", frames, pixel_format="bgr0")
        _, _, rows[name], _ = made(clip, tmp_path / name, window="7")
    motion = {name: float(found["motion_p95_px"][0]) for name, found in rows.items()}
    ghost = {name: float(found["ghost_score"][0]) for name, found in rows.items()}
    assert motion["still"] < 1 < motion["slow"] < motion["fast"]
    assert ghost["still"] < ghost["slow"] < ghost["fast"]
    clips = [tmp_path / f"{name}.mkv" for name in scenes]
    config = MakeConfig(window="7", min_motion=1, max_ghost=(ghost["slow"] + ghost["fast"]) / 2)
    summary = make_dataset(clips, tmp_path / "chosen", config)
    assert summary.rejected == {"ghost": 1, "motion": 1}
    assert [clip.pairs for clip in summary.clips] == [0, 1, 0]
    assert summary.is_whole
    assert make_dataset(clips, tmp_path / "chosen", config).rejected == {"ghost": 1, "motion": 1}  # told again
    soft = MakeConfig(window="7", min_sharpness=1.0)
    assert make_dataset(clips, tmp_path / "soft", soft).rejected == {"sharpness": 3}
