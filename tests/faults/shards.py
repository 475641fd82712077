"""Shards that are damaged, foreign, or that point elsewhere."""

# a case is a line of a table

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from blursynth.shards import PAIR_DTYPE
from faults.runner import Case, Sandbox

__all__ = ["CASES"]

Maker = Callable[[Path, Sandbox], object]
_SHAPE = (2, 16, 16, 3)


def _shard(fault: str, make: Maker, message: str, *, unmended: str = "") -> Case:
    """Return a case of a single shard."""
    return Case(
        "shard", fault, "verify a.h5", 4, rf"a\.h5: .*({message})", lambda box: make(box.work / "a.h5", box),
        unmended=unmended,
    )  # fmt: skip


def _folder(
    fault: str, change: Callable[[list[Path]], object], message: str, *, command: str = "verify", unmended: str = ""
) -> Case:
    """Return a case of a folder of shards, one of which is changed."""

    def prepare(sandbox: Sandbox) -> None:
        sandbox.take("shards")
        change(sorted((sandbox.work / "shards").glob("*.h5")))

    what = (
        "train shards --network lite-tiny --device cpu --patch 32 --steps 1 --workers 0 -o run"
        if command == "train"
        else None
    )
    return Case(
        "shard",
        f"{fault} ({command})",
        what or f"{command} shards",
        4,
        message,
        prepare,
        max_lines=4,
        unmended=unmended,
    )


def _edited(change: Callable[[h5py.File, Sandbox], object]) -> Maker:
    """Write a plain shard by hand and let ``change`` spoil it."""

    def make(path: Path, sandbox: Sandbox) -> None:
        with h5py.File(path, "w") as file:
            file.attrs["schema"] = np.int64(1)
            file.attrs["config"] = np.bytes_(json.dumps({"window": "3"}))
            for name in ("blurry", "sharp"):
                file.create_dataset(name, data=np.zeros(_SHAPE, np.uint8))
            file.create_dataset("pairs", data=np.zeros(_SHAPE[:1], PAIR_DTYPE))
            change(file, sandbox)

    return make


def _replaced(name: str, make: Callable[..., object]) -> Maker:
    def change(file: h5py.File, sandbox: Sandbox) -> None:
        del file[name]
        make(file, sandbox)

    return _edited(change)


def _secret(sandbox: Sandbox) -> str:
    path = sandbox.bait / "secret.bin"
    path.write_bytes(bytes(4096))
    return str(path)


def _other_shard(sandbox: Sandbox) -> str:
    path = sandbox.bait / "other.h5"
    _edited(lambda _file, _box: None)(path, sandbox)
    return str(path)


def _external_storage(file: h5py.File, sandbox: Sandbox) -> None:
    file.create_dataset("blurry", _SHAPE, np.uint8, external=[(_secret(sandbox), 0, 4096)])


def _external_link(file: h5py.File, sandbox: Sandbox) -> None:
    file["blurry"] = h5py.ExternalLink(_other_shard(sandbox), "blurry")


def _soft_link(file: h5py.File, _sandbox: Sandbox) -> None:
    file["blurry"] = h5py.SoftLink("/sharp")


def _virtual(file: h5py.File, sandbox: Sandbox) -> None:
    layout = h5py.VirtualLayout(_SHAPE, np.uint8)
    layout[:] = h5py.VirtualSource(_other_shard(sandbox), "blurry", _SHAPE)
    file.create_virtual_dataset("blurry", layout)


def _unknown_filter(file: h5py.File, _sandbox: Sandbox) -> None:
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((1, 16, 16, 3))
    plist.set_filter(h5py.h5z.FILTER_DEFLATE, h5py.h5z.FLAG_OPTIONAL, (1,))
    space = h5py.h5s.create_simple(_SHAPE)
    h5py.h5d.create(file.id, b"blurry", h5py.h5t.NATIVE_UINT8, space, plist)


def _bomb(file: h5py.File, _sandbox: Sandbox) -> None:
    for name in ("blurry", "sharp"):
        if name in file:
            del file[name]
        file.create_dataset(name, (10**9, 16, 16, 3), np.uint8, chunks=(1, 16, 16, 3))


def _unallocated(file: h5py.File, _sandbox: Sandbox) -> None:
    for name in ("sharp", "pairs"):
        del file[name]
    for name in ("blurry", "sharp"):
        file.create_dataset(name, (900_000, 16, 16, 3), np.uint8)
    file.create_dataset("pairs", (900_000,), PAIR_DTYPE)


def _cycle(file: h5py.File, _sandbox: Sandbox) -> None:
    file["blurry"] = file["/"]


def _changed(change: Callable[[bytearray], object]) -> Maker:
    def make(path: Path, sandbox: Sandbox) -> None:
        data = bytearray(next(iter(sorted(sandbox.goods.path("shards").glob("*.h5")))).read_bytes())
        path.write_bytes(changed if isinstance(changed := change(data), (bytes, bytearray)) else data)

    return make


def _set(name: str, value: object) -> Maker:
    return _edited(lambda file, _box: file.attrs.__setitem__(name, value))


def _dataset(name: str, **options: Any) -> Maker:
    return _replaced(name, lambda file, _box: file.create_dataset(name, **options))


