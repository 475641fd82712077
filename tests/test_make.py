import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from blursynth.crf import response_curve
from blursynth.decoding import Frame, decode, to_rgb
from blursynth.errors import OutputError, SettingsError, VideoError
from blursynth.make import MakeConfig, MakeSummary, check_preview, make_dataset, write_preview
from blursynth.make.plan import plan_clip
from blursynth.shards import Manifest, Shard, ShardWriter
from blursynth.video import VideoInfo, describe
from samples import ClipMaker, moving_texture


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put two pairs into a shard, so that small clips give several shards."""
    monkeypatch.setattr("blursynth.make.plan.pairs_per_shard", lambda *_size, **_options: 2)


def pairs_of(directory: Path) -> list[tuple[int, NDArray[np.uint8], NDArray[np.uint8]]]:
    """All pairs of a folder: (centre frame, blurry, sharp)."""
    found = []
    for entry in Manifest.read(directory):
        with Shard(entry.path(directory)) as shard:
            for index, row in enumerate(shard.rows()):
                found.append((int(row["centre_frame"]), *shard.pair(index)))
    return found


def file_hashes(directory: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.iterdir()
        if path.name != ".blursynth.lock"
    }


def expected_pair(frames: dict[int, NDArray[Any]], first: int, length: int) -> tuple[NDArray[Any], NDArray[Any]]:
    codes = np.stack([frames[i] for i in range(first, first + length)])
    linear = (np.arange(256) / 255) ** 2.2
    blurry = np.rint(255 * np.mean(linear[codes], axis=0) ** (1 / 2.2))
    return blurry, codes[length // 2]


def test_pairs_are_the_means_of_their_windows(make_clip: ClipMaker, tmp_path: Path, small_shards: None) -> None:
    clip = make_clip(num_frames=24)
    info = describe(clip)
    frames = {frame.index: to_rgb(info, frame) for frame in decode(info)}
    summary = make_dataset([clip], tmp_path / "out", MakeConfig(window="5", stride=3))
    assert summary.is_whole
    pairs = pairs_of(tmp_path / "out")
    assert [centre for centre, _, _ in pairs] == [2, 5, 8, 11, 14, 17, 20]
    for centre, blurry, sharp in pairs:
        expected = expected_pair(frames, centre - 2, 5)
        assert np.array_equal(blurry, expected[0])
        assert np.array_equal(sharp, expected[1])


def test_a_shard_says_how_it_was_made(make_clip: ClipMaker, tmp_path: Path) -> None:
    clip = make_clip("my clip.mkv", num_frames=15)
    make_dataset([clip], tmp_path / "out", MakeConfig(window="3-7", crf="srgb", seed=5))
    (entry,) = Manifest.read(tmp_path / "out")
    assert entry.shard.startswith("my_clip-")
    assert entry.source == "my clip.mkv"
    assert entry.source_sha256 == hashlib.sha256(clip.read_bytes()).hexdigest()
    with Shard(tmp_path / "out" / entry.shard) as shard:
        config = json.loads(shard.attributes["config"])
        assert (config["window"], config["crf"], config["seed"]) == ("3-7", "srgb", 5)
        assert MakeConfig(**config).sha256() == entry.settings_sha256
        np.testing.assert_array_equal(shard.attributes["crf_table"], response_curve("srgb").linear_of_codes())
        rows = shard.rows()
        assert set(rows["num_frames"]) <= {3, 5, 7}
        np.testing.assert_allclose(rows["exposure_seconds"], rows["num_frames"] / 240)
        assert (rows["last_frame"] - rows["first_frame"] + 1 == rows["num_frames"]).all()
        assert (rows["first_pts"] < rows["centre_pts"]).all()


def test_the_same_command_gives_the_same_bytes_and_then_does_nothing(
    make_clip: ClipMaker, tmp_path: Path, small_shards: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = make_clip()
    for name in ("one", "two"):
        make_dataset([clip], tmp_path / name, MakeConfig(window="3-7"))
    assert file_hashes(tmp_path / "one") == file_hashes(tmp_path / "two")
    monkeypatch.setattr("blursynth.make.run.decode", lambda _info: pytest.fail("decoded again"))
    assert make_dataset([clip], tmp_path / "one", MakeConfig(window="3-7")).is_whole


@pytest.mark.parametrize("harm", ["delete", "cut", "flip", "unlist"])
def test_what_was_harmed_is_made_again(make_clip: ClipMaker, tmp_path: Path, small_shards: None, harm: str) -> None:
    clip, out = make_clip(), tmp_path / "out"
    make_dataset([clip], out)
    before = file_hashes(out)
    victim = min(out.glob("*.h5"))
    match harm:
        case "delete":
            victim.unlink()
        case "cut":
            os.truncate(victim, 5000)
        case "flip":
            data = bytearray(victim.read_bytes())
            data[-100] ^= 4
            victim.write_bytes(data)
        case "unlist":
            lines = (out / "manifest.jsonl").read_text().splitlines(keepends=True)
            (out / "manifest.jsonl").write_text("".join(lines[1:]))
    assert make_dataset([clip], out).is_whole
    assert file_hashes(out) == before


# Runs make and dies, without any chance to clean up, at the call to the disk that the third argument counts.
DYING_MAKE = """
import itertools, os, signal, sys
from pathlib import Path
from blursynth.make import MakeConfig, make_dataset, plan

