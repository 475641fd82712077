"""Readers of files, fed with files that were changed at random: ``python -m faults.fuzz READER COUNT SEED``.

With ``--guided SECONDS`` in place of the numbers, atheris chooses the changes by what they reach. Only errors of our
own may come out, in bounded time; anything else is kept in ``corpus``.
"""

import gc
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, FunctionType
from typing import NoReturn

import numpy as np

from faults.goods import Goods
from faults.launcher import Launcher
from faults.runner import Trial

__all__ = ["CORPUS", "READERS", "feed", "fuzz", "mutated"]

CORPUS = Path(__file__).with_name("corpus")
_SECONDS = 20  # for one file
_MEMORY = 6 << 30
_EXTREMES = (0, 1, 127, 128, 255)


class _Hang(BaseException):
    pass


def _read_shard(path: Path) -> object:
    from blursynth.shards import Shard

    with Shard(path) as shard:
        return [shard.rows(), shard.pair(0), shard.attributes]


def _read_manifest(path: Path) -> object:
    from blursynth.shards import Manifest

    return Manifest.read(path.parent).everything()


def _read_checkpoint(path: Path) -> object:
    from blursynth.model.checkpoint import load_checkpoint, restore_network

    return restore_network(load_checkpoint(path))


def _read_published(path: Path) -> object:
    from blursynth.model.published import load_any

    return load_any(path)


def _read_photo(path: Path) -> object:
    from blursynth.photos import read_photo

    return read_photo(path, max_pixels=4_000_000)


def _read_pack(path: Path) -> object:
    from blursynth.model.online.packing import load_pack

    return load_pack(path)


def _read_clip(path: Path) -> object:
    from blursynth.decoding import decode
    from blursynth.video import describe

    return sum(frame.is_damaged for frame in decode(describe(path, max_pixels=1_000_000)))


def _read_curve(path: Path) -> object:
    from blursynth.crf import response_curve

    return response_curve(str(path))


@dataclass(frozen=True, slots=True)
class Reader:
    """Something that reads a file under a name, and which of the good files it is to begin with."""

    read: Callable[[Path], object]
    name: str
    seed: str


