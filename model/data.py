"""From shards to batches: random crops read by worker processes.

Sample number s of a run is the same whatever the number of workers, and whether the run was resumed: all its draws
come from a generator keyed by (seed, s).
"""

import os
import traceback
from collections import OrderedDict
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import starmap
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from blursynth.errors import SettingsError, ShardError
from blursynth.files import printable
from blursynth.rendition import Rendition, rendition_of_shard
from blursynth.shards import Shard

from .online.batch import Batch
from .pairs import PairSet, read_pairs, split_pairs
from .workers import start_worker

__all__ = [
    "Batch",
    "CropDraw",
    "CropReader",
    "PairSet",
    "as_batch",
    "batches",
    "centre_crops",
    "draw_crop",
    "in_one_line",
    "light_of_shard",
    "read_by_workers",
    "read_pairs",
    "split_pairs",
]

_CROP_GRID = 4  # crops begin on multiples of 4 px, so that a three-scale pyramid of them is a crop of the pyramid
_MAX_OPEN_SHARDS = 64
_CROP_STREAM = 0  # of the generator's key; augmentation draws from another

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class CropDraw:
    """Which pair a sample is cut from, where, and the key from which its light is drawn."""

    pair: int
    y: int
    x: int
    key: int


def draw_crop(pairs: PairSet, patch: int, seed: int, sample: int) -> CropDraw:
    """Draw the crop of a sample; ``patch`` is its side in px."""
    rng = np.random.default_rng((seed, sample, _CROP_STREAM))
    pair = int(rng.integers(len(pairs)))
    height, width = pairs.size(pair)
    y = _CROP_GRID * int(rng.integers((height - patch) // _CROP_GRID + 1))
    x = _CROP_GRID * int(rng.integers((width - patch) // _CROP_GRID + 1))
    return CropDraw(pair, y, x, int(rng.integers(1 << 63)))


class CropReader:
    """Reads crops of a pair set; holds its shards open. One to a process."""

    def __init__(self, pairs: PairSet) -> None:
        self._pairs = pairs
        self._open: OrderedDict[int, Shard] = OrderedDict()
        self._lights: dict[int, tuple[Rendition, NDArray[np.float64]] | None] = {}

    def read(self, pair: int, y: int, x: int, out: NDArray[np.uint8]) -> None:
        """Read a crop as it was made: blurry and sharp, (2, h, w, 3) uint8."""
        shard = self._shard(int(self._pairs.shard_of[pair]))
        shard.read_crop(int(self._pairs.row_of[pair]), y, x, out)

    def read_anew(self, pair: int, y: int, x: int, out: NDArray[np.uint8], key: int) -> None:
        """Read a crop and, where its light was kept, draw anew what a sensor makes of it."""
        number, row = int(self._pairs.shard_of[pair]), int(self._pairs.row_of[pair])
        shard = self._shard(number)
        if number not in self._lights:
            self._lights[number] = light_of_shard(shard)
        light = self._lights[number]
        if light is None:
            shard.read_crop(row, y, x, out)
            return
        rendition, effective_frames = light
        try:
            draw = rendition.draw(key, float(effective_frames[row]))
        except SettingsError as error:  # of a damaged row
            raise ShardError(f"{printable(shard.path)}: pair {row} is damaged ({error}); make it again") from error
        stored = shard.read_light(row, y, x, (out.shape[1], out.shape[2]))
        out[0] = rendition.blurry(stored["blurry_linear"], stored["saturation"], draw)
        out[1] = rendition.sharp(stored["sharp_linear"], draw)

    def read_light(self, pair: int, y: int, x: int, size: tuple[int, int]) -> dict[str, NDArray[Any]] | None:
        """Read the light of a crop, by name, where it was kept and is drawn anew; see `Shard.read_light`."""
        number = int(self._pairs.shard_of[pair])
        shard = self._shard(number)
        if number not in self._lights:
            self._lights[number] = light_of_shard(shard)
        if self._lights[number] is None:
            return None
        return shard.read_light(int(self._pairs.row_of[pair]), y, x, size)

    def close(self) -> None:
        """Close the shards."""
        while self._open:
            self._open.popitem()[1].close()

    def _shard(self, number: int) -> Shard:
        if number in self._open:
            self._open.move_to_end(number)
        else:
            self._open[number] = Shard(self._pairs.entries[number].path(self._pairs.directory))
            if len(self._open) > _MAX_OPEN_SHARDS:
                self._open.popitem(last=False)[1].close()
        return self._open[number]


def light_of_shard(shard: Shard) -> tuple[Rendition, NDArray[np.float64]] | None:
    """Return what draws a shard's light anew, and the frames of each pair; None where there is nothing to draw."""
    if not shard.has_light:
        return None
    rendition = rendition_of_shard(shard.path, shard.attributes)
    return None if rendition.is_plain else (rendition, shard.rows()["effective_frames"])


class _CropStream(IterableDataset[Batch]):
    """The batches of some steps, dealt out to the workers in turn."""

    def __init__(self, pairs: PairSet, *, patch: int, batch: int, seed: int, steps: range, is_fresh: bool) -> None:
        super().__init__()
        self._pairs = pairs
        self._patch, self._batch, self._seed, self._is_fresh = patch, batch, seed, is_fresh
        self._steps = steps

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        steps = self._steps if worker is None else self._steps[worker.id :: worker.num_workers]
        with closing(CropReader(self._pairs)) as crops:
            for step in steps:
                yield self._read(crops, step * self._batch)

    def _read(self, crops: CropReader, first_sample: int) -> Batch:
        images = np.empty((2, self._batch, self._patch, self._patch, 3), np.uint8)  # 2: blurry, sharp
        for k in range(self._batch):
            draw = draw_crop(self._pairs, self._patch, self._seed, first_sample + k)
            place = draw.pair, draw.y, draw.x
            if self._is_fresh:
                crops.read_anew(*place, images[:, k], draw.key)
            else:
                crops.read(*place, images[:, k])
        return as_batch(torch.from_numpy(images), first_sample)


def as_batch(images: Tensor, first_sample: int) -> Batch:
    """Return crops, (2, N, H, W, 3) uint8, blurry and sharp, as a batch of views."""
    views = images.permute(0, 1, 4, 2, 3)
    return Batch(views[0], views[1], first_sample)


def batches(
    pairs: PairSet,
    *,
    patch: int,
    batch: int,
    seed: int,
    steps: range,
    workers: int = 2,
    is_pinned: bool = False,
    is_fresh: bool = True,
) -> Generator[Batch, None, None]:
    """Read random crops in the order of their numbers; closing the generator ends the processes that read.

    Parameters
    ----------
    patch
        Side of the crops in px.
    batch
        Crops in a batch.
    seed
        Together with the number of a sample it decides its pair and place.
    steps
        Which steps to read: a resumed run starts where it stopped.
    workers
        Processes that read; 0 reads in this one.
    is_pinned
        Whether batches should lie in memory that CUDA copies from fast.
    is_fresh
        Whether pairs whose light was kept get curve, highlights, noise and JPEG drawn anew for each sample.

    Raises
    ------
    SettingsError
        If the crops are larger than a pair.
    ShardError
        While reading, if a shard is no longer what it was.
    """
    if patch > pairs.smallest_side:
        raise SettingsError(f"patch {patch}: larger than pairs of {pairs.smallest_side} px; choose --patch smaller")
    stream = _CropStream(pairs, patch=patch, batch=batch, seed=seed, steps=steps, is_fresh=is_fresh)
    return in_one_line(starmap(Batch, read_by_workers(stream, workers, is_pinned=is_pinned)))


def read_by_workers(stream: IterableDataset[Item], workers: int, *, is_pinned: bool) -> DataLoader[Item]:
    """Return what a stream gives, which deals its steps out to the workers in turn."""
    return DataLoader(
        stream,
        batch_size=None,
        num_workers=min(workers, len(os.sched_getaffinity(0))),  # PyTorch warns of more
        pin_memory=is_pinned,
        worker_init_fn=start_worker,
        prefetch_factor=4 if workers else None,
        generator=torch.Generator(),  # else it would draw from the global one
    )


def in_one_line(stream: Iterator[Item]) -> Generator[Item, None, None]:
    """Pass batches on; what is wrong with a shard is said in one line, whichever process found it."""
    try:
        yield from stream
        return
    except ShardError as error:
        message = str(error).strip().rpartition("ShardError: ")[2]  # torch puts the worker's traceback before it
        traceback.clear_frames(error.__traceback__)
    del stream  # with it go the processes that read; tracebacks would keep it
    raise ShardError(message)


def centre_crops(pairs: PairSet, *, patch: int, count: int) -> Sequence[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Return fixed crops to validate on: the centres of up to ``count`` pairs, spread evenly over all.

    Returns
    -------
    (blurry, sharp), (H, W, 3) uint8 each, at most ``patch`` px a side.
    """
    chosen = np.unique(np.linspace(0, len(pairs) - 1, min(count, len(pairs))).round().astype(np.int64))
    found = []
    with closing(CropReader(pairs)) as crops:
        for pair in chosen.tolist():
            height, width = pairs.size(pair)
            rows, columns = min(patch, height), min(patch, width)
            out = np.empty((2, rows, columns, 3), np.uint8)
            crops.read(pair, (height - rows) // 2, (width - columns) // 2, out)
            found.append((out[0], out[1]))
    return found