calls = itertools.count(1)
def dying(name):
    real = getattr(os, name)
    def call(*arguments, **options):
        if next(calls) == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)
    setattr(os, name, call)
for name in ("pwrite", "fsync", "posix_fallocate", "replace", "rename"):
    dying(name)
plan.pairs_per_shard = lambda height, width, keeps_light: 3
make_dataset([Path(sys.argv[1])], Path(sys.argv[2]), MakeConfig(window="3"))
print(next(calls))
"""


def test_killed_at_any_moment_it_leaves_whole_shards_and_finishes_with_the_same_bytes(
    make_clip: ClipMaker, tmp_path: Path
) -> None:
    clip = make_clip(frames=moving_texture(60, 96, 128), codec="libx264", name="clip.mp4")

    def make(out: Path, die_at: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", DYING_MAKE, str(clip), str(out), str(die_at)]
        return subprocess.run(command, check=False, capture_output=True, text=True)

    num_calls = int(make(tmp_path / "undisturbed", 0).stdout)
    expected = file_hashes(tmp_path / "undisturbed")
    assert num_calls > 100
    out = tmp_path / "out"
    draw = random.Random(0)
    kills = 0
    for _ in range(8):
        kills += make(out, draw.randrange(1, num_calls // 3)).returncode == -signal.SIGKILL
        for path in out.glob("*.h5"):
            assert hashlib.sha256(path.read_bytes()).hexdigest() == expected[path.name]
        Manifest.read(out, must_exist=False)
    assert kills >= 3
    assert make(out, 0).returncode == 0
    assert file_hashes(out) == expected


def test_other_settings_are_refused_by_name_or_replaced(make_clip: ClipMaker, tmp_path: Path) -> None:
    clip, out = make_clip(), tmp_path / "out"
    make_dataset([clip], out, MakeConfig(window="5"))
    before = file_hashes(out)
    with pytest.raises(SettingsError, match=r"made with crf gamma:2\.2, window 5"):
        make_dataset([clip], out, MakeConfig(window="7", crf="srgb"))
    assert file_hashes(out) == before
    make_dataset([clip], out, MakeConfig(window="7"), overwrite=True)
    assert {entry.pairs for entry in Manifest.read(out)} == {3}
    assert len(list(out.glob("*.h5"))) == 1


def test_clips_join_a_folder_and_twins_are_left_out(make_clip: ClipMaker, tmp_path: Path) -> None:
    one, two = (make_clip(f"{name}.mkv", moving_texture(24, 48, 64, seed=i)) for i, name in enumerate(("one", "two")))
    twin = tmp_path / "twin.mkv"
    twin.write_bytes(one.read_bytes())
    make_dataset([one], tmp_path / "out")
    summary = make_dataset([one, two, twin], tmp_path / "out")
    assert summary.is_whole
    assert summary.clips[2].same_as == one
    assert {entry.source for entry in Manifest.read(tmp_path / "out")} == {"one.mkv", "two.mkv"}


def test_a_bad_clip_does_not_stop_the_good_ones(make_clip: ClipMaker, tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_text("not a video")
    summary = make_dataset([bad, make_clip()], tmp_path / "out")
    assert not summary.is_whole
    assert summary.pairs == 3
    assert "bad.mp4" in str(summary.clips[0].error)
    with pytest.raises(VideoError, match=r"bad\.mp4"):
        make_dataset([bad], tmp_path / "other")


@pytest.mark.parametrize(("num_frames", "pairs"), [(6, 0), (7, 1), (13, 1), (14, 2)])
def test_a_window_must_fit(make_clip: ClipMaker, tmp_path: Path, num_frames: int, pairs: int) -> None:
    clip = make_clip(num_frames=num_frames)
    if pairs:
        assert make_dataset([clip], tmp_path / "out").pairs == pairs
    else:
        with pytest.raises(VideoError, match="6 frames, a window needs 7"):
            make_dataset([clip], tmp_path / "out")
        assert list((tmp_path / "out").glob("*.h5")) == []


def damaged_clip(make_clip: ClipMaker) -> Path:
    path = make_clip(
        "damaged.mp4", moving_texture(60, 96, 128), codec="libx264", options={"g": "12", "bf": "2"},
    )  # fmt: skip
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 300] = bytes(300)
    path.write_bytes(data)
    return path


def test_damage_costs_the_windows_that_touch_it(make_clip: ClipMaker, tmp_path: Path, small_shards: None) -> None:
    clip = damaged_clip(make_clip)
    info = describe(clip)
    good = {frame.index: to_rgb(info, frame) for frame in decode(info) if not frame.is_damaged}
    summary = make_dataset([clip], tmp_path / "out", MakeConfig(window="3"))
    (result,) = summary.clips
    assert 5 < result.pairs < result.planned == 20
    assert any(f"{20 - result.pairs} of 20 windows dropped" in note for note in result.notes)
    assert not summary.is_whole
    pairs = pairs_of(tmp_path / "out")
    assert len(pairs) == result.pairs
    for centre, blurry, _ in pairs:
        assert {centre - 1, centre, centre + 1} <= good.keys()
        assert np.array_equal(blurry, expected_pair(good, centre - 1, 3)[0])
    assert make_dataset([clip], tmp_path / "out", MakeConfig(window="3")).clips[0].pairs == result.pairs


def test_windows_do_not_cross_gaps_in_time(make_clip: ClipMaker, tmp_path: Path) -> None:
    pts = [*range(8), *range(40, 47)]
    clip = make_clip(num_frames=15, pts=pts, rate=100)
    summary = make_dataset([clip], tmp_path / "out", MakeConfig(window="3"))
    assert [centre for centre, _, _ in pairs_of(tmp_path / "out")] == [1, 4, 9, 12]
    assert "1 gap(s) in its times cost 1 windows" in summary.clips[0].notes


def test_a_true_rate_replaces_one_that_lies(make_clip: ClipMaker, tmp_path: Path) -> None:
    summary = make_dataset([make_clip(rate=30)], tmp_path / "out", MakeConfig(source_fps="240"))
    assert not any("by its time stamps" in note for note in summary.clips[0].notes)
    with Shard(tmp_path / "out" / summary.clips[0].shards[0]) as shard:
        assert shard.rows()["exposure_seconds"][0] == pytest.approx(7 / 240)


def test_resizing_checks_size_and_shape(make_clip: ClipMaker, tmp_path: Path) -> None:
    clip = make_clip(size=(48, 64))
    make_dataset([clip], tmp_path / "out", MakeConfig(resize=(32, 24)))
    assert {blurry.shape for _, blurry, _ in pairs_of(tmp_path / "out")} == {(24, 32, 3)}
    for resize, reason in [((128, 96), "cannot be enlarged"), ((32, 32), "32x24 fits")]:
        with pytest.raises(VideoError, match=reason):
            make_dataset([clip], tmp_path / "other", MakeConfig(resize=resize))


@pytest.mark.parametrize(
    "settings",
    [{"window": "8"}, {"stride": 0}, {"crf": "sRGB"}, {"resize": (8, 8)}, {"source_fps": "fast"}, {"source_fps": "0"}],
)
def test_settings_are_checked_before_anything_is_opened(settings: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        MakeConfig(**settings)


def test_the_disk_fills_in_the_middle(
    make_clip: ClipMaker, tmp_path: Path, small_shards: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, out = make_clip(num_frames=42), tmp_path / "out"
    make_dataset([clip], tmp_path / "undisturbed", MakeConfig(window="3"))
    real, calls = os.posix_fallocate, 0

    def full_from_the_fourth_shard_on(descriptor: int, offset: int, size: int) -> None:
        nonlocal calls
        calls += 1
        if calls > 6:
            raise OSError(28, "No space left on device")
        real(descriptor, offset, size)

    monkeypatch.setattr(os, "posix_fallocate", full_from_the_fourth_shard_on)
    with pytest.raises(OutputError, match="the disk is full"):
        make_dataset([clip], out, MakeConfig(window="3"))
    monkeypatch.undo()
    monkeypatch.setattr("blursynth.make.plan.pairs_per_shard", lambda *_size, **_options: 2)
    names = set(file_hashes(out))
    assert not any(name.endswith(".tmp") for name in names)
    assert 0 < len(names & set(file_hashes(tmp_path / "undisturbed"))) < len(file_hashes(tmp_path / "undisturbed"))
    make_dataset([clip], out, MakeConfig(window="3"))
    assert file_hashes(out) == file_hashes(tmp_path / "undisturbed")


def test_preview_video_shows_the_blurry_images_at_the_reduced_rate(make_clip: ClipMaker, tmp_path: Path) -> None:
    summary: MakeSummary = make_dataset([make_clip(num_frames=42)], tmp_path / "out", MakeConfig(window="7"))
    assert write_preview(summary, tmp_path / "blurry.mp4") == 6
    info = describe(tmp_path / "blurry.mp4")
    assert (info.num_frames, info.codec) == (6, "h264")
    assert float(info.frame_rate) == pytest.approx(240 / 7, rel=1e-3)
    for frame, (_, blurry, _) in zip(decode(info), pairs_of(tmp_path / "out"), strict=True):
        assert np.abs(to_rgb(info, frame).astype(int) - blurry).mean() < 12


@pytest.mark.shared
def test_the_real_clip_gives_42_pairs_that_float64_gives_too(shared: Path, tmp_path: Path) -> None:
    clip = shared / "video" / "gopro_240fps.mp4"
    summary = make_dataset([clip], tmp_path / "out", MakeConfig(window="7"))
    assert (summary.pairs, summary.is_whole) == (42, True)
    info = describe(clip)
    frames: dict[int, NDArray[Any]] = {}
    pairs = iter(pairs_of(tmp_path / "out"))
    for frame in decode(info):
        frames[frame.index] = to_rgb(info, frame)
        if frame.index % 7 == 6:
            centre, blurry, sharp = next(pairs)
            assert centre == frame.index - 3
            expected = expected_pair(frames, frame.index - 6, 7)
            assert np.array_equal(blurry, expected[0])
            assert np.array_equal(sharp, expected[1])
            frames.clear()
    assert next(pairs, None) is None


def test_a_shard_whose_writing_failed_is_not_listed(
    make_clip: ClipMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, out = make_clip(num_frames=21), tmp_path / "out"
    real, calls = ShardWriter.append, 0

    def failing(self: ShardWriter, *arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise OutputError("the third pair: input/output error")
        real(self, *arguments)

    monkeypatch.setattr(ShardWriter, "append", failing)
    with pytest.raises(OutputError, match="third pair"):
        make_dataset([clip], out)
    assert list(out.glob("*.h5")) == []
    monkeypatch.undo()
    assert make_dataset([clip], out).pairs == 3


def test_overwriting_discards_nothing_before_something_can_take_its_place(make_clip: ClipMaker, tmp_path: Path) -> None:
    clip, bad, out = make_clip(), tmp_path / "bad.mp4", tmp_path / "out"
    bad.write_text("not a video")
    make_dataset([clip], out)
    before = file_hashes(out)
    with pytest.raises(VideoError):
        make_dataset([bad], out, MakeConfig(window="9"), overwrite=True)
    assert file_hashes(out) == before
    (out / "manifest.jsonl").write_bytes(b"")  # killed after discarding, before the first new shard
    assert make_dataset([clip], out, MakeConfig(window="9")).is_whole


def test_a_renamed_clip_is_the_same_clip(make_clip: ClipMaker, tmp_path: Path) -> None:
    clip, out = make_clip(), tmp_path / "out"
    make_dataset([clip], out)
    before = file_hashes(out)
    renamed = clip.rename(tmp_path / "another name.mkv")
    assert make_dataset([renamed], out).is_whole
    assert file_hashes(out) == before


def test_overlapping_windows_of_drawn_lengths_lose_only_those_that_touch_the_damage(
    make_clip: ClipMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_shards: None
) -> None:
    def decode_with_damage(info: VideoInfo, start: int = 0) -> Iterator[Frame]:
        for frame in decode(info, start):
            yield replace(frame, is_damaged=frame.index == 20)

    monkeypatch.setattr("blursynth.make.run.decode", decode_with_damage)
    clip, config = make_clip(num_frames=40), MakeConfig(window="3-13", stride=1)
    plan = plan_clip(describe(clip), hashlib.sha256(clip.read_bytes()).hexdigest(), config)
    windows = [window for part in plan.parts for window in part.windows]
    expected = [window.centre for window in windows if not window.first <= 20 < window.stop]
    make_dataset([clip], tmp_path / "out", config)
    assert [centre for centre, _, _ in pairs_of(tmp_path / "out")] == expected
    before = file_hashes(tmp_path / "out")
    for path in sorted((tmp_path / "out").glob("*.h5"))[3::2]:
        path.unlink()
    make_dataset([clip], tmp_path / "out", config)
    assert file_hashes(tmp_path / "out") == before


def test_a_preview_never_replaces_its_clip(make_clip: ClipMaker, tmp_path: Path) -> None:
    clip = make_clip("clip.mp4", codec="libx264")
    link = tmp_path / "link.mp4"
    link.symlink_to(clip)
    for path in (clip, link):
        with pytest.raises(SettingsError, match="is the clip itself"):
            check_preview(path, [clip], overwrite=True)
