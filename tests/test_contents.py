import sys
from pathlib import Path

import pytest

from blursynth.contents import inspect_path, verify_paths
from blursynth.environment import describe_environment, find_troubles
from blursynth.errors import RefusedError
from blursynth.shards import Manifest
from samples import ClipMaker


def test_inspect_tells_what_each_kind_holds(shards: Path, make_clip: ClipMaker) -> None:
    folder = inspect_path(shards)
    assert (folder["kind"], folder["pairs"], folder["sizes"]) == ("folder of shards", 16, ["64x48"])
    assert folder["pairs_by_source"] == {"one.mkv": 8, "two.mkv": 8}
    assert folder["config"]["window"] == "3"
    shard = inspect_path(min(shards.glob("*.h5")))
    assert (shard["kind"], shard["pairs"], shard["frames_per_blur"], shard["crf"]) == ("shard", 8, [3], "gamma:2.2")
    clip = inspect_path(make_clip("other.mkv"))
    assert (clip["kind"], clip["frames"], clip["cut_short"]) == ("clip", 24, False)
    with pytest.raises(RefusedError):
        inspect_path(shards / "manifest.jsonl")


def test_verify_names_what_is_damaged_missing_or_stray(shards: Path) -> None:
    assert [finding.error for finding in verify_paths([shards])] == [None, None]
    first, second = (shards / entry.shard for entry in Manifest.read(shards))
    data = bytearray(first.read_bytes())
    data[-1000] ^= 1
    first.write_bytes(data)
    second.rename(shards / "stray.h5")
    errors = {finding.path.name: finding.error or "" for finding in verify_paths([shards, shards / "stray.h5"])}
    assert "SHA-256" in errors[first.name]
    assert "No such file" in errors[second.name]
    assert errors["stray.h5"] == ""  # by itself it is good
    assert len(verify_paths([shards])) == 3


def test_verify_goes_on_after_a_folder_that_is_none(tmp_path: Path, shards: Path) -> None:
    errors = [finding.error for finding in verify_paths([tmp_path / "runs", shards])]
    assert errors[0]
    assert errors[1:] == [None, None]


def test_the_doctor_survives_what_it_looks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torch", "av", "h5py"):
        monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    environment = describe_environment()
    assert environment["devices"]["cuda"] == []
    assert any("H.264" in trouble for trouble in find_troubles(environment))