_ALONE = (
    _shard("no bytes", lambda p, _b: p.touch(), "empty file"),
    _shard("text", lambda p, _b: p.write_text("no HDF5\n" * 99), "not a shard"),
    _shard("only HDF5's signature", lambda p, _b: p.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99)), "not a shard"),
    _shard("cut in half", _changed(lambda d: d[: len(d) // 2]), "not a shard|cut short"),
    _shard("one byte short", _changed(lambda d: d[:-1]), "not a shard|cut short"),
    _shard("an HDF5 file of others", _edited(lambda f, _b: f.attrs.__delitem__("schema")), "no schema"),
    _shard("a future schema", _set("schema", np.int64(2)), "schema 2; this version reads schema 1"),
    _shard("a schema that is text", _set("schema", np.bytes_("1")), "no schema"),
    _shard("settings that are no JSON", _set("config", np.bytes_("{")), "config is damaged"),
    _shard("an enormous attribute", _set("config", np.bytes_("x" * 61_000)), "not one of ours"),
    _shard("an attribute that is an object", _set("config", "text of any length"), "not one of ours"),
    _shard("an unknown data set", _edited(lambda f, _b: f.create_dataset("more", data=[1])), "holds blurry, more"),
    _shard("a missing data set", _edited(lambda f, _b: f.__delitem__("sharp")), "holds blurry, pairs"),
    _shard("float images", _dataset("blurry", data=np.zeros(_SHAPE, np.float32)), "expected"),
    _shard("grey images", _dataset("blurry", data=np.zeros(_SHAPE[:3], np.uint8)), r"expected \(N, H, W, 3\)"),
    _shard("images of unequal sizes", _dataset("sharp", data=np.zeros((2, 8, 16, 3), np.uint8)), "expected"),
    _shard("no pairs", _dataset("blurry", data=np.zeros((0, 16, 16, 3), np.uint8)), "expected"),
    _shard("a table of another type", _dataset("pairs", data=np.zeros(2)), "table of pairs"),
    _shard("a compound type with references", _dataset("pairs", shape=(2,), dtype=h5py.ref_dtype), "table of pairs"),
    _shard("gzip", _dataset("blurry", data=np.zeros(_SHAPE, np.uint8), compression="gzip"), "not stored plainly"),
    _shard("external storage", _replaced("blurry", _external_storage), "not stored plainly"),
    _shard("external link", _replaced("blurry", _external_link), "link out of the file"),
    _shard("soft link", _replaced("blurry", _soft_link), "link out of the file"),
    _shard("virtual data set", _replaced("blurry", _virtual), "not stored plainly"),
    _shard("filters", _replaced("blurry", _unknown_filter), "not stored plainly"),
    _shard("a thousand million pairs in no bytes", _replaced("blurry", _bomb), "expected"),
    _shard("900 000 pairs that were never written", _replaced("blurry", _unallocated), "outside the file"),
    _shard("a group that holds itself", _replaced("blurry", _cycle), "not a shard"),
    _shard("pipe", lambda p, _b: os.mkfifo(p), "not a regular file"),
)  # fmt: skip


def _rewrite(path: Path, change: Callable[[bytearray], object]) -> None:
    data = bytearray(path.read_bytes())
    path.write_bytes(changed if isinstance(changed := change(data), (bytes, bytearray)) else data)


def _flip(data: bytearray, place: int) -> None:
    data[place] ^= 1


def _swap(paths: list[Path]) -> None:
    first, second = (path.read_bytes() for path in paths)
    paths[0].write_bytes(second)
    paths[1].write_bytes(first)


def _link_out(paths: list[Path]) -> None:
    outside = paths[0].parent.parent / "elsewhere.h5"
    paths[0].rename(outside)
    paths[0].symlink_to(outside)


_SIZE = r"clip-\w+-00000\.h5: \d+ bytes, the manifest says \d+"
_CHANGES: dict[str, tuple[Callable[[list[Path]], object], str, str]] = {
    "one byte short": (lambda paths: _rewrite(paths[0], lambda d: d[:-1]), _SIZE, _SIZE),
    "one byte longer": (lambda paths: _rewrite(paths[0], lambda d: d + b"\0"), _SIZE, _SIZE),
    "emptied": (lambda paths: paths[0].write_bytes(b""), "empty file", "empty file"),
    "gone": (lambda paths: paths[0].unlink(), "No such file", "No such file"),
    "renamed": (lambda paths: paths[0].rename(paths[0].with_name("x.h5")), "No such file", "No such file"),
    "a flipped bit in its images": (lambda p: _rewrite(p[0], partial(_flip, place=-99)), "SHA-256 differs", ""),
    "a flipped bit in its first byte": (lambda p: _rewrite(p[0], partial(_flip, place=0)), "SHA-256", "not a shard"),
    "swapped with another of its size": (_swap, "SHA-256 differs", "other pairs than the manifest says"),
    "a link out of the folder": (_link_out, "a link out of the folder", "a link out of the folder"),
}
_LISTED = tuple(
    _folder(fault, change, message, command=command)
    for fault, (change, *messages) in _CHANGES.items()
    for command, message in zip(("verify", "train"), messages, strict=True)
    if message  # training reads on: it does not read every byte first, which is what verify is for
)
CASES = _ALONE + _LISTED
