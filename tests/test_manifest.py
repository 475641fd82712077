import json
from dataclasses import replace
from pathlib import Path

import pytest

from blursynth.errors import ShardError
from blursynth.shards import Entry, Manifest

ENTRY = Entry("clip-1234abcd-00000.h5", 100, "a" * 64, 3, 4, 48, 64, "clip.mp4", "b" * 64, "c" * 64)


def test_entries_are_written_sorted_and_read_back(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    second = replace(ENTRY, shard="clip-1234abcd-00001.h5", source="новый клип.mp4")
    manifest.add(second)
    manifest.add(ENTRY)
    assert list(Manifest.read(tmp_path)) == [ENTRY, second]
    assert Manifest.read(tmp_path).get("nothing.h5") is None
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.jsonl"]


def line(**changes: object) -> str:
    values = {"schema": 1} | {name: getattr(ENTRY, name) for name in Entry.__slots__} | changes
    return json.dumps({name: value for name, value in values.items() if value is not ...}) + "\n"


BAD = {
    "cut short": line()[:-20],
    "not JSON": "{oops}\n",
    "a list": "[1]\n",
    "newer schema": line(schema=2),
    "no schema": line(schema=...),
    "a missing field": line(pairs=...),
    "a field of others": line(comment="x"),
    "a path upwards": line(shard="../../etc/passwd"),
    "an absolute path": line(shard="/etc/passwd.h5"),
    "a folder": line(shard="sub/clip.h5"),
    "a zero byte": line(shard="a\0b.h5"),
    "a hidden file": line(shard=".h5"),
    "a text for a number": line(pairs="3"),
    "a truth for a number": line(pairs=True),
    "a negative number": line(pairs=-3),
    "not a hash": line(sha256="xyz"),
    "not a number": line().replace('"bytes": 100', '"bytes": NaN'),
    "twice": line() + line(),
    "a field twice": line().replace("{", '{"pairs": 3, '),
    "too long": line(source="x" * 70_000),
    "deeply nested": "[" * 60_000 + "\n",
}


@pytest.mark.parametrize("name", BAD)
def test_bad_lines_are_refused_with_their_number(tmp_path: Path, name: str) -> None:
    (tmp_path / "manifest.jsonl").write_text(BAD[name], encoding="utf-8")
    with pytest.raises(ShardError, match=r"manifest\.jsonl, line [12]: ") as caught:
        Manifest.read(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_folder_without_manifest_says_so(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"no manifest\.jsonl here"):
        Manifest.read(tmp_path)
    assert len(Manifest.read(tmp_path, must_exist=False)) == 0


def test_links_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    (tmp_path / "secret.h5").write_bytes(bytes(100))
    (tmp_path / "shards" / ENTRY.shard).symlink_to("../secret.h5")
    with pytest.raises(ShardError, match="link out of the folder"):
        ENTRY.check_size(tmp_path / "shards")


def test_verify_finds_every_kind_of_damage(shards: Path) -> None:
    entry = next(iter(Manifest.read(shards)))
    path = shards / entry.shard
    whole = path.read_bytes()
    entry.verify(shards)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for data, reason in [(whole[:-1], "bytes"), (whole + b"x", "bytes"), (bytes(flipped), "SHA-256"), (b"", "empty")]:
        path.write_bytes(data)
        with pytest.raises(ShardError, match=reason):
            entry.verify(shards)
    path.write_bytes(whole)
    with pytest.raises(ShardError, match="other pairs"):
        replace(entry, pairs=7).verify(shards)
    path.unlink()
    with pytest.raises(ShardError, match="No such file"):
        entry.verify(shards)


def test_parts_without_a_manifest_are_named(tmp_path: Path) -> None:
    assert Manifest(tmp_path).missing_parts() == ()
    for part in ((2, 3), (1, 1)):
        Manifest(tmp_path, part=part).write()
    assert Manifest.read(tmp_path).missing_parts() == ("1/3", "3/3")
    (tmp_path / "manifest-1-of-9999999.jsonl").touch()
    assert len(Manifest.read(tmp_path).missing_parts()) == 20
    Manifest.read(tmp_path).write()  # a run that has the folder to itself takes over
    assert Manifest.read(tmp_path).missing_parts() == ()
