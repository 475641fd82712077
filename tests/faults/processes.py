"""Processes that die, meet, are interrupted early, or lose their streams and inputs."""

import importlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from faults.goods import Goods
from faults.kills import JOBS, digest_of, whole_files
from faults.launcher import Launcher, still_running
from faults.permissions import no_permission
from faults.runner import Trial, sandbox

__all__ = ["TRIALS", "slow_frames"]

_MAKE = "make clip.mkv --window 3 --quiet -o out"
_OURS = re.compile(r"/blursynth/(?!__main__\.py\", line \d\b)[\w/]+\.py")  # any frame of ours but the first imports
_TRAIN = "train shards --network lite-tiny --device cpu --patch 32 --batch 2 --steps 100000 --workers 1 -q -o out"


def slow_frames(seconds: float) -> None:
    """Let every decoded frame take its time; for `Launcher.start`."""
    run: Any = importlib.import_module("blursynth.make.run")
    real = run.decode

    def decode(info: Any, start: int = 0) -> Iterator[Any]:
        for frame in real(info, start):
            time.sleep(seconds)
            yield frame

    run.decode = decode


def _wait_for(condition: Callable[[], object], seconds: float = 30.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _temporary(folder: Path) -> list[Path]:
    return list(folder.rglob("*.tmp"))


def two_writers(launcher: Launcher, goods: Goods, root: Path) -> Trial:
    """Let a second run write where a first one does."""
    faults = []
    with sandbox(root, goods) as place:
        place.take("clip.mkv")
        pid, stem = launcher.start(_MAKE.split(), place.work, hook="faults.processes:slow_frames", seconds=0.1)
        _wait_for(lambda: list((place.work / "out").glob(".blursynth.lock")))
        time.sleep(0.3)
        second = launcher.run(_MAKE.split(), place.work)
        if second.code != 5 or f"pid {pid}" not in second.stderr:
            faults.append(f"the second ends with {second.code}: {second.stderr[-200:]}")
        if (first := launcher.wait(pid, stem)).code != 0:
            faults.append(f"the first ends with {first.code}: {first.stderr[-200:]}")
        faults += whole_files(place.work)
    return Trial(
        "processes", "two runs write into one folder", "the second: code 5, naming the first", 1, tuple(faults)
    )


def worker_dies(launcher: Launcher, goods: Goods, root: Path) -> Trial:
    """Kill a worker of ``make --jobs 2`` while it works."""
    job, faults = next(job for job in JOBS if job.name == "make --jobs 2"), []
    with sandbox(root, goods) as place:
        place.take(*job.takes)
        launcher.run(job.arguments(place.work), place.work)
        expected = digest_of(place.work / "out")
    for moment in (0.0, 0.3, 1.0):
        with sandbox(root, goods) as place:
            place.take(*job.takes)
            pid, stem = launcher.start(job.arguments(place.work), place.work)
            if _wait_for(partial(_workers, pid), 60):
                time.sleep(moment)
                for worker in _workers(pid)[:1]:
                    worker.kill()
            outcome = launcher.wait(pid, stem)
            if outcome.code != 0 or digest_of(place.work / "out") != expected:
                faults.append(f"killed after {moment} s: {outcome.code}: {outcome.stderr[-200:]}")
    return Trial("processes", "a worker of make is killed", "its work is done again: the same bytes", 3, tuple(faults))


def _workers(pid: int) -> list[psutil.Process]:
    try:
        children = psutil.Process(pid).children(recursive=True)
        return [child for child in children if "LokyProcess" in " ".join(child.cmdline())]
    except psutil.Error:
        return []


def loader_dies(launcher: Launcher, goods: Goods, root: Path) -> Trial:
    """Kill a process that reads shards for ``train``."""
    faults = []
    with sandbox(root, goods) as place:
        place.take("shards")
        pid, stem = launcher.start(_TRAIN.split(), place.work)
        if _wait_for(lambda: psutil.Process(pid).children(), 60):
            time.sleep(1)
            for child in psutil.Process(pid).children():
                child.kill()
        outcome = launcher.wait(pid, stem)
        if outcome.code not in {1, 5} or "Traceback" in outcome.stderr or "internal error" in outcome.stderr:
            faults.append(f"ends with {outcome.code}: {outcome.stderr[-300:]}")
        faults += [f"{process} is left" for process in still_running(pid)] + list(whole_files(place.work))
    return Trial("processes", "a reader of train is killed", "told in one line, not waited for", 1, tuple(faults))


def input_vanishes(launcher: Launcher, goods: Goods, root: Path) -> Trial:
    """Remove, cut or empty a clip while it is decoded."""
    faults = []
    changes: tuple[Callable[[Path], object], ...] = (
        Path.unlink, lambda path: os.truncate(path, 0), lambda path: os.truncate(path, path.stat().st_size // 2),
    )  # fmt: skip
    for number, change in enumerate(changes):
        with sandbox(root, goods) as place:
            place.take("clip.mkv")
            pid, stem = launcher.start(_MAKE.split(), place.work, hook="faults.processes:slow_frames", seconds=0.05)
            _wait_for(partial(_temporary, place.work))
            change(place.work / "clip.mkv")
            outcome = launcher.wait(pid, stem)
            if outcome.code not in {0, 3, 4} or "internal error" in outcome.stderr or "Traceback" in outcome.stderr:
                faults.append(f"change {number}: ends with {outcome.code}: {outcome.stderr[-300:]}")
            faults += whole_files(place.work)
    return Trial("processes", "the clip vanishes while it is read", "code 3, or 0 if all was read", 3, tuple(faults))


def early_interrupts(launcher: Launcher, goods: Goods, root: Path) -> Trial:
    """Press Ctrl-C while the program is still being loaded; what Python says before it comes to us is its own."""
    faults, moments = [], [0.05 * step for step in range(1, 30, 3)]
    with sandbox(root, goods) as place:
        place.take("clip.mkv")
        for moment in moments:
            process = subprocess.Popen(
                [sys.executable, "-m", "blursynth", *_MAKE.split()], cwd=place.work, env=launcher.environment,
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
            )  # fmt: skip
            time.sleep(moment)
            process.send_signal(signal.SIGINT)
            _, stderr = process.communicate(timeout=60)
            is_begun = bool(_OURS.search(stderr)) or "Traceback" not in stderr
            if is_begun and (process.returncode not in {0, 130, -signal.SIGINT} or "Traceback" in stderr):
                faults.append(f"after {moment:.2f} s: {process.returncode}: {stderr[-300:]}")
    return Trial("processes", "Ctrl-C while it is loaded", "code 130, no traceback", len(moments), tuple(faults))


_STREAMS = {
    "standard output closed": (">&-", "inspect clip.mkv", {0}, ""),
    "standard error closed": ("2>&-", "inspect none.mkv", {2}, ""),
    "all streams closed": ("<&- >&- 2>&-", "make clip.mkv --window 3 -o out", {0}, ""),
    "standard output full": (">/dev/full", "inspect clip.mkv", {5}, "cannot be printed"),
    "standard error full": ("2>/dev/full", "make clip.mkv --window 3 -o out", {0}, ""),
    "standard output: nobody reads": ("| true", "inspect clip.mkv", {0}, ""),
    "names that are no text, where only ASCII is": ("", "make caf*.mkv --window 3 -o out", {0}, "caf"),
    "names of other scripts, where only ASCII is": ("", "inspect 日本.mkv", {0}, ""),
}


def lost_streams(launcher: Launcher, goods: Goods, root: Path) -> Trial:
    """Close, fill and cripple the standard streams."""
    faults = []
    ascii_only = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii:strict"}
    for name, (redirection, command, codes, message) in _STREAMS.items():
        with sandbox(root, goods) as place:
            place.take("clip.mkv")
            for other in ("日本.mkv", os.fsdecode(b"caf\xe9.mkv")):
                (place.work / other).write_bytes((place.work / "clip.mkv").read_bytes())
            script = f"set -o pipefail; {sys.executable} -m blursynth {command} {redirection}"
            done = subprocess.run(
                ["bash", "-c", script], cwd=place.work, env=launcher.environment | ascii_only, capture_output=True,
                timeout=120, check=False,
            )  # fmt: skip
            said = (done.stdout + done.stderr).decode(errors="replace")
            is_bad = "Traceback" in said or "internal error" in said or "Exception ignored" in said
            if done.returncode not in codes or is_bad or message not in said:
                faults.append(f"{name}: {done.returncode}: {said[-300:]}")
            faults += [f"{name}: {fault}" for fault in whole_files(place.work)]
    promise = "the documented code, no traceback, the work is done"
    return Trial("processes", "streams closed, full, or of another encoding", promise, len(_STREAMS), tuple(faults))


def planted_plugin(launcher: Launcher, goods: Goods, root: Path) -> Trial:
    """Plant a library where HDF5 looks for filters, and hand over a shard; nothing may load it."""
    faults = []
    with sandbox(root, goods) as place:
        place.take("shards")
        (place.bait / "libplanted.so").write_bytes(b"\x7fELF no library")
        environment = {
            **launcher.environment, "HDF5_PLUGIN_PATH": str(place.bait), "HDF5_DRIVER": "x", "HDF5_VOL_CONNECTOR": "x",
        }  # fmt: skip
        trace = place.root / "trace"
        command = [sys.executable, "-m", "blursynth", "verify", "shards"]
        if has_strace := _has_strace():
            command = ["strace", "-f", "-qq", "-e", "trace=open,openat,connect", "-o", str(trace), *command]
        done = subprocess.run(command, cwd=place.work, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            faults.append(f"ends with {done.returncode}: {done.stderr[-200:]}")
        if has_strace and (str(place.bait) in (text := trace.read_text(errors="replace")) or "connect(" in text):
            faults.append("it was looked at, or the network used")
    return Trial("security", "a planted filter library (HDF5_PLUGIN_PATH)", "never looked at", 1, tuple(faults))


def pages_escape(launcher: Launcher, goods: Goods, root: Path) -> Trial:
    """Call clips after markup; neither the report nor the model card may hold it as such."""
    name, faults = "<img src=x onerror=alert(1)>", []
    with sandbox(root, goods) as place:
        for number, good in enumerate(("clip.mkv", "other.mkv")):
            (place.work / f"{number}{name}.mkv").write_bytes(goods.path(good).read_bytes())
        clips = [path.name for path in sorted(place.work.glob("*.mkv"))]
        commands = (
            ["make", *clips, "--window", "3", "-o", "shards"],
            ["report", "shards", "-o", "page.html"],
            _TRAIN.replace("100000", "2").replace("-o out", "-o run").split(),
        )
        for command in commands:
            outcome = launcher.run(command, place.work)
            if outcome.code != 0:
                faults.append(f"{command[0]} ends with {outcome.code}: {outcome.stderr[-200:]}")
        pages = (*place.work.glob("*.html"), *place.work.glob("run/card.md"))
        with_markup = (page.name for page in pages if "<img src=x" in page.read_text(encoding="utf-8"))
        faults += [f"{page} holds the markup of a file name" for page in with_markup]
    return Trial("security", "clips called after markup", "report and model card escape it", 2, tuple(faults))


def _has_strace() -> bool:
    done = subprocess.run(["which", "strace"], capture_output=True, check=False)
    return done.returncode == 0


TRIALS: tuple[Callable[[Launcher, Goods, Path], Trial], ...] = (
    two_writers, worker_dies, loader_dies, input_vanishes, early_interrupts, lost_streams, planted_plugin,
    pages_escape, no_permission,
)  # fmt: skip
