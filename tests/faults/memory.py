"""How much memory large inputs take."""

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from faults.goods import Goods, encode
from faults.kills import JOBS, digest_of, run_again, whole_files
from faults.launcher import Launcher
from faults.pictures import bomb
from faults.runner import Sandbox, Trial, sandbox, state_of

__all__ = ["TRIALS"]

_BLURSYNTH = ("-m", "blursynth")


# The peak of a process counts that of the one it was forked from: ours is large, this one's is not.
_METER = (
    "import resource, subprocess, sys\n"
    "code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)\n"
    "print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
)


def _measured(command: tuple[str, ...], place: Sandbox, launcher: Launcher) -> tuple[int, float, str]:
    """Run Python in a process of its own; return its exit code, its peak of memory in GB, and what it said."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _METER, sys.executable, *command], cwd=place.work,
        env=launcher.environment, capture_output=True, text=True, timeout=600, check=True,
    )  # fmt: skip
    code, peak_kb = done.stdout.split()
    return int(code), int(peak_kb) * 1024 / 1e9, done.stderr[-300:]


def _trial(
    fault: str, command: tuple[str, ...], code: int, most_gb: float, prepare: Callable[[Sandbox], object]
) -> Callable[[Launcher, Goods, Path], Trial]:
    def run(launcher: Launcher, goods: Goods, root: Path) -> Trial:
        with sandbox(root, goods) as place:
            prepare(place)
            found, gigabytes, said = _measured(command, place, launcher)
        is_good = found == code and gigabytes <= most_gb and "Traceback" not in said
        faults = () if is_good else (f"ended with {found}, {gigabytes:.2f} GB: {said}",)
        return Trial("memory", fault, f"code {code}, at most {most_gb:g} GB", 1, faults, remark=f"{gigabytes:.2f} GB")

    return run


def _telephone(place: Sandbox) -> None:
    """Write a photograph of 200 megapixels, as telephones take them."""
    Image.new("RGB", (16320, 12240), (90, 120, 150)).save(place.work / "p.jpg", quality=85)


def _telephone_and_network(place: Sandbox) -> None:
    _telephone(place)
    place.take("tiny.safetensors")


def _wide_clip(place: Sandbox) -> None:
    frames = np.zeros((6, 4320, 7680, 3), np.uint8)
    frames[:, 100:900, 100:900] = 200
    encode(place.work / "clip.mp4", frames, codec="mpeg4", rate=240)


def _long_manifest(place: Sandbox) -> None:
    """List a million pairs in 20 000 shards, of which only the first is there."""
    place.take("shards")
    path = place.work / "shards" / "manifest.jsonl"
    line = json.loads(path.read_text().splitlines()[0])
    lines = [path.read_text().splitlines()[0]]
    for number in range(20_000):
        digest = hashlib.sha256(str(number).encode()).hexdigest()
        lines.append(json.dumps({**line, "shard": f"x{number:05}.h5", "pairs": 50, "planned": 50, "sha256": digest}))
    path.write_text("\n".join([*lines, ""]))


def _huge_manifest(num_bytes: int) -> Callable[[Sandbox], object]:
    """Write a manifest that begins as it should and goes on with nothing, which takes no room on the disk."""

    def prepare(place: Sandbox) -> None:
        place.take("shards")
        os.truncate(place.work / "shards" / "manifest.jsonl", num_bytes)

    return prepare


_COPY = (
    "-c",
    (
        "from blursynth.photos import read_photo, write_photo; from pathlib import Path\n"
        "photo = read_photo('p.jpg'); write_photo(Path('q.jpg'), photo, photo.pixels)"
    ),
)
_VERIFY = (*_BLURSYNTH, "verify", "shards")
_SHAKE = (*_BLURSYNTH, "shake", "p.png", "-q")
_DEBLUR = (*_BLURSYNTH, "deblur", "p.jpg", "--checkpoint", "tiny.safetensors", "--device", "cpu", "-q", "-o", "q.jpg")


def workers_run_out(launcher: Launcher, goods: Goods, root: Path) -> Trial:
    """Give the workers of ``make --jobs 2`` too little memory: to begin with, and to decode with."""
    job, spares_mb = (
        next(job for job in JOBS if job.name == "make --jobs 2"),
        (30, 300, 600),
    )  # the last suffices at times
    faults, bytes_lost = [], 0
    with sandbox(root, goods) as place:
        place.take(*job.takes)
        launcher.run(job.arguments(place.work), place.work)
        expected = digest_of(place.work / "out")
    for spare_mb in spares_mb:
        with sandbox(root, goods) as place:
            place.take(*job.takes)
            inputs = state_of(place.work)
            hook = "faults.poor:starve_workers"
            outcome = launcher.run(job.arguments(place.work), place.work, hook=hook, spare_mb=spare_mb)
            is_told = re.search("error: .*out of memory.*--jobs", outcome.stderr)
            is_right = (outcome.code == 5 and is_told) or (outcome.code == 0 and spare_mb == spares_mb[-1])
            found = [] if is_right else [f"ends with {outcome.code}: {outcome.stderr[-300:]}"]
            found += [*whole_files(place.work), *(f"{path.name} is left" for path in place.work.rglob("*.tmp"))]
            again, lost = run_again(job, place, launcher, inputs, expected)
            bytes_lost += lost
            faults += [f"{spare_mb} MB: {fault}" for fault in [*found, *again][:1]]
    promise = "code 5, fewer --jobs, or 0 where 600 MB suffice; nothing half; run again, the same bytes"
    return Trial("memory", "workers of make run out of memory", promise, len(spares_mb), tuple(faults), bytes_lost)


TRIALS = (
    workers_run_out,
    _trial("a photograph of 200 megapixels, read and written", _COPY, 0, 4.0, _telephone),
    _trial("a photograph of 200 megapixels, made sharp", _DEBLUR, 0, 4.0, _telephone_and_network),
    _trial("a PNG of 900 megapixels in 110 kB", _SHAKE, 4, 0.5, lambda place: bomb(place.work / "p.png", place)),
    _trial("a clip of 7680 x 4320", (*_BLURSYNTH, "make", "clip.mp4", "--window", "3", "-q"), 0, 3.0, _wide_clip),
    _trial("a manifest of 1 GB, all but its beginning NUL", _VERIFY, 4, 0.5, _huge_manifest(1 << 30)),
    _trial("a manifest of 2 GB", _VERIFY, 4, 0.5, _huge_manifest(1 << 31)),
    _trial("a manifest of a million pairs", (*_BLURSYNTH, "inspect", "shards"), 0, 0.5, _long_manifest),
)
