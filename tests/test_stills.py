"""`shake` as a whole: photographs into shards."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from blursynth.errors import PhotoError, RefusedError, SettingsError
from blursynth.make import Engine, MakeConfig, make_dataset
from blursynth.make.rebuild import rebuild_pair
from blursynth.make.stills import ShakeConfig, shake_dataset
from blursynth.shards import Manifest, Shard
from samples import ClipMaker, moving_texture

EVERYTHING: dict[str, Any] = {"blur_px": "3-8", "highlights": "on", "noise": "iso:400-1600", "jpeg": "80-95"}


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """Three photographs of textures, one of them with a white square."""
    paths = []
    for i in range(3):
        pixels = moving_texture(1, 96, 128, seed=i)[0]
        pixels[20:40, 30:60] = 255
        paths.append(tmp_path / f"photo {i}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths


def files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.glob("[!.]*"))}


def test_photographs_become_pairs_whose_sharp_half_is_a_piece_of_the_photograph(
    photos: list[Path], tmp_path: Path
) -> None:
    summary = shake_dataset(photos, tmp_path / "out", ShakeConfig(per_photo=3, blur_px="3-8"))
    assert (summary.pairs, summary.is_whole) == (9, True)
    sources = {path.name: np.asarray(Image.open(path)) for path in photos}
    for entry in Manifest.read(tmp_path / "out"):
        source = sources[entry.source]
        with Shard(entry.path(tmp_path / "out")) as shard:
            for index, row in enumerate(shard.rows()):
                blurry, sharp = shard.pair(index)
                height, width = sharp.shape[:2]
                top, left = (96 - height) // 2, (128 - width) // 2
                assert np.array_equal(sharp, source[top : top + height, left : left + width])
                assert not np.array_equal(blurry, sharp)
                assert row["motion_max_px"] >= row["motion_p95_px"] >= row["motion_p50_px"] > 1


def test_the_same_bytes_with_one_worker_or_two_and_after_an_interruption(photos: list[Path], tmp_path: Path) -> None:
    config = ShakeConfig(per_photo=2, **EVERYTHING, store="linear", output_crf="srgb,gamma:2.2")
    shake_dataset(photos, tmp_path / "one", config)
    shake_dataset(photos, tmp_path / "two", config, engine=Engine(jobs=2))
    assert files(tmp_path / "one") == files(tmp_path / "two")
    sorted((tmp_path / "two").glob("*.h5"))[1].unlink()
    shake_dataset(photos, tmp_path / "two", config)
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_still_pairs_show_the_same_twice(photos: list[Path], tmp_path: Path) -> None:
    shake_dataset(photos, tmp_path / "out", ShakeConfig(per_photo=4, still=1.0, layers="2"))
    for entry in Manifest.read(tmp_path / "out"):
        with Shard(entry.path(tmp_path / "out")) as shard:
            for index, row in enumerate(shard.rows()):
                blurry, sharp = shard.pair(index)
                assert np.abs(blurry.astype(int) - sharp).max() <= 1
                assert row["motion_max_px"] == 0


def test_pieces_of_a_size_lie_anywhere(photos: list[Path], tmp_path: Path) -> None:
    shake_dataset(photos[:1], tmp_path / "out", ShakeConfig(per_photo=6, blur_px="2-4", size=(64, 48)))
    (entry,) = Manifest.read(tmp_path / "out")
    assert (entry.height, entry.width) == (48, 64)
    with Shard(entry.path(tmp_path / "out")) as shard:
        sharps = {shard.pair(index)[1].tobytes() for index in range(6)}
    assert len(sharps) > 3


def test_a_gyro_log_drives_the_blur(photos: list[Path], tmp_path: Path) -> None:
    log = tmp_path / "gyro.csv"
    times = np.arange(0, 2, 0.005)
    log.write_text("time_s,gx,gy,gz\n" + "".join(f"{t:.4f},0,{0.5},0\n" for t in times))  # turns about y alone
    config = ShakeConfig(per_photo=2, gyro=str(log), exposure_seconds="0.1", focal_px=100, readout="0")
    shake_dataset(photos[:1], tmp_path / "out", config)
    (entry,) = Manifest.read(tmp_path / "out")
    with Shard(entry.path(tmp_path / "out")) as shard:
        assert shard.rows()["motion_p50_px"] == pytest.approx(100 * 0.5 * 0.1, rel=0.2)  # f times the angle
        blurry, sharp = (image.astype(float) for image in shard.pair(0))
    assert np.abs(np.diff(blurry, axis=1)).mean() < 0.8 * np.abs(np.diff(sharp, axis=1)).mean()


def test_a_bad_photograph_does_not_stop_the_others(photos: list[Path], tmp_path: Path) -> None:
    bad, small = tmp_path / "bad.png", tmp_path / "small.png"
    bad.write_bytes(b"no picture")
    Image.fromarray(np.zeros((14, 14, 3), np.uint8)).save(small)
    summary = shake_dataset([bad, *photos, small, photos[0]], tmp_path / "out", ShakeConfig(per_photo=1))
    assert [bool(photo.error) for photo in summary.photos] == [True, False, False, False, True, False]
    assert summary.photos[-1].same_as == photos[0]
    assert "small.png" in str(summary.photos[4].error)
    with pytest.raises(PhotoError, match=r"bad\.png"):
        shake_dataset([bad], tmp_path / "none", ShakeConfig())


def test_photographs_are_split_by_content(photos: list[Path], tmp_path: Path) -> None:
    shake_dataset(photos, tmp_path / "out", ShakeConfig(per_photo=1, split="train:0.5,val:0.5"))
    sides = {entry.source_sha256: entry.split for entry in Manifest.read(tmp_path / "out")}
    assert set(sides.values()) == {"train", "val"}
    renamed = [photo.rename(tmp_path / f"other {photo.name}") for photo in reversed(photos)]
    shake_dataset(renamed, tmp_path / "again", ShakeConfig(per_photo=1, split="train:0.5,val:0.5"))
    assert {entry.source_sha256: entry.split for entry in Manifest.read(tmp_path / "again")} == sides


def test_a_folder_of_clips_takes_no_photographs(make_clip: ClipMaker, photos: list[Path], tmp_path: Path) -> None:
    make_dataset([make_clip(num_frames=8)], tmp_path / "out", MakeConfig(window="3"))
    with pytest.raises(SettingsError, match="other settings"):
        shake_dataset(photos, tmp_path / "out", ShakeConfig())


@pytest.mark.parametrize("size", [None, (64, 48)])
def test_a_pair_is_made_again_from_its_record(photos: list[Path], tmp_path: Path, size: tuple[int, int] | None) -> None:
    config = ShakeConfig(per_photo=3, **EVERYTHING, store="linear", size=size)
    shake_dataset(photos[:1], tmp_path / "out", config)
    (entry,) = Manifest.read(tmp_path / "out")
    assert not rebuild_pair(entry.path(tmp_path / "out"), 2, photos[0]).different
    with pytest.raises(PhotoError, match="SHA-256"):
        rebuild_pair(entry.path(tmp_path / "out"), 2, photos[1])


def test_pairs_of_a_measured_curve_and_a_gyro_log_are_made_again(photos: list[Path], tmp_path: Path) -> None:
    curve, log = tmp_path / "camera.csv", tmp_path / "gyro.csv"
    curve.write_text("".join(f"{(i / 255) ** 2.4}\n" for i in range(256)))
    log.write_text("t,gx,gy,gz\n" + "".join(f"{i / 200:.3f},{i % 7 / 10},0.3,0\n" for i in range(400)))
    config = ShakeConfig(per_photo=2, crf=str(curve), gyro=str(log), focal_px=150, exposure_seconds="0.1")
    shake_dataset(photos[:1], tmp_path / "out", config)
    (entry,) = Manifest.read(tmp_path / "out")
    curve.unlink()
    assert not rebuild_pair(entry.path(tmp_path / "out"), 1, photos[0], gyro=log).different
    with pytest.raises(SettingsError, match="--gyro"):
        rebuild_pair(entry.path(tmp_path / "out"), 1, photos[0])
    log.write_text(log.read_text() + "9,0,0,0\n")
    with pytest.raises(RefusedError, match="not the log"):
        rebuild_pair(entry.path(tmp_path / "out"), 1, photos[0], gyro=log)


def test_a_pipe_is_no_photograph(photos: list[Path], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    summary = shake_dataset([tmp_path / "pipe.jpg", photos[0]], tmp_path / "out", ShakeConfig(per_photo=1))
    assert "regular file" in str(summary.photos[0].error)
    assert summary.photos[1].pairs == 1


@pytest.mark.parametrize(
    "config",
    [
        {"per_photo": 0},
        {"still": 1.5},
        {"still": float("nan")},
        {"size": (8, 64)},
        {"focal_px": 0.0},
        {"focal_px": float("inf")},
        {"crf": "auto"},
        {"noise": "match"},
        {"blur_px": "0"},
        {"readout": "2"},
        {"layers": "9"},
        {"codec": "gzip"},
        {"store": "light"},
    ],
)
def test_settings_that_make_no_sense_are_refused(config: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        ShakeConfig(**config)
