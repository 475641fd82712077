"""From shards to batches: which pairs train and which validate, and random crops read by worker processes.

Sample number s of a run is the same whatever the number of workers, and whether the run was resumed: all its draws
come from a generator keyed by (seed, s).
"""

import hashlib
import os
import traceback
from collections import OrderedDict
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import starmap
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from blursynth.errors import SettingsError, ShardError
from blursynth.files import printable
from blursynth.rendition import Rendition, rendition_of_shard
from blursynth.shards import Entry, Manifest, Shard

from .online.batch import Batch
from .workers import start_worker

__all__ = ["Batch", "PairSet", "batches", "centre_crops", "read_pairs", "split_pairs"]

_CROP_GRID = 4  # crops begin on multiples of 4 px, so that a three-scale pyramid of them is a crop of the pyramid
_MAX_OPEN_SHARDS = 64
_CROP_STREAM = 0  # of the generator's key; augmentation draws from another


@dataclass(frozen=True, slots=True, eq=False)
class PairSet:
    """Pairs of a folder: shards and, for each pair, which shard and which row; both (N,) int64."""

    directory: Path
    entries: tuple[Entry, ...]
    shard_of: NDArray[np.int64]
    row_of: NDArray[np.int64]

    def __len__(self) -> int:
        return int(self.shard_of.size)

    @property
    def smallest_side(self) -> int:
        """The largest square that fits into every pair, in px."""
        used: list[int] = np.unique(self.shard_of).tolist()
        return min(min(self.entries[i].height, self.entries[i].width) for i in used)

    @property
    def sha256(self) -> str:
        """A hash of which pairs these are: of the bytes of their shards and the rows."""
        digest = hashlib.sha256()
        for shard, row in zip(self.shard_of.tolist(), self.row_of.tolist(), strict=True):
            digest.update(f"{self.entries[shard].sha256} {row}\n".encode())
        return digest.hexdigest()

    def select(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> "PairSet":
        """Return some of the pairs."""
        return PairSet(self.directory, self.entries, self.shard_of[chosen], self.row_of[chosen])

    @property
    def sources(self) -> tuple[str, ...]:
        """The clips they come from, by name."""
        return tuple(sorted({self.entries[i].source for i in np.unique(self.shard_of)}))


def read_pairs(directory: Path) -> PairSet:
    """List the pairs of a folder; every shard must be there with its size.

    Raises
    ------
    ShardError
        If a shard is missing or cut short, or the folder holds no pairs.
    """
    entries = tuple(Manifest.read(directory))
    if not entries:
        raise ShardError(f"{printable(directory)}: holds no pairs; run 'blursynth make' first")
    for entry in entries:
        entry.check_size(directory)
        with Shard(entry.path(directory)) as shard:
            if (len(shard), shard.size) != (entry.pairs, (entry.height, entry.width)):
                raise ShardError(f"{printable(shard.path)}: holds other pairs than the manifest says; make it again")
    counts = [entry.pairs for entry in entries]
    rows = np.concatenate([np.arange(count) for count in counts])
    return PairSet(directory, entries, np.repeat(np.arange(len(entries)), counts), rows)


def split_pairs(pairs: PairSet, fraction: float = 0.1) -> tuple[PairSet, PairSet]:
    """Set pairs aside for validation: whole recordings, never frames of one that trains.

    Where `make --split` has said which side each recording is on, that holds. Else each recording's side is drawn by
    its name alone, so that it keeps its side when others join; only where the draw would leave a side empty, the
    nearest one stands in. With a single recording, its last pairs validate; such a score is optimistic, since the scene
    is known.

    Parameters
    ----------
    fraction
        How much to set aside, of the recordings (on average) or, with one, of its pairs; in [0, 1). At least one,
        unless it is 0.

    Returns
    -------
    The pairs that train and those that validate.

    Raises
    ------
    SettingsError
        If nothing would be left to train with.
    """
    if not 0 <= fraction < 1:
        raise SettingsError(f"validation fraction {fraction}: must be 0 or more and less than 1")
    if any(entry.split for entry in pairs.entries):
        return _published_split(pairs, fraction)
    clips = sorted({_recording(entry) for entry in pairs.entries}, key=_draw)
    if fraction == 0:
        return pairs, pairs.select(np.zeros(len(pairs), np.bool_))
    if len(clips) == 1:
        count = max(1, round(fraction * len(pairs)))
        if count >= len(pairs):
            raise SettingsError(f"{printable(pairs.directory)}: {len(pairs)} pair(s) are too few to train and validate")
        is_validation = np.arange(len(pairs)) >= len(pairs) - count
    else:
        count = sum(_draw(clip) < fraction for clip in clips)
        held_out = set(clips[: min(max(1, count), len(clips) - 1)])
        by_shard = np.array([_recording(entry) in held_out for entry in pairs.entries])
        is_validation = by_shard[pairs.shard_of]
    return pairs.select(~is_validation), pairs.select(is_validation)


def _published_split(pairs: PairSet, fraction: float) -> tuple[PairSet, PairSet]:
    """Keep to the sides that `make --split` wrote; what is to test neither trains nor validates."""
    sides = np.array([entry.split or "train" for entry in pairs.entries])[pairs.shard_of]
    training, validation = pairs.select(sides == "train"), pairs.select(sides == "val")
    if not len(training):
        raise SettingsError(f"{printable(pairs.directory)}: none of its pairs are to train with")
    return training, validation if fraction else pairs.select(np.zeros(len(pairs), np.bool_))


def _recording(entry: Entry) -> str:
    return entry.recording or entry.source_sha256


def _draw(recording: str) -> float:
    return int(hashlib.sha256(f"{recording}/split".encode()).hexdigest(), 16) / 16**64


class _Crops:
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
            self._lights[number] = _light_of(shard)
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

    def size(self, pair: int) -> tuple[int, int]:
        entry = self._pairs.entries[self._pairs.shard_of[pair]]
        return entry.height, entry.width

    def close(self) -> None:
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


def _light_of(shard: Shard) -> tuple[Rendition, NDArray[np.float64]] | None:
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
        with closing(_Crops(self._pairs)) as crops:
            for step in steps:
                yield self._read(crops, step * self._batch)

    def _read(self, crops: _Crops, first_sample: int) -> Batch:
        images = np.empty((2, self._batch, self._patch, self._patch, 3), np.uint8)  # 2: blurry, sharp
        for k in range(self._batch):
            rng = np.random.default_rng((self._seed, first_sample + k, _CROP_STREAM))
            pair = int(rng.integers(len(self._pairs)))
            height, width = crops.size(pair)
            y = _CROP_GRID * int(rng.integers((height - self._patch) // _CROP_GRID + 1))
            x = _CROP_GRID * int(rng.integers((width - self._patch) // _CROP_GRID + 1))
            if self._is_fresh:
                crops.read_anew(pair, y, x, images[:, k], int(rng.integers(1 << 63)))
            else:
                crops.read(pair, y, x, images[:, k])
        return _as_batch(images, first_sample)


def _as_batch(images: NDArray[np.uint8], first_sample: int) -> Batch:
    tensor = torch.from_numpy(images).permute(0, 1, 4, 2, 3)  # (2, N, 3, H, W), a view
    return Batch(tensor[0], tensor[1], first_sample)


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
    loader = DataLoader(
        stream,
        batch_size=None,
        num_workers=min(workers, len(os.sched_getaffinity(0))),  # PyTorch warns of more
        pin_memory=is_pinned,
        worker_init_fn=start_worker,
        prefetch_factor=4 if workers else None,
        generator=torch.Generator(),  # else it would draw from the global one
    )
    return _in_one_line(starmap(Batch, loader))


def _in_one_line(stream: Iterator[Batch]) -> Generator[Batch, None, None]:
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
    with closing(_Crops(pairs)) as crops:
        for pair in chosen.tolist():
            height, width = crops.size(pair)
            rows, columns = min(patch, height), min(patch, width)
            out = np.empty((2, rows, columns, 3), np.uint8)
            crops.read(pair, (height - rows) // 2, (width - columns) // 2, out)
            found.append((out[0], out[1]))
    return found