READERS = {
    "shard": Reader(_read_shard, "a.h5", "shards/*.h5"),
    "manifest": Reader(_read_manifest, "manifest.jsonl", "shards/manifest.jsonl"),
    "checkpoint": Reader(_read_checkpoint, "w.safetensors", "tiny.safetensors"),
    "published": Reader(_read_published, "w.pt", "published.pt"),
    "jpeg": Reader(_read_photo, "p.jpg", "photo.jpg"),
    "png": Reader(_read_photo, "p.png", "photo0.png"),
    "tiff": Reader(_read_photo, "p.tif", "photo.tif"),
    "webp": Reader(_read_photo, "p.webp", "photo.webp"),
    "pack": Reader(_read_pack, "p.pack", "photos.pack"),
    "mp4": Reader(_read_clip, "c.mp4", "clip.mp4"),
    "matroska": Reader(_read_clip, "c.mkv", "clip.mkv"),
    "curve": Reader(_read_curve, "c.json", "curve.json"),
}


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Return a file changed in a few places, mostly in its first kilobytes, where structure is."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 9))):
        reach = len(changed) if rng.random() < 0.4 else min(len(changed), 4096)
        place = int(rng.integers(0, max(1, reach)))
        match int(rng.integers(0, 6)):
            case 0:
                changed[place : place + 1] = bytes([changed[place] ^ 1 << int(rng.integers(8))] if changed else [0])
            case 1:
                changed[place : place + 1] = bytes([_EXTREMES[int(rng.integers(len(_EXTREMES)))]])
            case 2:
                changed[place : place + 4] = rng.bytes(4)
            case 3:
                changed[place : place + 8] = b"\xff" * 8
            case 4:
                other = int(rng.integers(0, len(changed) + 1))
                changed[place:place] = changed[other : other + int(rng.integers(1, 64))]
            case _:
                del changed[place : place + int(rng.integers(1, 1 + len(changed) // 4))]
    return bytes(changed)


def feed(reader: Reader, data: bytes, folder: Path) -> str:
    """Let a reader read; return what came out that should not, or nothing."""
    from blursynth.errors import BlursynthError

    path = folder / reader.name
    path.write_bytes(data)
    signal.alarm(_SECONDS)
    try:
        reader.read(path)
    except BlursynthError as error:
        return "a message of several lines" if "\n" in str(error) else ""
    except _Hang:
        return "it hangs"
    except Exception as error:  # which is what we look for
        return f"{type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
    return ""


def _hang(_number: int, _frame: FrameType | None) -> NoReturn:
    raise _Hang


def _quietly() -> None:
    """Send what libraries say on stderr nowhere; the exit code and our own output tell."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _main(arguments: list[str]) -> int:
    goods, name, *numbers = arguments
    reader = READERS[name]
    seeds = [path.read_bytes() for path in sorted(Path(goods).glob(reader.seed))]
    signal.signal(signal.SIGALRM, _hang)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    with tempfile.TemporaryDirectory() as folder:
        if numbers[0] == "--guided":
            _guided(reader, seeds[0], Path(folder), numbers[1])
            return 0
        _quietly()
        found = []
        for number in range(int(numbers[0])):
            rng = np.random.default_rng([int(numbers[1]), number])
            data = mutated(seeds[number % len(seeds)], rng)
            Path(goods, f"last-{name}").write_bytes(data)  # for when the whole process dies of it
            if fault := feed(reader, data, Path(folder)):
                found.append(fault)
                _keep(name, data)
    sys.stdout.write(json.dumps(found))
    return 0


def _keep(name: str, data: bytes) -> None:
    CORPUS.mkdir(exist_ok=True)
    (CORPUS / f"{name}-{hashlib.sha256(data).hexdigest()[:12]}").write_bytes(data)


def _guided(reader: Reader, seed: bytes, folder: Path, seconds: str) -> None:
    import atheris

    feed(reader, seed, folder)  # which imports all that is needed
    for function in gc.get_objects():
        if isinstance(function, FunctionType) and str(function.__module__).startswith("blursynth."):
            atheris.instrument_func(function)  # the libraries' own would take minutes

    def test(data: bytes) -> None:
        if fault := feed(reader, data, folder):
            raise AssertionError(fault)

    start = folder / "start"
    start.mkdir()
    (start / "seed").write_bytes(seed)
    options = [f"-max_total_time={seconds}", f"-artifact_prefix={folder}/", f"-max_len={len(seed) + 4096}"]
    atheris.Setup([sys.argv[0], *options, "-rss_limit_mb=0", "-timeout=30", str(start)], test)
    atheris.Fuzz()


def fuzz(name: str, count: int, launcher: Launcher, goods: Goods, *, seed: int = 0, guided_seconds: int = 0) -> Trial:
    """Feed a reader with ``count`` changed files in a process of its own."""
    numbers = ["--guided", str(guided_seconds)] if guided_seconds else [str(count), str(seed)]
    done = subprocess.run(
        [sys.executable, "-m", "faults.fuzz", str(goods.folder), name, *numbers],
        env=launcher.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if guided_seconds:
        runs = [line for line in done.stderr.splitlines() if line.startswith("Done ")]
        tried = int(runs[-1].split()[1]) if runs else 1
        faults: tuple[str, ...] = () if done.returncode == 0 else (done.stderr[-400:],)
        return Trial("fuzz", f"{name}: files changed by atheris", "refused or read, nothing else", tried, faults)
    if done.returncode != 0:
        _keep(name, Path(goods.folder, f"last-{name}").read_bytes())
        faults = (f"the process ends with {done.returncode}: {done.stderr[-300:]}",)
    else:
        faults = tuple(json.loads(done.stdout))
    return Trial("fuzz", f"{name}: files changed at random", "refused or read, nothing else", count, faults)


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
