import io
import json
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from blursynth.cli.main import cli, main
from blursynth.cli.screen import Screen
from blursynth.engine import Engine
from blursynth.errors import OutputError, RefusedError, SettingsError, ShardError
from blursynth.files import sha256_of
from blursynth.layouts import Crop, export_shards, import_tree, open_data_set, open_pairs
from blursynth.layouts.naming import key_of, safe_name
from blursynth.make.stills import ShakeConfig, shake_dataset
from blursynth.shards import Manifest, Shard, ShardWriter
from layout_samples import bytes_in, encoded, folder_tree, gopro_tree, noise, pixels, put, tar


def imported(root: Path, output: Path, track: str | None = None, **settings: Any) -> Path:
    import_tree(open_data_set(root, layout="auto", splits=None, track=track), output, **settings)
    return output


def pictures_in(root: Path) -> dict[str, list[int]]:
    """All pixels under a folder, by name."""
    return {str(path.relative_to(root)): pixels(path).ravel().tolist() for path in sorted(root.rglob("*.png"))}


@pytest.mark.parametrize("codec", ["raw", "zstd"])
def test_gopro_comes_back_with_its_names_pixels_and_track(tmp_path: Path, codec: Any) -> None:
    root = gopro_tree(tmp_path / "GOPRO", tracks=("blur_gamma",))
    shards = imported(root, tmp_path / "shards", codec=codec)
    summary = export_shards(shards, tmp_path / "out", layout="gopro")
    assert (summary.pairs, summary.kept) == (6, 0)
    assert pictures_in(tmp_path / "out") == pictures_in(root)
    again = imported(tmp_path / "out", tmp_path / "again", codec=codec)
    assert [entry.source for entry in Manifest.read(again)] == [entry.source for entry in Manifest.read(shards)]


def test_reds_comes_back_with_its_names_and_pixels(tmp_path: Path) -> None:
    root = tmp_path / "REDS"
    for seed in range(4):
        put(root / f"train_sharp/00{seed % 2}/{seed:08}.png", noise(seed))
        put(root / f"train_blur_comp/00{seed % 2}/{seed:08}.png", noise(9 + seed))
    export_shards(imported(root, tmp_path / "shards"), tmp_path / "out", layout="reds")
    assert pictures_in(tmp_path / "out") == pictures_in(root)


NAMES = ["a_0001", "a_0002", "b-7", "1", "über den Wolken", "x y  z", "GOPR0372_07_00-000047_s001", "a.b"]


def test_flat_folders_come_back_with_their_names_and_pixels(tmp_path: Path) -> None:
    root = folder_tree(tmp_path / "set", NAMES)
    export_shards(imported(root, tmp_path / "shards"), tmp_path / "out", layout="folders")
    assert pictures_in(tmp_path / "out") == pictures_in(root)


@pytest.mark.parametrize("layout", ["gopro", "reds", "folders", "webdataset", "basicsr"])
def test_every_layout_can_be_imported_again_bit_for_bit(tmp_path: Path, layout: str) -> None:
    root = gopro_tree(tmp_path / "GOPRO", tracks=("blur",))
    shards = imported(root, tmp_path / "shards")
    export_shards(shards, tmp_path / "out", layout=layout)
    again = imported(tmp_path / "out", tmp_path / "again")
    assert contents(again) == contents(shards)


def contents(shards: Path) -> dict[tuple[str, str], list[Any]]:
    """Side and sequence to pixels, in order."""
    found: dict[tuple[str, str], list[Any]] = {}
    for entry in Manifest.read(shards):
        with Shard(entry.path(shards)) as shard:
            images = [image.tolist() for index in range(len(shard)) for image in shard.pair(index)]
        found.setdefault((entry.split, entry.source), []).extend(images)
    return found


def test_shards_of_clips_are_named_by_clip_and_frame(shards: Path, tmp_path: Path) -> None:
    export_shards(shards, tmp_path / "out", layout="gopro")
    tree = open_pairs(tmp_path / "out", split="train")
    assert [pair.name for pair in tree.pairs][:3] == ["one/000001", "one/000004", "one/000007"]
    assert len(tree.pairs) == 16
    entry = next(entry for entry in Manifest.read(shards) if entry.source == "one.mkv")
    with Shard(entry.path(shards)) as shard:
        assert np.array_equal(pixels(tree.pairs[1].blurry), shard.pair(1)[0])
        assert np.array_equal(pixels(tree.pairs[1].sharp), shard.pair(1)[1])


def test_shards_of_photographs_which_share_one_frame_are_numbered(tmp_path: Path) -> None:
    photo = put(tmp_path / "photo.png", noise(0, 64, 64))
    shake_dataset([photo], tmp_path / "shards", ShakeConfig(per_photo=2, size=(32, 32), blur_px="2-4"))
    export_shards(tmp_path / "shards", tmp_path / "out", layout="folders")
    assert sorted(pictures_in(tmp_path / "out" / "blur")) == ["photo-000000.png", "photo-000001.png"]


