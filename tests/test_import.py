import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from blursynth.cli.main import cli, main
from blursynth.cli.screen import Screen
from blursynth.contents import inspect_path, verify_paths
from blursynth.engine import Engine
from blursynth.errors import OutputError, RefusedError, SettingsError
from blursynth.layouts import ImportSummary, import_tree, importing, open_data_set
from blursynth.leaks import audit, read_clips
from blursynth.model.data import read_pairs, split_pairs
from blursynth.shards import Manifest, Shard
from layout_samples import bytes_in, encoded, folder_tree, gopro_tree, noise, pixels, put
from photo_samples import chunk


def import_(root: Path, output: Path, **settings: Any) -> ImportSummary:
    choice = {name: settings.pop(name, default) for name, default in _CHOICE.items()}
    return import_tree(open_data_set(root, **choice), output, **settings)


_CHOICE: dict[str, Any] = {"layout": "auto", "splits": None, "track": None}


def test_pixels_names_sides_and_frames_of_gopro_are_kept(tmp_path: Path) -> None:
    root = gopro_tree(tmp_path / "GOPRO")
    summary = import_(root, tmp_path / "shards", track="blur_gamma")
    assert (summary.name, summary.layout, summary.track, summary.pairs) == ("GOPRO_Large", "gopro", "blur_gamma", 6)
    entries = list(Manifest.read(tmp_path / "shards"))
    assert sorted((entry.split, entry.source, entry.recording, entry.pairs) for entry in entries) == [
        ("test", "GOPR0384_11_00", "GOPR0384", 2),
        ("train", "GOPR0372_07_00", "GOPR0372", 2),
        ("train", "GOPR0372_07_01", "GOPR0372", 2),
    ]
    test = next(entry for entry in entries if entry.split == "test")
    with Shard(test.path(tmp_path / "shards")) as shard:
        for index in range(2):
            blurry, sharp = shard.pair(index)
            folder = root / "test/GOPR0384_11_00"
            assert np.array_equal(blurry, pixels(folder / f"blur_gamma/{index + 1:06}.png"))
            assert np.array_equal(sharp, pixels(folder / f"sharp/{index + 1:06}.png"))
        row = shard.rows()[1]
        assert (row["number"], row["num_frames"], row["bayer"], row["output_crf"]) == (1, 11, -1, -1)
        assert row["last_frame"] - row["first_frame"] == 10
        assert row["exposure_seconds"] == pytest.approx(11 / 240)
        assert shard.attributes["origin_name"].tolist() == [b"GOPR0384_11_00/000001", b"GOPR0384_11_00/000002"]
        assert json.loads(shard.attributes["origin"])["track"] == "blur_gamma"


def test_inspect_verify_audit_and_training_understand_what_was_imported(tmp_path: Path) -> None:
    import_(gopro_tree(tmp_path / "GOPRO", tracks=("blur",)), tmp_path / "shards")
    assert inspect_path(tmp_path / "shards")["pairs_by_split"] == {"test": 2, "train": 4}
    shard = next((tmp_path / "shards").glob("*.h5"))
    assert inspect_path(shard)["config"]["layout"] == "gopro"
    assert not [finding for finding in verify_paths([tmp_path / "shards", shard]) if finding.error]
    assert not audit(read_clips([str(tmp_path / "shards")])).recordings
    training, validation = split_pairs(read_pairs(tmp_path / "shards"))
    assert (len(training), len(validation)) == (4, 0)


def test_validation_never_splits_a_sequence(tmp_path: Path) -> None:
    root = folder_tree(tmp_path / "set", [f"{name}/{number}" for name in "abcd" for number in range(3)])
    import_(root, tmp_path / "shards")
    training, validation = split_pairs(read_pairs(tmp_path / "shards"), 0.25)
    assert len(training) % 3 == len(validation) % 3 == 0
    assert set(training.sources).isdisjoint(validation.sources)


