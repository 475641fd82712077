"""Random 256x256 pair crops from shards by two workers, against a folder of PNG files by two workers."""

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
    stream = batches(pairs, patch=PATCH, batch=BATCH, seed=0, stop=count // BATCH, workers=WORKERS)
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


def run(folder: Path) -> None:
    clip = real_or_rendered_clip(folder)
    for codec in ("raw", "zstd"):
        make_dataset([clip], folder / codec, MakeConfig(codec=codec))
    write_png(folder / "raw", folder / "png")
    raw, zstd = read_pairs(folder / "raw"), read_pairs(folder / "zstd")
    found = rates(
        {
            "shards (raw)": lambda: from_shards(raw, 16_000),
            "shards (zstd)": lambda: from_shards(zstd, 1_600),
            "folder of PNG files": lambda: from_png(folder / "png", 160),
        }
    )
    title = (
        f"random {PATCH}x{PATCH} crops of pairs by {WORKERS} workers, batches of {BATCH}, into the trainer's process"
    )
    show(title, found, "pairs", against={"folder of PNG files": 150.0})
    show(
        "the same, compressed",
        {name: found[name] for name in list(found)[1:]},
        "pairs",
        against={"folder of PNG files": 12.0},
    )
