"""Files that may not be read and folders that may not be written to, for a process without a superuser's privileges."""

import ctypes
import ctypes.util
import re
from pathlib import Path

from faults.goods import Goods
from faults.launcher import Launcher
from faults.runner import Trial, bytes_of, changed, sandbox, state_of

__all__ = ["drop_privileges", "no_permission"]

_VERSION = 0x20080522  # of Linux's interface to capabilities
_DEBLUR = "deblur photo0.png --checkpoint tiny.safetensors --device cpu -o out/p.png"
_TRAIN = "train shards --network lite-tiny --device cpu --patch 32 --steps 1 --workers 0 -o out"
_TAKES = ("clip.mkv", "photo0.png", "tiny.safetensors", "shards", "photos")
_TRIES = (  # what is closed, its mode, the command, its code
    ("clip.mkv", 0o000, "make clip.mkv --window 3 -o out", 4),
    ("photo0.png", 0o000, _DEBLUR, 4),
    ("tiny.safetensors", 0o000, _DEBLUR, 4),
    ("photos", 0o000, "shake photos -o out", 4),
    ("photos", 0o444, "shake photos -o out", 4),
    ("photos", 0o000, "shake . --recursive -o out", 4),
    ("photos", 0o000, "make photos --window 3 -o out", 4),
    ("shards/manifest.jsonl", 0o000, "verify shards", 4),
    ("shards/manifest.jsonl", 0o000, _TRAIN, 4),
    ("out", 0o555, "make clip.mkv --window 3 -o out", 5),
    ("out", 0o555, "shake photos -o out", 5),
    ("out", 0o555, _DEBLUR, 5),
    ("out", 0o555, _TRAIN, 5),
    ("out", 0o555, "export shards --layout folders -o out", 5),
)


def drop_privileges() -> None:
    """Give up all capabilities of this process, so that modes of files count; for `Launcher.start`."""
    libc = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)
    if libc.capset((ctypes.c_uint32 * 2)(_VERSION, 0), (ctypes.c_uint32 * 6)()):
        raise OSError(ctypes.get_errno(), "capset")


def no_permission(launcher: Launcher, goods: Goods, root: Path) -> Trial:
    """Close inputs and outputs, one after the other."""
    faults, bytes_lost = [], 0
    for name, mode, command, code in _TRIES:
        with sandbox(root, goods) as place:
            place.take(*_TAKES)
            (place.work / "out").mkdir()
            before = state_of(place.work)
            (place.work / name).chmod(mode)
            outcome = launcher.run(command.split(), place.work, hook="faults.permissions:drop_privileges")
            (place.work / name).chmod(0o755)
            bytes_lost += bytes_of(changed(before, state_of(place.work)))
        is_told = (
            re.search(r"error: .*permission denied", outcome.stderr, re.IGNORECASE)
            and "Traceback" not in outcome.stderr
        )
        if outcome.code != code or not is_told:
            faults.append(f"{name}, {command.split()[0]}: {outcome.code}: {outcome.stderr[-300:]}")
    promise = "inputs: code 4, outputs: 5; permission denied, and what to do"
    return Trial("processes", "files and folders without permission", promise, len(_TRIES), tuple(faults), bytes_lost)