def test_numbers_of_reds_are_not_one_recording_on_two_sides(tmp_path: Path) -> None:
    for side in ("train", "val"):
        for seed, kind in enumerate(("sharp", "blur")):
            put(tmp_path / f"set/{side}_{kind}/000/00000000.png", noise(seed if side == "train" else seed + 9))
    import_(tmp_path / "set", tmp_path / "shards")
    assert not audit(read_clips([str(tmp_path / "shards")])).recordings
    with pytest.raises(SettingsError, match="has no test; choose --split train or val"):
        open_data_set(tmp_path / "set", layout="auto", splits=("test",), track=None)


def test_sizes_go_into_shards_of_their_own(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for number, size in enumerate([(12, 16), (16, 12), (12, 16)]):
        put(root / f"blur/a-{number}.png", noise(number, *size))
        put(root / f"sharp/a-{number}.png", noise(number + 9, *size))
    import_(root, tmp_path / "shards")
    entries = list(Manifest.read(tmp_path / "shards"))
    assert sorted((entry.height, entry.width, entry.pairs) for entry in entries) == [(12, 16, 2), (16, 12, 1)]
    assert len({entry.source_sha256 for entry in entries}) == 1


def _bad_pictures() -> dict[str, tuple[bytes, str]]:
    good = noise(0)
    noisy = encoded(good)
    corrupt = bytearray(noisy)
    corrupt[60:90] = bytes(30)
    wide = cv2.imencode(".png", good.astype(np.uint16))[1].tobytes()
    alpha = cv2.imencode(".png", np.dstack([good, good[..., 0]]))[1].tobytes()
    transparent = noisy[:33] + chunk(b"tRNS", b"\0\1\0\2\0\3") + noisy[33:]
    return {
        "sixteen bits": (wide, "16-bit RGB; pairs are 8-bit RGB"),
        "alpha": (alpha, "8-bit RGB with alpha"),
        "a transparent colour": (transparent, "RGB with a transparent colour"),
        "grey": (cv2.imencode(".png", good[..., 0])[1].tobytes(), "8-bit grey"),
        "grey JPEG": (cv2.imencode(".jpg", good[..., 0])[1].tobytes(), "8-bit of 1 channels"),
        "cut short": (noisy[:-20], "cut short"),
        "JPEG cut short": (encoded(good, ".jpg")[:-20], "cut short"),
        "JPEG of a few bytes": (b"\xff\xd8\xff\xe0", "damaged or cut short"),
        "a header alone": (noisy[:20], "damaged or cut short"),
        "damaged": (bytes(corrupt), "damaged"),
        "empty": (b"", "empty file"),
        "text": (b"hello", "no PNG or JPEG"),
        "another size": (encoded(noise(0, 12, 17)), "17x12 px, its sharp twin 16x12"),
    }


@pytest.mark.parametrize("fault", _bad_pictures())
def test_a_sequence_with_a_picture_that_is_no_pair_is_left_out_whole(
    tmp_path: Path, fault: str, capfd: pytest.CaptureFixture[str]
) -> None:
    data, message = _bad_pictures()[fault]
    root = folder_tree(tmp_path / "set", ["a/1", "a/2", "b/1"])
    (root / "blur/a/2.png").write_bytes(data)
    summary = import_(root, tmp_path / "shards")
    assert capfd.readouterr().err == ""  # decoders would complain past us
    assert (summary.pairs, len(summary.failed)) == (1, 1)
    assert message in str(summary.failed[0].error)
    assert "a/2.png" in str(summary.failed[0].error)
    assert [entry.source for entry in Manifest.read(tmp_path / "shards")] == ["b"]
    assert len(list((tmp_path / "shards").glob("*.h5"))) == 1


@pytest.mark.parametrize("cut", ["to its end", "a hole"])
def test_a_jpeg_that_others_fill_with_grey_is_refused(
    tmp_path: Path, cut: str, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = encoded(noise(0, 64, 96), ".jpg")
    half = (whole.index(b"\xff\xda") + len(whole)) // 2
    for name in ("blur/a", "blur/b", "sharp/a", "sharp/b"):
        (tmp_path / "set" / name).mkdir(parents=True)
        (tmp_path / "set" / name / "1.jpg").write_bytes(whole)
    rest = b"\xff\xd9" if cut == "to its end" else whole[half + 300 :]
    (tmp_path / "set/blur/a/1.jpg").write_bytes(whole[:half] + rest)
    summary = import_(tmp_path / "set", tmp_path / "shards")
    assert capfd.readouterr().err == ""
    assert (summary.pairs, len(summary.failed)) == (1, 1)
    assert "blur/a/1.jpg: damaged: its scan breaks off" in str(summary.failed[0].error)
    assert [entry.source for entry in Manifest.read(tmp_path / "shards")] == ["b"]


def test_a_data_set_without_any_good_sequence_is_refused(tmp_path: Path) -> None:
    root = folder_tree(tmp_path / "set", ["a/1"])
    (root / "blur/a/1.png").write_bytes(b"")
    with pytest.raises(RefusedError, match="empty file"):
        import_(root, tmp_path / "shards")


def test_jpeg_pixels_are_those_of_any_decoder_whatever_the_orientation_tag_says(tmp_path: Path) -> None:
    plain = encoded(noise(1), ".jpg")
    tag = b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"
    turned = plain[:2] + b"\xff\xe1" + (len(tag) + 2).to_bytes(2, "big") + tag + plain[2:]
    for kind, data in (("blur", turned), ("sharp", plain)):
        (tmp_path / f"set/{kind}").mkdir(parents=True)
        (tmp_path / f"set/{kind}/1.jpg").write_bytes(data)
    import_(tmp_path / "set", tmp_path / "shards")
    with Shard(next((tmp_path / "shards").glob("*.h5"))) as shard:
        assert np.array_equal(shard.pair(0)[0], shard.pair(0)[1])
        assert np.array_equal(shard.pair(0)[1], pixels(tmp_path / "set/sharp/1.jpg"))


def test_workers_and_restarts_give_the_same_bytes(tmp_path: Path) -> None:
    root = gopro_tree(tmp_path / "GOPRO", tracks=("blur",))
    import_(root, tmp_path / "one")
    import_(root, tmp_path / "two", engine=Engine(2))
    assert bytes_in(tmp_path / "one") == bytes_in(tmp_path / "two")
    lost = next((tmp_path / "two").glob("*.h5"))
    lost.unlink()
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "two").glob("*.h5")}
    import_(root, tmp_path / "two")
    assert bytes_in(tmp_path / "one") == bytes_in(tmp_path / "two")
    assert all(path.stat().st_mtime_ns == time_ns for path, time_ns in kept.items())


