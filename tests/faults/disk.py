"""Disks that are full, read-only, or fail at some call."""

import errno
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from faults.goods import Goods
from faults.kills import JOBS, Job, digest_of, run_again, whole_files
from faults.launcher import Launcher, Outcome
from faults.runner import Sandbox, Trial, sandbox, state_of

__all__ = ["can_mount", "fail_a_call", "fail_each_call", "fill_disk", "limit_files", "read_only", "use_up_quota"]

_CALLS = ("pwrite", "fsync", "replace", "posix_fallocate")
_FULL = r"error: .*(the disk is full: make room|exceed the size limit)"
_SAID = {
    errno.EIO: r"error: .*Input/output error",
    errno.EDQUOT: r"error: .*the disk quota is used up: make room and run the same command again",
}
_QUOTA_STEP = 17  # which is no multiple of the calls that it takes to write a file
_SIZES_KB = (8, 24, 48, 96, 200, 400)


def fail_a_call(number: int, error: int, folder: str) -> None:
    """Make the ``number``-th write, flush, rename or reservation of this process fail; for `Launcher.start`."""
    count = 0

    def wrapped(name: str) -> Callable[..., Any]:
        real: Callable[..., Any] = getattr(os, name)

        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count == number:
                Path(folder, "failed").touch()
                raise OSError(error, os.strerror(error))
            return real(*arguments, **options)

        return call

    for name in _CALLS:
        setattr(os, name, wrapped(name))


def _undisturbed(job: Job, launcher: Launcher, goods: Goods, root: Path) -> dict[str, str]:
    with sandbox(root, goods) as place:
        place.take(*job.takes)
        launcher.run(job.arguments(place.work), place.work)
        return digest_of(place.work / "out")


def use_up_quota(job: Job, launcher: Launcher, goods: Goods, root: Path) -> Trial:
    """Let one call in some say that the quota is used up."""
    trial = fail_each_call(job, launcher, goods, root, step=_QUOTA_STEP, error=errno.EDQUOT)
    return replace(trial, fault=f"{job.name}: the disk quota is used up")


def fail_each_call(
    job: Job, launcher: Launcher, goods: Goods, root: Path, *, most: int = 400, step: int = 1, error: int = errno.EIO
) -> Trial:
    """Let the 1st, 2nd, … call fail until the job gets through; after each, look, and run it again."""
    expected = _undisturbed(job, launcher, goods, root)
    faults: list[str] = []
    tried = bytes_lost = 0
    for number in range(1, most, step):
        with sandbox(root, goods) as place:
            place.take(*job.takes)
            inputs = state_of(place.work)
            outcome = launcher.run(
                job.arguments(place.work), place.work, hook="faults.disk:fail_a_call",
                number=number, error=error, folder=str(place.root),
            )  # fmt: skip
            if not (place.root / "failed").exists():
                break
            tried += 1
            found = _faults_of(job, outcome, _SAID[error]) + _faults_in(place)
            again, lost = run_again(job, place, launcher, inputs, expected)
            bytes_lost += lost
            faults += [f"call {number}: {fault}" for fault in [*found, *again][:1]]
    promise = "code 5 (train: goes on), nothing half; run again, the same bytes"
    return Trial(
        "disk", f"{job.name}: the n-th write, flush or rename fails", promise, tried, tuple(faults), bytes_lost
    )


def _faults_of(job: Job, outcome: Outcome, message: str) -> list[str]:
    faults = []
    if outcome.code not in ({0, 5} if job.again else {5}):
        faults.append(f"ended with {outcome.code}: {outcome.stderr[-200:]}")
    elif outcome.code == 5 and not re.search(message, outcome.stderr):
        faults.append(f"said {outcome.stderr[-300:]!r}, expected {message!r}")
    if "Traceback" in outcome.stderr or "internal error" in outcome.stderr:
        faults.append(f"said {outcome.stderr[-300:]}")
    return faults


def _faults_in(place: Sandbox) -> list[str]:
    return [*whole_files(place.work), *(f"{path.name} is left" for path in (place.work / "out").rglob("*.tmp"))]


@contextmanager
def _mounted(folder: Path, size_kb: int) -> Iterator[Callable[[str], object]]:
    """Mount a small file system of its own; the value to call mounts it again with other options."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_kb}k", "tmpfs", folder], check=True, capture_output=True)
    try:
        yield lambda options: subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)
    finally:
        subprocess.run(["umount", "-l", folder], check=True, capture_output=True)


def can_mount(scratch: Path) -> bool:
    """Return whether this process may mount a small file system."""
    if shutil.which("mount") is None:
        return False
    try:
        with _mounted(scratch / "mount", 64):
            return True
    except (OSError, subprocess.CalledProcessError):
        (scratch / "mount").rmdir()
        return False


def fill_disk(job: Job, launcher: Launcher, goods: Goods, root: Path) -> Trial:
    """Give a job disks of several sizes, all too small; then make room and run it again."""
    expected = _undisturbed(job, launcher, goods, root)
    faults: list[str] = []
    tried = bytes_lost = 0
    for size_kb in _SIZES_KB:
        with sandbox(root, goods) as place:
            place.take(*job.takes)
            inputs = state_of(place.work)
            with _mounted(place.work / "out", size_kb) as remount:
                outcome = launcher.run(job.arguments(place.work), place.work)
                is_full = outcome.code != 0 or "full" in outcome.stderr
                if not is_full:
                    break
                tried += 1
                found = _faults_of(job, outcome, _FULL) + _faults_in(place)
                remount("size=64m")
                again, lost = run_again(job, place, launcher, inputs, expected)
                bytes_lost += lost
                faults += [f"{size_kb} kB: {fault}" for fault in [*found, *again][:1]]
    promise = "code 5 (train: goes on); what was whole stays whole; with room, the same bytes"
    return Trial("disk", f"{job.name}: the disk is full midway", promise, tried, tuple(faults), bytes_lost)


def limit_files(job: Job, launcher: Launcher, goods: Goods, root: Path) -> Trial:
    """Let no file grow beyond a limit."""
    expected = _undisturbed(job, launcher, goods, root)
    faults: list[str] = []
    tried = bytes_lost = 0
    for size_kb in (2, 8, 30):
        with sandbox(root, goods) as place:
            place.take(*job.takes)
            inputs = state_of(place.work)
            outcome = launcher.run(job.arguments(place.work), place.work, limits={"RLIMIT_FSIZE": size_kb << 10})
            if outcome.code == 0 and not outcome.stderr:
                break
            tried += 1
            found = _faults_of(job, outcome, _FULL) + _faults_in(place)
            again, lost = run_again(job, place, launcher, inputs, expected)
            bytes_lost += lost
            faults += [f"{size_kb} kB: {fault}" for fault in [*found, *again][:1]]
    promise = "code 5 (train: goes on), nothing half; without the limit, the same bytes"
    return Trial("disk", f"{job.name}: files may not grow (RLIMIT_FSIZE)", promise, tried, tuple(faults), bytes_lost)


def read_only(launcher: Launcher, goods: Goods, root: Path) -> Trial:
    """Give every job a folder on a read-only file system."""
    faults = []
    for job in JOBS:
        with sandbox(root, goods) as place:
            place.take(*job.takes)
            with _mounted(place.work / "out", 64) as remount:
                remount("ro")
                outcome = launcher.run(job.arguments(place.work), place.work)
            if outcome.code != 5 or "read-only" not in outcome.stderr:
                faults.append(f"{job.name} ends with {outcome.code}: {outcome.stderr[-200:]}")
    return Trial("disk", "the output is read-only", "code 5, which names it", len(JOBS), tuple(faults))
