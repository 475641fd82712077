"""Checkpoints and weights that are damaged, forged, or programs."""

# ruff: noqa: E501  # a case is a line of a table

import json
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from blursynth.model import checkpoint as ours
from faults.runner import Case, Sandbox

__all__ = ["CASES", "forged"]

Maker = Callable[[Path, Sandbox], object]
Values = dict[str, Any]


class _Program:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


def _file(fault: str, name: str, make: Maker, message: str, *, command: str = "deblur", unmended: str = "") -> Case:
    def prepare(sandbox: Sandbox) -> None:
        sandbox.take("photo0.png")
        make(sandbox.work / name, sandbox)

    words = f"deblur photo0.png --device cpu --checkpoint {name}" if command == "deblur" else f"{command} {name}"
    return Case("checkpoint", f"{fault} ({command})", words, 4, message, prepare, unmended=unmended)


def _changed(change: Callable[[bytearray], object]) -> Maker:
    def make(path: Path, sandbox: Sandbox) -> None:
        data = bytearray(sandbox.goods.path("tiny.safetensors").read_bytes())
        path.write_bytes(changed if isinstance(changed := change(data), (bytes, bytearray)) else data)

    return make


def forged(
    path: Path, good: Path, change: Callable[[Values], object], tensors: Callable[[Values], object] | None = None
) -> None:
    """Write a checkpoint whose description is made up, with the SHA-256 that belongs to it."""
    with safetensors.safe_open(good, framework="pt") as file:
        values = json.loads(file.metadata()["blursynth"])
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
    del values["sha256"]
    changed = change(values)
    values = changed if isinstance(changed, (dict, list)) else values
    if tensors:
        tensors(found)
    if isinstance(values, dict):
        values["sha256"] = ours._digest(found, values)
    path.write_bytes(safetensors.torch.save(found, {"blursynth": json.dumps(values, sort_keys=True)}))


def _forged(change: Callable[[Values], object], tensors: Callable[[Values], object] | None = None) -> Maker:
    return lambda path, box: forged(path, box.goods.path("tiny.safetensors"), change, tensors)


def _put(*keys: str, value: Any) -> Callable[[Values], None]:
    def change(values: Values) -> None:
        for key in keys[:-1]:
            values = values[key]
        values[keys[-1]] = value

    return change


def _nested(depth: int) -> Any:
    values: Any = 0
    for _ in range(depth):
        values = [values]
    return values


def _spoil(value: float) -> Callable[[Values], None]:
    def change(tensors: Values) -> None:
        name = min(tensors)
        tensors[name] = torch.full_like(tensors[name], value)

    return change


def _reshape(tensors: Values) -> None:
    name = min(tensors)
    tensors[name] = tensors[name][..., None].contiguous()


def _complex(tensors: Values) -> None:
    name = min(tensors)
    tensors[name] = tensors[name].to(torch.complex64)


def _header(length: int, text: bytes = b"{}") -> Maker:
    return lambda path, _box: path.write_bytes(struct.pack("<Q", length) + text)


def _torch_file(content: Callable[[Sandbox], object], *, is_old: bool = False) -> Maker:
    return lambda path, box: torch.save(content(box), path, _use_new_zipfile_serialization=not is_old)


def _program(sandbox: Sandbox) -> _Program:
    return _Program(sandbox.root / "ran")


def _plain_pickle(path: Path, sandbox: Sandbox) -> None:
    path.write_bytes(pickle.dumps({"G": _program(sandbox)}))