def test_sources_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for folder in "pq":
        put(tmp_path / folder / "photo.png", noise(ord(folder), 64, 64))
    photos = [tmp_path / "p/photo.png", tmp_path / "q/photo.png"]
    shake_dataset(photos, tmp_path / "shards", ShakeConfig(per_photo=1, size=(32, 32), blur_px="2-4"))
    export_shards(tmp_path / "shards", tmp_path / "out", layout="gopro")
    assert len({path.parents[1].name for path in (tmp_path / "out").rglob("blur/*.png")}) == 2


def test_tars_hold_pairs_side_by_side_and_always_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blursynth.layouts.exporting._TAR_BYTES", 3 * 6 * 12 * 16)
    shards = imported(gopro_tree(tmp_path / "GOPRO", tracks=("blur",)), tmp_path / "shards")
    for name in ("one", "two"):
        export_shards(shards, tmp_path / name, layout="webdataset")
    assert bytes_in(tmp_path / "one") == bytes_in(tmp_path / "two")
    assert sorted(path.name for path in (tmp_path / "one").glob("*.tar")) == [
        "test-000000.tar",
        "train-000000.tar",
        "train-000001.tar",
    ]
    with tarfile.open(tmp_path / "one/train-000001.tar") as file:
        names = file.getnames()
        assert names[:3] == [f"GOPR0372_07_01-000002.{ending}" for ending in ("blurry.png", "json", "sharp.png")]
        told = json.loads(file.extractfile(names[1]).read())  # type: ignore[union-attr]
        assert (told["sequence"], told["frame"], told["split"]) == ("GOPR0372_07_01", "000002", "train")
        assert {(member.mtime, member.uid, member.uname) for member in file.getmembers()} == {(0, 0, "")}


def test_tars_of_others_are_read_by_their_keys(tmp_path: Path) -> None:
    one, other = encoded(noise(1)), encoded(noise(2), ".jpg")
    tar(tmp_path / "set/a.tar", {"d/k_01.input.png": one, "d/k_01.gt.jpg": other, "d/k_01.cls": b"7", "x.json": b"{"})
    shards = imported(tmp_path / "set", tmp_path / "shards")
    assert list(contents(shards)) == [("", "d")]
    tar(tmp_path / "half/a.tar", {"k.blurry.png": one})
    with pytest.raises(RefusedError, match=r"k.blurry.png: no sharp twin in this tar"):
        imported(tmp_path / "half", tmp_path / "no")
    tar(tmp_path / "twice/a.tar", {"k.blurry.png": one, "k.sharp.png": one})
    tar(tmp_path / "twice/b.tar", {"k.blurry.png": one, "k.sharp.png": one})
    with pytest.raises(RefusedError, match=r"b.tar: k is in a.tar too"):
        imported(tmp_path / "twice", tmp_path / "no")
    whole = (tmp_path / "set/a.tar").read_bytes()
    (tmp_path / "set/a.tar").write_bytes(whole[:600])
    with pytest.raises(RefusedError, match=r"a.tar: .*(cut short|damaged)"):
        imported(tmp_path / "set", tmp_path / "no")


def test_links_in_a_tar_are_passed_over(tmp_path: Path) -> None:
    path = tar(tmp_path / "set/a.tar", {"k.blurry.png": encoded(noise(1)), "k.sharp.png": encoded(noise(2))})
    with tarfile.open(path, "a") as file:
        member = tarfile.TarInfo("l.blurry.png")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        file.addfile(member, io.BytesIO())
    assert len(contents(imported(tmp_path / "set", tmp_path / "shards"))) == 1