def test_sides_may_come_one_after_the_other(tmp_path: Path) -> None:
    root = gopro_tree(tmp_path / "GOPRO", tracks=("blur",))
    import_(root, tmp_path / "whole")
    import_(root, tmp_path / "parts", splits=("test",))
    import_(root, tmp_path / "parts", splits=("train",))
    assert bytes_in(tmp_path / "whole") == bytes_in(tmp_path / "parts")


def test_other_tracks_and_changed_pictures_need_overwrite(tmp_path: Path) -> None:
    root = gopro_tree(tmp_path / "GOPRO")
    import_(root, tmp_path / "shards", track="blur")
    with pytest.raises(SettingsError, match="track blur; use another -o, or --overwrite"):
        import_(root, tmp_path / "shards", track="blur_gamma")
    put(root / "test/GOPR0384_11_00/blur/000001.png", noise(999))
    with pytest.raises(SettingsError, match="holds GOPR0384_11_00 with other pictures"):
        import_(root, tmp_path / "shards", track="blur")
    assert import_(root, tmp_path / "shards", track="blur", overwrite=True).pairs == 6
    assert sum(entry.pairs for entry in Manifest.read(tmp_path / "shards")) == 6
    assert len(list((tmp_path / "shards").glob("*.h5"))) == 3


