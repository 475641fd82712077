"""Commands that are killed at random moments, and run again."""

import hashlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from blursynth.errors import BlursynthError
from blursynth.model.checkpoint import load_checkpoint
from blursynth.photos import read_photo
from faults.goods import Goods
from faults.launcher import Launcher, still_running
from faults.runner import Sandbox, Trial, bytes_of, changed, sandbox, state_of, what_is_half

__all__ = ["JOBS", "Job", "digest_of", "kill_at_random", "run_again", "whole_files"]

_SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
_NOT_PROMISED = {".lock", ".jsonl", ".md", ".tmp"}  # logs and cards tell times; manifests are looked at by themselves


@dataclass(frozen=True, slots=True)
class Job:
    """A command that writes into ``out``; ``again`` is what goes on where it stopped, once there is something."""

    name: str
    takes: tuple[str, ...]
    command: str
    again: str = ""
    is_resumed_by: str = ""

    def arguments(self, work: Path) -> list[str]:
        """Return the words of the command, or of the one that goes on."""
        goes_on = self.is_resumed_by and (work / "out" / self.is_resumed_by).exists()
        return (self.again if goes_on else self.command).split()


_TRAIN = (
    "train shards --network lite-tiny --device cpu --patch 32 --batch 2 --steps 6 --workers 0 --validation-pairs 2 "
    "--validation-patch 32 --save-minutes 0.003 --quiet -o out"
)
JOBS = (
    Job("make", ("clip.mkv", "other.mkv", "clip.mp4"), "make clip.mkv other.mkv clip.mp4 --window 3 --quiet -o out"),
    Job("make --jobs 2", ("clip.mkv", "other.mkv"), "make clip.mkv other.mkv --window 3 --jobs 2 --quiet -o out"),
    Job("shake", ("photos",), "shake photos --per-photo 2 --size 64x48 --quiet -o out"),
    Job("deblur", ("photos", "tiny.safetensors"), "deblur photos --checkpoint tiny.safetensors --device cpu -q -o out"),
    Job("train", ("shards",), _TRAIN, f"{_TRAIN} --resume", "last.safetensors"),
    Job("import", ("pairs",), "import pairs --layout folders --jobs 1 --quiet -o out"),
    Job("export", ("shards",), "export shards --layout folders --jobs 1 --quiet -o out"),
)


def digest_of(folder: Path) -> dict[str, str]:
    """Return the names of what a job made, and hashes of what is promised to be the same each time."""
    found = {}
    is_run = any(folder.glob("*.safetensors"))  # whose samples and curves are written when it is time
    for path in sorted(folder.rglob("*.safetensors" if is_run else "*")):
        if path.is_dir() or (path.suffix in _NOT_PROMISED and not path.name.startswith("manifest")):
            continue
        name = str(path.relative_to(folder))
        found[name] = _weights(path) if path.suffix == ".safetensors" else hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def _weights(path: Path) -> str:
    """Return a hash of the weights and of the optimiser; times and scores of a run are its own."""
    checkpoint, digest = load_checkpoint(path), hashlib.sha256()
    if path.name.startswith("best"):
        return "whole"  # which one was best depends on when it was scored
    for tensors in (checkpoint.weights, checkpoint.optimizer):
        for name in sorted(tensors):
            digest.update(name.encode() + tensors[name].contiguous().numpy().tobytes())
    return digest.hexdigest()


def whole_files(folder: Path) -> Iterator[str]:
    """Tell which files under final names are not whole."""
    yield from what_is_half(folder, is_stopped=True)
    for path in sorted(folder.rglob("*")):
        try:
            if path.suffix == ".safetensors":
                load_checkpoint(path)
            elif path.suffix in {".png", ".jpg"}:
                read_photo(path)
        except BlursynthError as error:
            yield str(error)


def kill_at_random(job: Job, count: int, launcher: Launcher, goods: Goods, root: Path, *, seed: int = 0) -> Trial:
    """Kill a job at ``count`` random moments, each time from the beginning, and let it go on."""
    with sandbox(root, goods) as place:
        place.take(*job.takes)
        begin = time.monotonic()
        done = launcher.run(job.arguments(place.work), place.work)
        seconds = time.monotonic() - begin
        expected = digest_of(place.work / "out")
        faults = [] if done.code == 0 else [f"undisturbed, it ends with {done.code}: {done.stderr[-200:]}"]
    rng, bytes_lost = np.random.default_rng(seed), 0
    for number in range(count):
        with sandbox(root, goods) as place:
            place.take(*job.takes)
            when, how = float(rng.uniform(0, 1.05 * seconds)), _SIGNALS[number % len(_SIGNALS)]
            found, lost = _kill_once(job, place, launcher, when, how, expected)
            bytes_lost += lost
            if found:
                faults.append(f"{how.name} after {when:.2f} s: {found[0]}")
    promise = "only whole files under final names; run again, the same bytes"
    if job.again:
        promise = "checkpoints load; resumed, the same weights"
    what = f"{job.name}: kill -9, SIGTERM, Ctrl-C at random"
    return Trial("killed", what, promise, count, tuple(faults), bytes_lost)


def _kill_once(
    job: Job, place: Sandbox, launcher: Launcher, when: float, how: signal.Signals, expected: dict[str, str]
) -> tuple[list[str], int]:
    inputs = state_of(place.work)
    pid, stem = launcher.start(job.arguments(place.work), place.work)
    time.sleep(when)
    if how is signal.SIGINT:
        os.killpg(pid, how)  # as a terminal does
    else:
        os.kill(pid, how)
    outcome = launcher.wait(pid, stem)
    faults = []
    if outcome.code not in {0, -how, 128 + how}:
        faults.append(f"ended with {outcome.code}: {outcome.stderr[-200:]}")
    if "Traceback" in outcome.stderr:
        faults.append(f"a traceback: {outcome.stderr[-300:]}")
    if left := still_running(pid, 5.0):
        faults.append(f"{len(left)} processes are left")
    faults += whole_files(place.work)
    if how is not signal.SIGKILL and (temporary := list((place.work / "out").rglob("*.tmp"))):
        faults.append(f"{temporary[0].name} is left")
    found, bytes_lost = run_again(job, place, launcher, inputs, expected)
    return [*faults, *found], bytes_lost


def run_again(
    job: Job, place: Sandbox, launcher: Launcher, inputs: dict[str, str], expected: dict[str, str]
) -> tuple[list[str], int]:
    """Run a job to its end; return what is not as expected, and how many bytes that were there have changed."""
    faults, made = [], _made(job, place.work)
    again = launcher.run(job.arguments(place.work), place.work)
    if again.code != 0:
        faults.append(f"again, it ends with {again.code}: {again.stderr[-300:]}")
    elif digest_of(place.work / "out") != expected:
        faults.append("again, it makes something else")
    elif list((place.work / "out").rglob("*.tmp")):
        faults.append("temporary files stay")
    lost = changed(inputs, state_of(place.work)) | changed(made, _made(job, place.work))
    return [*faults, *(f"{name} has changed or is gone" for name in lost)], bytes_of(lost)


def _made(job: Job, work: Path) -> dict[str, str]:
    """Return what a job has made that may never change again; checkpoints give way to newer ones."""
    found = {} if job.again else state_of(work / "out")
    return {f"out/{name}": text for name, text in found.items() if Path(name).suffix not in _NOT_PROMISED}