def test_videos_show_both_side_by_side(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for number in range(3):
        put(root / f"train/blur/a-{number}.png", np.full((32, 48, 3), 60, np.uint8))
        put(root / f"train/sharp/a-{number}.png", np.full((32, 48, 3), 200, np.uint8))
    export_shards(imported(root, tmp_path / "shards"), tmp_path / "out", layout="video")
    video = cv2.VideoCapture(str(tmp_path / "out/train/a.mp4"))
    frames = [frame for _ in range(4) for ok, frame in [video.read()] if ok]
    assert (len(frames), frames[0].shape) == (3, (32, 96, 3))
    assert abs(int(frames[0][16, 10, 0]) - 60) < 4
    assert abs(int(frames[0][16, 80, 0]) - 200) < 4


HOSTILE = ["../../evil", "/etc/evil", "..", ".", "", "a/../../b", "x\0y", "x\ny", ".hidden", "C:\\evil", "e" * 400, " "]


@pytest.mark.parametrize("layout", ["gopro", "reds", "folders", "webdataset", "basicsr", "video"])
def test_names_in_shards_of_strangers_stay_in_the_folder(tmp_path: Path, layout: str) -> None:
    directory = tmp_path / "shards"
    directory.mkdir()
    manifest = Manifest(directory)
    template = next(iter(Manifest.read(imported(folder_tree(tmp_path / "set", ["a"]), tmp_path / "good"))))
    for number, name in enumerate(HOSTILE):
        path = directory / f"{number}.h5"
        row = np.array([name.encode(), name.replace("e", "f").encode()], "S")
        origin = {"sequence": name, "track": name, "split": name, "layout": name}
        attributes = {"origin": origin, "origin_name": row, "origin_frame": row[::-1].copy(), "config": {}}
        writer = ShardWriter(path, size=(12, 16), capacity=2, attributes=attributes)
        for index in range(2):
            writer.append({"number": index}, {"blurry": noise(index), "sharp": noise(9)})
        writer.commit()
        size, sha256 = path.stat().st_size, sha256_of(path)
        manifest.add(replace(template, shard=path.name, bytes=size, sha256=sha256, pairs=2, planned=2, source=name))
    export_shards(directory, tmp_path / "place/out", layout=layout)
    assert {path.name for path in tmp_path.iterdir()} == {"shards", "set", "good", "place"}
    assert [path.name for path in (tmp_path / "place").iterdir()] == ["out"]
    files = [path for path in (tmp_path / "place/out").rglob("*") if path.is_file()]
    assert all(path.name.isprintable() for path in files)
    if layout in {"gopro", "reds", "folders"}:
        assert len([path for path in files if path.suffix == ".png"]) == 4 * len(HOSTILE)


@pytest.mark.parametrize("name", [*HOSTILE, "a" * 300, "\ud800", "ü" * 200])
def test_a_safe_name_is_one_part_of_a_path(name: str) -> None:
    safe = safe_name(name)
    assert safe.isprintable()
    assert "/" not in safe
    assert safe not in {"", ".", ".."}
    assert not safe.startswith(".")
    assert len(safe.encode()) <= 120
    assert safe_name(safe) == safe
    key = key_of(safe)
    assert key.isascii()
    assert "." not in key


def test_names_that_are_cleaned_alike_stay_apart() -> None:
    assert len({safe_name(name) for name in ("a/b", "a:b", "a_b", "a\nb")}) == 4
    assert len({key_of(name) for name in ("a.b", "a b", "a_b", "aüb")}) == 4
    assert safe_name("über den Wolken") == "über den Wolken"


def test_what_is_there_is_kept_and_nothing_of_others_is_overwritten(tmp_path: Path) -> None:
    shards = imported(gopro_tree(tmp_path / "GOPRO", tracks=("blur",)), tmp_path / "shards")
    out = tmp_path / "out"
    export_shards(shards, out, layout="gopro")
    before = bytes_in(out)
    broken = out / "test/GOPR0384_11_00/blur/000001.png"
    broken.write_bytes(broken.read_bytes()[:-4])
    (out / "train/GOPR0372_07_00/sharp/000002.png").unlink()
    assert export_shards(shards, out, layout="gopro").pairs == 6
    assert bytes_in(out) == before
    assert export_shards(shards, out, layout="gopro").kept == 6
    with pytest.raises(SettingsError, match="holds another export; use another -o, or --overwrite"):
        export_shards(shards, out, layout="reds")
    export_shards(shards, out, layout="reds", overwrite=True)
    assert not list(out.rglob("GOPR*/blur/*"))
    assert {path.name for path in out.iterdir() if path.is_dir()} == {
        "train_blur",
        "train_sharp",
        "test_blur",
        "test_sharp",
    }
    (tmp_path / "other").mkdir()
    (tmp_path / "other/mine.txt").write_text("x")
    for overwrite in (False, True):
        with pytest.raises(SettingsError, match="holds other files"):
            export_shards(shards, tmp_path / "other", layout="gopro", overwrite=overwrite)


def test_a_list_of_an_earlier_export_that_was_tampered_with_removes_nothing_elsewhere(tmp_path: Path) -> None:
    shards = imported(folder_tree(tmp_path / "set", ["a"]), tmp_path / "shards")
    export_shards(shards, tmp_path / "out", layout="folders")
    precious = tmp_path / "precious.txt"
    precious.write_text("x")
    (tmp_path / "out/link").symlink_to(tmp_path)
    marker = tmp_path / "out/blursynth-export.json"
    values = json.loads(marker.read_text())
    names = ["../precious.txt", str(precious), "link/precious.txt", "blur/../../precious.txt"]
    marker.write_text(json.dumps({**values, "files": names}))
    export_shards(shards, tmp_path / "out", layout="folders", overwrite=True)
    assert precious.exists()


@pytest.mark.parametrize("layout", ["gopro", "webdataset", "basicsr"])
def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(tmp_path: Path, layout: str) -> None:
    names = [f"a-{number:02}" for number in range(12)]
    root = tmp_path / "set"
    for number, name in enumerate(names):
        put(root / f"blur/{name}.png", noise(number, 300, 400))
        put(root / f"sharp/{name}.png", noise(number + 99, 300, 400))
    shards = imported(root, tmp_path / "shards")
    killed = tmp_path / "killed"
    command = [sys.executable, "-m", "blursynth", "export", str(shards), "-o", str(killed), "--layout", layout]
    process = subprocess.Popen([*command, "--jobs", "1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while not list(killed.rglob("*.tmp")) and process.poll() is None and time.monotonic() < end:
        time.sleep(0.001)
    time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    export_shards(shards, killed, layout=layout)
    export_shards(shards, tmp_path / "whole", layout=layout, engine=Engine(2))
    assert bytes_in(killed) == bytes_in(tmp_path / "whole")
    assert not list(killed.rglob("*.tmp"))


def test_settings_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    shards = imported(folder_tree(tmp_path / "set", ["a"]), tmp_path / "shards")
    out = tmp_path / "out"
    with pytest.raises(SettingsError, match="layout 'x' is unknown"):
        export_shards(shards, out, layout="x")
    with pytest.raises(SettingsError, match="--crop is for --layout basicsr"):
        export_shards(shards, out, layout="gopro", crop=Crop(8, 4))
    for crop in (Crop(13, 4), Crop(8, 0), Crop(8, 9), Crop(0, 0), Crop(-8, -8)):
        with pytest.raises(SettingsError, match="step is 1 or more"):
            export_shards(shards, out, layout="basicsr", crop=crop)
    with pytest.raises(SettingsError, match="which is only read"):
        export_shards(shards, shards / "out", layout="gopro")
    assert not out.exists()
    with pytest.raises(ShardError, match=r"no manifest.jsonl here"):
        export_shards(tmp_path / "set", out, layout="gopro")


def test_the_command_says_where_and_how_many(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shards = imported(folder_tree(tmp_path / "set", ["a"]), tmp_path / "shards")
    arguments = ["export", str(shards), "-o", str(tmp_path / "out"), "--layout", "basicsr", "--jobs", "1"]
    result = CliRunner().invoke(cli, [*arguments, "--crop", "8", "--json"], obj=Screen(-1))
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {"output": str(tmp_path / "out"), "layout": "basicsr", "pairs": 1, "kept": 0}
    for wrong in (["--crop", "80"], ["--step", "4"], []):
        with pytest.raises(SystemExit) as end:
            main([*arguments, *wrong])
        assert end.value.code == 2
    assert "holds another export" in capsys.readouterr().err


@pytest.mark.parametrize("layout", ["gopro", "reds"])
def test_sides_that_would_get_the_same_names_are_refused(tmp_path: Path, layout: str) -> None:
    shards = imported(folder_tree(tmp_path / "unsplit", ["a/1"]), tmp_path / "shards")
    put(tmp_path / "split/train/blur/a/1.png", noise(7))
    put(tmp_path / "split/train/sharp/a/1.png", noise(8))
    imported(tmp_path / "split", shards)
    with pytest.raises(RefusedError, match=r"pairs of different sides would both be train.*a/.*1\.png"):
        export_shards(shards, tmp_path / "out", layout=layout)
    assert export_shards(shards, tmp_path / "folders", layout="folders").pairs == 2


def test_a_pair_of_which_one_half_is_there_is_not_counted_as_kept(tmp_path: Path) -> None:
    shards = imported(folder_tree(tmp_path / "set", ["a", "b"]), tmp_path / "shards")
    assert export_shards(shards, tmp_path / "out", layout="basicsr").kept == 0
    assert export_shards(shards, tmp_path / "out", layout="basicsr").kept == 2
    (tmp_path / "out/sharp.lmdb/meta_info.txt").unlink()
    assert export_shards(shards, tmp_path / "out", layout="basicsr").kept == 0


def test_what_cannot_be_removed_stops_the_replacing(tmp_path: Path) -> None:
    shards = imported(folder_tree(tmp_path / "set", ["a"]), tmp_path / "shards")
    export_shards(shards, tmp_path / "out", layout="folders")
    marker = (tmp_path / "out/blursynth-export.json").read_bytes()
    (tmp_path / "out/blur/a.png").unlink()
    (tmp_path / "out/blur/a.png").mkdir()
    with pytest.raises(OutputError, match=r"out/blur/a\.png"):
        export_shards(shards, tmp_path / "out", layout="video", overwrite=True)
    assert (tmp_path / "out/blursynth-export.json").read_bytes() == marker
