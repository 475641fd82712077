"""Random 256x256 pair crops from shards by two workers, against a folder of PNG files by two workers."""

from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from benchmarks.side_by_side import rates, real_or_rendered_clip, show
from blursynth.make import MakeConfig, make_dataset
from blursynth.model.data import PairSet, batches, read_pairs
from blursynth.shards import Manifest, Shard

PATCH, BATCH, WORKERS = 256, 16, 2
LEAST_PAIRS = 400  # a second, of raw shards


class PngPairs(Dataset[tuple[NDArray[np.uint8], NDArray[np.uint8]]]):
    """What trainers do: read both PNG files whole, cut a crop."""

    def __init__(self, folder: Path, count: int) -> None:
        self.names = sorted((folder / "blur").iterdir())
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        rng = np.random.default_rng(index)
        blur = self.names[rng.integers(len(self.names))]
        images = [np.asarray(cv2.imread(str(path))) for path in (blur, blur.parents[1] / "sharp" / blur.name)]
        height, width = images[0].shape[:2]
        y, x = rng.integers(height - PATCH), rng.integers(width - PATCH)
        crops = [np.ascontiguousarray(image[y : y + PATCH, x : x + PATCH, ::-1]) for image in images]
        return crops[0].astype(np.uint8), crops[1].astype(np.uint8)


def from_png(folder: Path, count: int) -> float:
    loader = DataLoader(PngPairs(folder, count), batch_size=BATCH, num_workers=WORKERS)
    return sum(len(blurry) for blurry, _ in loader)


def from_shards(pairs: PairSet, count: int) -> float:
    stream = batches(pairs, patch=PATCH, batch=BATCH, seed=0, steps=range(count // BATCH), workers=WORKERS)
    return sum(len(batch.blurry) for batch in stream)


def write_png(shards: Path, folder: Path) -> None:
    for kind in ("blur", "sharp"):
        (folder / kind).mkdir(parents=True)
    number = 0
    for entry in Manifest.read(shards):
        with Shard(entry.path(shards)) as shard:
            for index in range(len(shard)):
                for kind, image in zip(("blur", "sharp"), shard.pair(index), strict=True):
                    cv2.imwrite(str(folder / kind / f"{number:06}.png"), image[:, :, ::-1])
                number += 1


def read_shards(directory: Path, count: int, seed: int) -> None:
    """Read crops and nothing else."""
    rng = np.random.default_rng(seed)
    shards = [Shard(entry.path(directory)) for entry in Manifest.read(directory)]
    out = np.empty((2, PATCH, PATCH, 3), np.uint8)
    for _ in range(count):
        shard = shards[rng.integers(len(shards))]
        height, width = shard.size
        index, y, x = rng.integers(len(shard)), rng.integers(height - PATCH), rng.integers(width - PATCH)
        shard.read_crop(int(index), int(y), int(x), out)


def read_png(directory: Path, count: int, seed: int) -> None:
    """Read crops and nothing else."""
    pairs = PngPairs(directory, count)
    for index in range(count):
        pairs[seed * count + index]


def in_two_processes(read: Callable[[Path, int, int], None], directory: Path, count: int) -> float:
    processes = [get_context("fork").Process(target=read, args=(directory, count, seed)) for seed in range(WORKERS)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        if process.exitcode:
            raise RuntimeError(f"a reader ended with {process.exitcode}")
    return WORKERS * count


PNG = "folder of PNG files"


def run(folder: Path) -> None:
    clip = real_or_rendered_clip(folder)
    for codec in ("raw", "zstd"):
        make_dataset([clip], folder / codec, MakeConfig(codec=codec))
    write_png(folder / "raw", folder / "png")
    found = rates(
        {
            "shards (raw)": lambda: in_two_processes(read_shards, folder / "raw", 10_000),
            "shards (zstd)": lambda: in_two_processes(read_shards, folder / "zstd", 1_000),
            PNG: lambda: in_two_processes(read_png, folder / "png", 80),
        }
    )
    title = f"random {PATCH}x{PATCH} crops of pairs, read by {WORKERS} processes"
    show(title, found, "pairs", against={PNG: 150.0})
    show("the same, compressed", {name: found[name] for name in list(found)[1:]}, "pairs", against={PNG: 12.0})
    raw, zstd = read_pairs(folder / "raw"), read_pairs(folder / "zstd")
    found = rates(
        {
            "shards (raw)": lambda: from_shards(raw, 16_000),
            "shards (zstd)": lambda: from_shards(zstd, 3_200),
            PNG: lambda: from_png(folder / "png", 160),
        }
    )
    title = f"the same as batches of {BATCH}, handed to the trainer's process by {WORKERS} workers"
    show(title, found, "pairs", against={PNG: None})
    verdict = "met" if found["shards (raw)"] >= LEAST_PAIRS else "MISSED"
    print(f"  shards (raw): {found['shards (raw)']:.4g} pairs/s   (aim {LEAST_PAIRS}: {verdict})")
