import re
from pathlib import Path

import numpy as np
import pytest

from blursynth.engine import Engine
from blursynth.errors import RefusedError
from blursynth.layouts import Crop, export_shards, import_tree, open_data_set
from blursynth.layouts.basicsr import DATA_NAME
from blursynth.shards import Manifest, Shard
from layout_samples import basicsr_read, bytes_in, encoded, folder_tree, gopro_tree, lmdb_folder, noise, pixels, put


def imported(root: Path, output: Path, track: str | None = None) -> Path:
    import_tree(open_data_set(root, layout="auto", splits=None, track=track), output)
    return output


def test_what_is_written_is_read_as_basicsr_reads_it(tmp_path: Path) -> None:
    root = gopro_tree(tmp_path / "GOPRO", tracks=("blur",))
    export_shards(imported(root, tmp_path / "shards"), tmp_path / "out", layout="basicsr")
    for ours, theirs in (("blur", "blur"), ("sharp", "sharp")):
        found = basicsr_read(tmp_path / f"out/train/{ours}.lmdb")
        assert sorted(found) == [f"GOPR0372_07_0{clip}-00000{number}" for clip in range(2) for number in (1, 2)]
        for key, image in found.items():
            sequence, _, frame = key.rpartition("-")
            assert np.array_equal(image, pixels(root / f"train/{sequence}/{theirs}/{frame}.png"))
    lines = (tmp_path / "out/test/blur.lmdb/meta_info.txt").read_text().splitlines()
    assert lines == ["GOPR0384_11_00-000001.png (12,16,3) 1", "GOPR0384_11_00-000002.png (12,16,3) 1"]


def test_crops_are_cut_and_called_as_its_script_does(tmp_path: Path) -> None:
    root = tmp_path / "set"
    blurry, sharp = noise(1, 20, 27), noise(2, 20, 27)
    put(root / "blur/GOPR0372_07_00-000047.png", blurry)
    put(root / "sharp/GOPR0372_07_00-000047.png", sharp)
    export_shards(imported(root, tmp_path / "shards"), tmp_path / "out", layout="basicsr", crop=Crop(8, 4))
    # By hand: 20 = 8 + 3 * 4, so four rows; 27 leaves 3 px after the fifth of the columns, so a sixth ends with it.
    corners = [(y, x) for y in (0, 4, 8, 12) for x in (0, 4, 8, 12, 16, 19)]
    for name, image in (("blur", blurry), ("sharp", sharp)):
        found = basicsr_read(tmp_path / f"out/{name}_crops.lmdb")
        assert list(found) == [f"GOPR0372_07_00-000047_s{number:03}" for number in range(1, 25)]
        for crop, (y, x) in zip(found.values(), corners, strict=True):
            assert np.array_equal(crop, image[y : y + 8, x : x + 8])


def test_a_720p_picture_gives_the_crops_of_gopro() -> None:
    corners = Crop(512, 256).corners(720, 1280)
    assert corners == [(y, x) for y in (0, 208) for x in (0, 256, 512, 768)]


def test_crops_of_a_sequence_come_back_as_one_sequence(tmp_path: Path) -> None:
    root = gopro_tree(tmp_path / "GOPRO", tracks=("blur",))
    shards = imported(root, tmp_path / "shards")
    export_shards(shards, tmp_path / "out", layout="basicsr", crop=Crop(12, 6), engine=Engine(2))
    again = imported(tmp_path / "out", tmp_path / "again")
    entries = list(Manifest.read(again))
    assert {(entry.source, entry.recording, entry.split) for entry in entries} == {
        ("GOPR0372_07_00", "GOPR0372", "train"),
        ("GOPR0372_07_01", "GOPR0372", "train"),
        ("GOPR0384_11_00", "GOPR0384", "test"),
    }
    assert sum(entry.pairs for entry in entries) == 12
    with Shard(entries[-1].path(again)) as shard:
        assert shard.attributes["origin_frame"][1] == b"000001_s002"
        assert shard.rows()["num_frames"].min() > 0


def test_the_same_pairs_give_the_same_bytes(tmp_path: Path) -> None:
    shards = imported(folder_tree(tmp_path / "set", [f"n{number}" for number in range(150)]), tmp_path / "shards")
    for name, engine in (("one", Engine()), ("two", Engine(2))):
        export_shards(shards, tmp_path / name, layout="basicsr", engine=engine)
    assert bytes_in(tmp_path / "one") == bytes_in(tmp_path / "two")


def test_keys_are_ascii_without_dots_and_all_different(tmp_path: Path) -> None:
    shards = imported(folder_tree(tmp_path / "set", ["a.b", "a b", "a_b", "über", "uber"]), tmp_path / "shards")
    export_shards(shards, tmp_path / "out", layout="basicsr")
    keys = list(basicsr_read(tmp_path / "out/blur.lmdb"))
    assert len(set(keys)) == 5
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", key) for key in keys)


@pytest.mark.parametrize(("blurry", "sharp"), [("blur_crops", "sharp_crops"), ("input", "target"), ("lq", "GT")])
def test_folders_of_others_are_read(tmp_path: Path, blurry: str, sharp: str) -> None:
    keys = ["000/00000000", "000/00000001"]
    lmdb_folder(tmp_path / f"set/train/{blurry}.lmdb", {key: encoded(noise(i)) for i, key in enumerate(keys)})
    lmdb_folder(tmp_path / f"set/train/{sharp}.lmdb", {key: encoded(noise(i + 5)) for i, key in enumerate(keys)})
    shards = imported(tmp_path / "set", tmp_path / "shards")
    (entry,) = Manifest.read(shards)
    assert (entry.split, entry.source, entry.pairs) == ("train", "000", 2)
    with Shard(entry.path(shards)) as shard:
        assert np.array_equal(shard.pair(1)[1], noise(6))


def _pair(root: Path, blurry: dict[str, bytes], sharp: dict[str, bytes]) -> Path:
    lmdb_folder(root / "blur.lmdb", blurry)
    lmdb_folder(root / "sharp.lmdb", sharp)
    return root


def test_keys_without_twin_lists_without_values_and_damage_are_told(tmp_path: Path) -> None:
    data = encoded(noise(1))
    with pytest.raises(RefusedError, match=r"sharp.lmdb/meta_info.txt: lacks b, which its twin has"):
        imported(_pair(tmp_path / "one", {"a": data, "b": data}, {"a": data}), tmp_path / "no")
    root = _pair(tmp_path / "two", {"a": data}, {"a": data})
    (root / "blur.lmdb/meta_info.txt").write_text("a.png (12,16,3) 1\nz.png (12,16,3) 1\n")
    (root / "sharp.lmdb/meta_info.txt").write_text("a.png (12,16,3) 1\nz.png (12,16,3) 1\n")
    with pytest.raises(RefusedError, match=r"blur.lmdb:z: listed, but not in data.mdb"):
        imported(root, tmp_path / "no")
    for text, message in (
        ("a.png\n", "line 1: not a name, size of three channels"),
        ("a.png (12,16,1) 1\n", "line 1: not a name, size of three channels"),
        ("a.png (12,16,3) 1\n" * 2, "a name stands there twice"),
    ):
        (root / "blur.lmdb/meta_info.txt").write_text(text)
        with pytest.raises(RefusedError, match=message):
            imported(root, tmp_path / "no")
    root = _pair(tmp_path / "three", {"a": data}, {"a": data})
    (root / "blur.lmdb" / DATA_NAME).write_bytes(b"no database" * 1000)
    with pytest.raises(RefusedError, match=r"blur.lmdb:a: .*write the folder again"):
        imported(root, tmp_path / "no")
