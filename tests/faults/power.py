"""Power that is lost: of every moment, what a disk may hold that keeps only what was flushed."""

import json
import os
import shutil
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from faults.goods import Goods
from faults.kills import JOBS, Job, digest_of, run_again, whole_files
from faults.launcher import Launcher
from faults.runner import Trial, sandbox, state_of

__all__ = ["TRIALS", "lose_power", "record_flushes"]

_TRIED_AGAIN = 6  # of the moments at which power is lost, spread over the run; looked at are all of them
_CALLS = ("fsync", "replace", "unlink", "rename")


class _Disk:
    """What the disk has for sure: the bytes of a file as of its last flush, the names in a folder as of its last."""

    def __init__(self, work: Path, log: Path) -> None:
        self._work, self._log = work, log
        self._bytes: dict[int, str] = {}  # where a copy of what was flushed is, by inode
        self._names: dict[str, dict[str, int]] = {}
        self._open: list[int] = []
        self._count = 0

    def flushed(self, descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.is_dir():
            self._names[str(path.relative_to(self._work))] = _names_in(path)
        else:
            copy = self._log / f"{self._count}.bytes"
            shutil.copyfile(f"/proc/self/fd/{descriptor}", copy)
            self._bytes[os.fstat(descriptor).st_ino] = copy.name
            self._open.append(os.dup(descriptor))  # else its inode might be given to another file

    def write_down(self) -> None:
        """Write down two states: names as they were flushed, and as they are now; bytes as they were flushed."""
        folders = [path for path in (self._work, *self._work.rglob("*")) if path.is_dir()]
        now = {str(folder.relative_to(self._work)): _names_in(folder) for folder in folders}
        for kind, names in (("kept", {folder: self._names.get(folder, {}) for folder in now}), ("now", now)):
            state = {
                f"{folder}/{name}": self._bytes.get(inode, "")
                for folder, found in names.items()
                for name, inode in found.items()
            }
            (self._log / f"{self._count:04}-{kind}.json").write_text(json.dumps(state))
        self._count += 1


def _names_in(folder: Path) -> dict[str, int]:
    return {path.name: path.lstat().st_ino for path in folder.iterdir() if not path.is_dir()}


def record_flushes(work: str, log: str) -> None:
    """Write down after each flush, renaming or removal what loss of power would leave; for `Launcher.start`."""
    disk, lock = _Disk(Path(work), Path(log)), threading.RLock()

    def wrapped(name: str) -> Callable[..., Any]:
        real: Callable[..., Any] = getattr(os, name)

        def call(*arguments: Any, **options: Any) -> Any:
            with lock:
                result = real(*arguments, **options)
                if Path(work).is_dir():
                    if name == "fsync":
                        disk.flushed(arguments[0])
                    disk.write_down()
                return result

        return call

    for name in _CALLS:
        setattr(os, name, wrapped(name))


def _restore(state: Path, out: Path) -> None:
    """Make a folder what the disk would hold; what was never flushed is empty."""
    out.mkdir()
    for name, copy in json.loads(state.read_text()).items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes((state.parent / copy).read_bytes() if copy else b"")


def lose_power(job: Job, launcher: Launcher, goods: Goods, root: Path) -> Trial:
    """Let power go at each moment of a run; look at what there is, and from some of the moments go on."""
    faults: list[str] = []
    bytes_lost = 0
    with sandbox(root, goods) as place:
        place.take(*job.takes)
        log = root / "log"
        log.mkdir()
        done = launcher.run(
            job.arguments(place.work), place.work, hook="faults.power:record_flushes",
            work=str(place.work / "out"), log=str(log),
        )  # fmt: skip
        faults += [] if done.code == 0 else [f"undisturbed, it ends with {done.code}: {done.stderr[-200:]}"]
        expected = digest_of(place.work / "out")
        shutil.rmtree(place.work / "out")
        inputs = state_of(place.work)
        states = _different(sorted(log.glob("*.json")))
        chosen = set(states[:: max(1, len(states) // _TRIED_AGAIN)])
        for state in states:
            _restore(state, place.work / "out")
            found = list(whole_files(place.work))
            if state in chosen and not found:
                found, lost = run_again(job, place, launcher, inputs, expected)
                bytes_lost += lost
            faults += [f"{state.stem}: {fault}" for fault in found[:1]]
            shutil.rmtree(place.work / "out")
    promise = "whole files under final names, nothing listed that is not there; run again, the same bytes"
    return Trial("disk", f"{job.name}: power is lost at any moment", promise, len(states), tuple(faults), bytes_lost)


def _different(states: list[Path]) -> list[Path]:
    found: dict[str, Path] = {}
    for path in states:
        found.setdefault(path.read_text(), path)
    return list(found.values())


TRIALS = tuple(partial(lose_power, job) for job in JOBS if job.name in {"make", "deblur", "train", "export"})