def test_many_pairs_of_long_names_fit_into_what_a_shard_may_say(tmp_path: Path) -> None:
    names = [f"{'ü' * 100} {number}" for number in range(300)]
    root = tmp_path / "set"
    for name in names:
        put(root / f"blur/{name}.png", noise(1, 4, 4))
        put(root / f"sharp/{name}.png", noise(2, 4, 4))
    assert import_(root, tmp_path / "shards", codec="raw").pairs == 300
    found = []
    for path in sorted((tmp_path / "shards").glob("*.h5")):
        with Shard(path) as shard:
            found += [name.decode() for name in shard.attributes["origin_name"].tolist()]
    assert found == sorted(names)


def test_names_that_are_no_text_are_kept(tmp_path: Path) -> None:
    root = folder_tree(tmp_path / "set", ["a"])
    for kind in ("blur", "sharp"):
        (root / kind / "a.png").rename(os.fsdecode(os.fsencode(root / kind) + b"/\xff\n.png"))
    import_(root, tmp_path / "shards")
    with Shard(next((tmp_path / "shards").glob("*.h5"))) as shard:
        assert shard.attributes["origin_name"].tolist() == [b"\xff\n"]


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for number in range(12):
        put(root / f"blur/s{number:02}/1.png", noise(number, 300, 400))
        put(root / f"sharp/s{number:02}/1.png", noise(number + 99, 300, 400))
    command = [sys.executable, "-m", "blursynth", "import", str(root), "-o", str(tmp_path / "killed"), "--jobs", "1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while len(list((tmp_path / "killed").glob("*.h5"))) < 2 and process.poll() is None and time.monotonic() < end:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(list((tmp_path / "killed").glob("*.h5"))) < 12
    assert import_(root, tmp_path / "killed").pairs == 12
    import_(root, tmp_path / "whole")
    assert bytes_in(tmp_path / "killed") == bytes_in(tmp_path / "whole")
    assert not list((tmp_path / "killed").glob(".blursynth-*.tmp"))


def test_the_command_tells_what_it_did_and_ends_with_3_where_something_was_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = folder_tree(tmp_path / "set", ["a/1", "b/1"])
    arguments = ["import", str(root), "-o", str(tmp_path / "shards"), "--jobs", "1"]
    result = CliRunner().invoke(cli, [*arguments, "--json"], obj=Screen(-1))
    assert result.exit_code == 0, result.output
    assert [each["pairs"] for each in json.loads(result.stdout)["sequences"]] == [1, 1]
    (root / "blur/a/1.png").write_bytes(b"")
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--overwrite"])
    assert end.value.code == 3
    assert "1 of 2 sequence(s) were left out: " in capsys.readouterr().err
    for wrong, code in ((["--split", "x"], 2), (["--layout", "x"], 2), (["--jobs", "-7"], 2)):
        with pytest.raises(SystemExit) as end:
            main([*arguments, *wrong])
        assert end.value.code == code
    with pytest.raises(SystemExit) as end:
        main(["import", str(tmp_path / "gone")])
    assert end.value.code == 4


def test_shards_are_never_put_into_the_tree(tmp_path: Path) -> None:
    root = folder_tree(tmp_path / "set", ["a"])
    with pytest.raises(SettingsError, match="which is only read"):
        import_(root, root / "shards")


def test_who_comes_second_is_told_that_an_import_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder_tree(tmp_path / "set", ["a"])

    def meanwhile(*_arguments: Any) -> Any:
        monkeypatch.undo()
        with pytest.raises(OutputError, match=r"another blursynth import .* is writing here"):
            import_(root, tmp_path / "shards")
        raise RefusedError("tried")

    monkeypatch.setattr(importing, "sequences_of", meanwhile)
    with pytest.raises(RefusedError, match="tried"):
        import_(root, tmp_path / "shards")