def _script(path: Path, _sandbox: Sandbox) -> None:
    """Write an archive such as TorchScript programs have."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/code/__torch__.py", "import os")
        archive.writestr("model/data.pkl", pickle.dumps({}))


def _zip_bomb(path: Path, _sandbox: Sandbox) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w/data.pkl", pickle.dumps({}))
        with archive.open("w/data/0", "w", force_zip64=True) as file:
            block = bytes(1 << 24)
            for _ in range(160):
                file.write(block)


_NOT = "not a checkpoint of blursynth"
_RANDOM = np.random.default_rng(0).bytes(5000)
_CASES_OF_BYTES: dict[str, tuple[Maker, str]] = {
    "no bytes": (lambda path, _box: path.touch(), "empty file"),
    "text": (lambda path, _box: path.write_text("no weights\n" * 99), _NOT),
    "random bytes": (lambda path, _box: path.write_bytes(_RANDOM), _NOT),
    "cut in half": (_changed(lambda d: d[: len(d) // 2]), _NOT),
    "one byte short": (_changed(lambda d: d[:-1]), _NOT),
    "a flipped bit": (_changed(lambda d: d.__setitem__(-9, d[-9] ^ 1)), "the file is damaged"),
    "a header of 2^63 bytes": (_header(2**63), _NOT),
    "a header of a terabyte": (_header(1 << 40), _NOT),
    "a header that is no JSON": (_header(4, b"{xyz"), _NOT),
    "a header of brackets": (_header(50_000, b'{"a":' * 10_000), _NOT),
    "tensors that overlap": (_header(133, b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}' + b" " * 25 + bytes(12)), _NOT),
}  # fmt: skip
_CASES_OF_VALUES: dict[str, tuple[Maker, str]] = {
    "somebody else's safetensors": (lambda p, _b: p.write_bytes(safetensors.torch.save({"a": torch.zeros(3)})), "not a checkpoint of blursynth"),
    "a list for a description": (_forged(lambda _v: [1]), "description cannot be read"),
    "no schema": (_forged(lambda v: v.pop("schema")), "description cannot be read"),
    "a future schema": (_forged(_put("schema", value=2)), "schema 2; this version reads schema 1"),
    "an unknown network": (_forged(_put("network", "kind", value="resnet")), "network kind 'resnet' is unknown"),
    "a network without channels": (_forged(_put("network", "channels", value=[])), "cannot be used"),
    "a network of text": (_forged(_put("network", "channels", value="wide")), "cannot be used"),
    "10^9 blocks": (_forged(_put("network", "encoder_blocks", value=[10**9, 1])), "does not fit its network"),
    "10^18 channels": (_forged(_put("network", "channels", value=[10**18, 8])), "cannot be used"),
    "channels below zero": (_forged(_put("network", "channels", value=[-4, 8])), "cannot be used"),
    "an unknown setting": (_forged(_put("network", "more", value=1)), "cannot be used"),
    "progress that is text": (_forged(_put("progress", value="far")), "cannot be used"),
    "scores in lists in lists": (_forged(_put("scores", "deep", value=_nested(400))), "nested deeper|cannot be used"),
    "NaN in the weights": (_forged(lambda _v: None, _spoil(float("nan"))), "not finite"),
    "infinity in the weights": (_forged(lambda _v: None, _spoil(float("inf"))), "not finite"),
    "a tensor of another shape": (_forged(lambda _v: None, _reshape), "does not fit its network"),
    "a tensor too few": (_forged(lambda _v: None, lambda t: t.pop(min(t))), "does not fit its network"),
    "a tensor too many": (_forged(lambda _v: None, lambda t: t.update({"weights.more": torch.zeros(1)})), "does not fit its network"),
    "complex weights": (_forged(lambda _v: None, _complex), "cannot be used"),
}  # fmt: skip
_CASES_OF_TORCH: dict[str, tuple[Maker, str]] = {
    "a program in a pickle": (_torch_file(lambda box: {"G": _program(box)}), "code from a file is never run"),
    "a program in an old pickle": (_torch_file(lambda box: {"G": _program(box)}, is_old=True), "never run|damaged"),
    "a program beside weights": (_torch_file(lambda box: OrderedDict(a=torch.zeros(3), b=_program(box))), "never run"),
    "a plain pickle": (_plain_pickle, "not a checkpoint of blursynth"),
    "a TorchScript archive": (_script, r"w\.pt: "),
    "an archive of 2.7 GB in 3 MB": (_zip_bomb, "GB"),
    "a cut archive": (lambda p, b: (_torch_file(lambda _b: {"a": torch.zeros(99)})(p, b), p.write_bytes(p.read_bytes()[:-99])), r"w\.pt: "),
    "weights of no network that is known": (_torch_file(lambda _b: {"a": torch.zeros(3)}), r"w\.pt: "),
    "NaN in published weights": (_torch_file(lambda _b: {"a": torch.full((3,), float("nan"))}), "not finite"),
    "sparse weights": (_torch_file(lambda _b: {"a": torch.zeros(3).to_sparse()}), "not a dense tensor"),
    "a tensor that repeats one value 10^12 times": (_torch_file(lambda _b: {"a": torch.zeros(1).expand(10**12)}), "GB"),
}  # fmt: skip
CASES = (
    *(
        _file(fault, "w.safetensors", make, rf"w\.safetensors: .*({message})", command=command)
        for command in ("deblur", "verify", "inspect")
        for fault, (make, message) in {**_CASES_OF_BYTES, **(_CASES_OF_VALUES if command != "verify" else {})}.items()
    ),
    *(_file(fault, "w.pt", make, message) for fault, (make, message) in _CASES_OF_TORCH.items()),
    _file("no checkpoint there", "w.pt", lambda _path, _box: None, "w.pt"),
    _file("a folder", "w.pt", lambda path, _box: path.mkdir(), "not a regular file"),
    _file("a pipe", "w.safetensors", lambda path, _box: os.mkfifo(path), "not a regular file"),
)
