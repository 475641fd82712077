"""Manifests and paths that would lead elsewhere, settings files, curves and packs that are not what they should be."""

# ruff: noqa: E501  # a case is a line of a table

import json
import os
from collections.abc import Callable
from typing import Any

from faults.runner import Case, Sandbox

__all__ = ["CASES"]

Line = dict[str, Any]


def _manifest(fault: str, change: Callable[[list[str]], list[str]], message: str, *, command: str = "verify") -> Case:
    """Return a case of a folder whose manifest's lines are changed."""

    def prepare(sandbox: Sandbox) -> None:
        sandbox.take("shards")
        (sandbox.bait / "secret.h5").write_bytes(b"secret")
        path = sandbox.work / "shards" / "manifest.jsonl"
        path.write_text("\n".join(change(path.read_text().splitlines())), encoding="utf-8")

    words = {
        "train": "train shards --network lite-tiny --device cpu --patch 32 --steps 1 --workers 0 -o run",
        "make": "make clip.mkv -o shards --window 3",
    }
    return Case("manifest", f"{fault} ({command})", words.get(command, f"{command} shards"), 4, message, prepare)


def _field(name: str, value: Any) -> Callable[[list[str]], list[str]]:
    def change(lines: list[str]) -> list[str]:
        return [json.dumps({**json.loads(lines[0]), name: value}), *lines[1:], ""]

    return change


_BAD = r"manifest\.jsonl, line 1: "
_NAMES = {
    "leads up": "../../bait/secret.h5", "is absolute": "/etc/passwd.h5", "has NUL": "a\0b.h5", "has a newline": "a\nb.h5",
    "is empty": "", "begins with a dash": "-x.h5", "is hidden": ".x.h5", "has a backslash": "..\\x.h5",
    "is not a string": 7, "is too long": "x" * 300 + ".h5",
}  # fmt: skip
_LISTED = (
    *(_manifest(f"a name that {what}", _field("shard", name), _BAD) for what, name in _NAMES.items()),
    _manifest("bytes below zero", _field("bytes", -1), _BAD),
    _manifest("pairs beyond all", _field("pairs", 10**40), _BAD),
    _manifest("pairs that are NaN", _field("pairs", float("nan")), "NaN is not a value of ours"),
    _manifest("pairs that are text", _field("pairs", "8"), "pairs is '8'"),
    _manifest("a hash that is none", _field("sha256", "x" * 64), _BAD),
    _manifest("a split that is none", _field("split", "<b>"), "split is"),
    _manifest("an unknown field", _field("more", 1), "fields are missing or not ours"),
    _manifest("a future schema", _field("schema", 2), "schema 2; this version reads schema 1"),
    _manifest("a field twice", lambda x: [x[0][:-1] + ', "pairs": 8}', *x[1:], ""], "a field stands twice"),
    _manifest("a shard twice", lambda x: [x[0], *x, ""], "is listed twice"),
    _manifest("a line cut short", lambda x: [*x[:-1], x[-1][:40]], "line 2: "),
    _manifest("no last newline", lambda x: x, "line 2: cut short"),
    _manifest("no JSON", lambda x: ["window=7", *x, ""], _BAD),
    _manifest("a list", lambda x: ["[]", *x, ""], "not an object"),
    _manifest("brackets without end", lambda x: ["[" * 50_000, *x, ""], _BAD),
    _manifest("a line of 100 kB", lambda x: ['"' + "x" * 100_000 + '"', *x, ""], "longer than any line of ours"),
    _manifest("not UTF-8", lambda x: ["\udcff\udcfe".encode("utf-8", "surrogatepass").decode("latin-1"), *x, ""], _BAD),
    _manifest("a name that leads up", _field("shard", "../../bait/secret.h5"), _BAD, command="train"),
    _manifest("a name that leads up", _field("shard", "../../bait/secret.h5"), _BAD, command="inspect"),
)


def _file(name: str, data: str | bytes, *takes: str) -> Callable[[Sandbox], object]:
    def prepare(sandbox: Sandbox) -> None:
        sandbox.take(*takes)
        path = sandbox.work / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)

    return prepare


def _link_out(sandbox: Sandbox) -> None:
    sandbox.take("shards")
    shard = min((sandbox.work / "shards").glob("*.h5"))
    (sandbox.bait / "secret.h5").write_bytes(shard.read_bytes())
    shard.unlink()
    shard.symlink_to(sandbox.bait / "secret.h5")


def _lock_is_link(sandbox: Sandbox) -> None:
    sandbox.take("clip.mkv")
    (sandbox.work / "shards").mkdir()
    (sandbox.bait / "secret").write_bytes(b"secret")
    (sandbox.work / "shards" / ".blursynth.lock").symlink_to(sandbox.bait / "secret")


def _pack(change: Callable[[bytes], bytes]) -> Callable[[Sandbox], object]:
    return lambda box: (box.work / "photos.pack").write_bytes(change(box.goods.path("photos.pack").read_bytes()))


def _looped(sandbox: Sandbox) -> None:
    (sandbox.work / "in").mkdir()
    (sandbox.work / "in" / "again").symlink_to(sandbox.work / "in")
    (sandbox.work / "in" / "clip.mkv").write_bytes(sandbox.goods.path("clip.mkv").read_bytes())


def _fifo(sandbox: Sandbox) -> None:
    os.mkfifo(sandbox.work / "s.toml")


def _curve(text: str) -> Case:
    return Case(
        "manifest",
        f"curve {text[:60]}",
        "make clip.mkv --crf curve.json",
        2 if '"table"' in text else 4,  # a table that makes no curve is a setting
        r"curve\.json",
        _file("curve.json", text, "clip.mkv"),
    )


_TRAIN_PACK = "train photos.pack --network lite-tiny --device cpu --patch 32 --batch 2 --steps 1 -o run"
_FILES = (
    Case("manifest", "a shard that is a link out", "verify shards", 4, "a link out of the folder", _link_out),
    Case("manifest", "a lock that is a link out", "make clip.mkv --window 3", 5, r"\.blursynth\.lock", _lock_is_link),
    Case("manifest", "no manifest", "verify in", 4, "no manifest.jsonl", _file("in/x", b"")),
    Case("manifest", "folders in a circle", "make in --window 3", 0, "8 pairs", _looped, ("shards/*",)),
    Case("manifest", "settings file: no TOML", "--config s.toml make clip.mkv", 2, r"s\.toml: not a settings file", _file("s.toml", "[make", "clip.mkv")),
    Case("manifest", "settings file: unknown option", "--config s.toml make clip.mkv", 2, "no option 'windwo'", _file("s.toml", "[make]\nwindwo = 7\n", "clip.mkv")),
    Case("manifest", "settings file: unknown command", "--config s.toml make clip.mkv", 2, "not a command", _file("s.toml", "[mkae]\nwindow = 7\n", "clip.mkv")),
    Case("manifest", "settings file: a value of another type", "--config s.toml make clip.mkv", 2, "stride", _file("s.toml", "[make]\nstride = [1, 2]\n", "clip.mkv")),
    Case("manifest", "settings file: bytes", "--config s.toml make clip.mkv", 2, r"s\.toml: not a settings file", _file("s.toml", b"\xff\xfe\0", "clip.mkv")),
    Case("manifest", "settings file: a pipe", "--config s.toml make clip.mkv", 2, r"s\.toml", _fifo),
    Case("manifest", "settings file: not there", "--config s.toml make clip.mkv", 2, r"s\.toml"),
    Case("manifest", "environment: no number", "make clip.mkv", 2, "stride.*many|many.*stride", _file("x", b"", "clip.mkv"), environment={"BLURSYNTH_MAKE_STRIDE": "many"}),
    *(_curve(text) for text in ("", "{}", "[]", '{"schema": 2}', '{"schema": "blursynth response curve 1", "table": [NaN]}', '{"schema": "blursynth response curve 1", "table": []}', "[" * 9999)),
    Case("manifest", "curve: not there", "make clip.mkv --crf none.json", 4, r"none\.json", _file("x", b"", "clip.mkv")),
    Case("manifest", "curve: a device", "make clip.mkv --crf /dev/zero", 4, "/dev/zero", _file("x", b"", "clip.mkv")),
    Case("manifest", "pack cut in half", _TRAIN_PACK, 4, r"photos\.pack: ", _pack(lambda d: d[: len(d) // 2])),
    Case("manifest", "pack with a flipped bit", _TRAIN_PACK, 4, r"SHA-256 of \S+ is wrong", _pack(lambda d: d[:-9] + bytes([d[-9] ^ 1]) + d[-8:])),
    Case("manifest", "pack whose list is a number", _TRAIN_PACK, 4, r"photos\.pack: ", _pack(lambda _d: b"blursynth photographs 1\n7\n")),
    Case("manifest", "pack whose list has no end", _TRAIN_PACK, 4, r"photos\.pack: ", _pack(lambda _d: b"blursynth photographs 1\n{")),
    Case("manifest", "pack of no photographs", _TRAIN_PACK, 4, r"photos\.pack: |no photographs", _pack(lambda _d: b'blursynth photographs 1\n{"photos": []}\n')),
    Case("manifest", "gyroscope log: text", "shake photo0.png --gyro log.csv --focal-px 100", 4, r"log\.csv", _file("log.csv", "hello\n", "photo0.png")),
    Case("manifest", "gyroscope log: NaN", "shake photo0.png --gyro log.csv --focal-px 100", 4, r"log\.csv", _file("log.csv", "t,x,y,z\n" + "nan,nan,nan,nan\n" * 9, "photo0.png")),
    Case("manifest", "gyroscope log: bytes", "shake photo0.png --gyro log.csv --focal-px 100", 4, r"log\.csv", _file("log.csv", bytes(range(256)) * 9, "photo0.png")),
    Case("manifest", "list to audit: text", "audit list.csv", 4, r"list\.csv", _file("list.csv", "hello\n")),
)  # fmt: skip
_OUTPUTS = (
    Case("manifest", "output: a file", "make clip.mkv -o photo0.png", 2, r"photo0\.png: a file of this name", _file("x", b"", "clip.mkv", "photo0.png")),
    Case("manifest", "output: below a file", "make clip.mkv -o photo0.png/out", 5, "is a file, not a folder", _file("x", b"", "clip.mkv", "photo0.png")),
    Case("manifest", "output: in /proc", "make clip.mkv -o /proc/nothing", 5, "/proc/nothing", _file("x", b"", "clip.mkv")),
    Case("manifest", "output: a name of 300 bytes", f"make clip.mkv -o {'x' * 300}", 5, "too long", _file("x", b"", "clip.mkv")),
    Case("manifest", "output: other settings there", "make clip.mkv -o shards --window 5", 2, "holds pairs made with window 3", lambda box: box.take("clip.mkv", "shards")),
    Case("manifest", "a value of 100 kB", f"make clip.mkv --window {'7' * 100_000}", 2, "window", _file("x", b"", "clip.mkv")),
    Case("manifest", "a file name of 100 kB", f"make {'x' * 100_000}", 2, "too long|no such file"),
    Case("manifest", "an option of 100 kB", f"make --{'x' * 100_000}", 2, "No such option"),
)  # fmt: skip


CASES = _LISTED + _FILES + _OUTPUTS
