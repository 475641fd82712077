"""Pairs on the device that trains: their light developed there, and their images held there when they fit.

Which crop a sample is follows from its number as ever (`data.draw_crop`). On the CPU its bytes are those that worker
processes give; on a GPU noise and JPEG of light that is developed there are the GPU's, held in memory or not.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from blursynth.errors import SettingsError, ShardError
from blursynth.files import printable
from blursynth.rendition import Draw, Rendition
from blursynth.shards import Shard

from .data import CropDraw, CropReader, PairSet, as_batch, draw_crop, in_one_line, light_of_shard, read_by_workers
from .memory import free_bytes, free_gpu_bytes
from .online.batch import Batch, Request
from .online.stored import Archive, StoredLight
from .settings import Cache

__all__ = ["Developer", "HeldPairs", "RawCrops", "chosen_cache", "developed_batches", "hold"]

_SHARE_OF_FREE = 0.6  # of a GPU's memory; the rest is for training
_CODES_BYTES, _LIGHT_BYTES = 6, 15  # of a pixel of a pair: two of three uint8; two of three uint16 and three uint8


class RawCrops(NamedTuple):
    """Crops as they lie in shards: ``codes``, (2, N, H, W, 3) uint8, of those that keep no light; ``light`` of others.

    Codes that light stands for hold anything, and so does the light of those that have none.
    """

    codes: Tensor
    light: StoredLight | None
    draws: Sequence[CropDraw]


class Developer:
    """Turns raw crops into batches on a device, each sample's light drawn from the key of its number.

    Parameters
    ----------
    pairs
        Where the crops come from.
    device
        Where the batches are wanted.
    is_exact
        Whether light becomes the very bytes that `Rendition` makes, as on the CPU; slow.
    """

    def __init__(self, pairs: PairSet, device: torch.device, *, is_exact: bool) -> None:
        self._pairs, self._device, self._is_exact = pairs, device, is_exact
        self._lights: Lights | None = None
        self._archives: dict[object, Archive] = {}

    @property
    def has_work(self) -> bool:
        """Whether any pair keeps light that is drawn anew."""
        self._lights = self._lights or _lights(self._pairs)
        return any(light is not None for light in self._lights.values())

    def develop(self, raw: RawCrops, first_sample: int) -> Batch:
        """Return the batch of raw crops; they may be written to.

        Raises
        ------
        ShardError
            If a pair is damaged.
        """
        codes = raw.codes.to(self._device, non_blocking=True)
        if raw.light is None:
            return as_batch(codes, first_sample)
        stored = StoredLight(*(images.to(self._device, non_blocking=True) for images in raw.light))
        for rendition, chosen, draws in self._alike(raw.draws):
            places = torch.tensor(chosen).to(self._device, non_blocking=True)
            part = StoredLight(*(images.index_select(0, places) for images in stored))
            for kind, images in enumerate(self._developed(rendition, part, draws)):
                codes[kind].index_copy_(0, places, images)
        return as_batch(codes, first_sample)

    def _alike(self, crops: Sequence[CropDraw]) -> Iterator[tuple[Rendition, list[int], list[Draw]]]:
        """Give what is to be developed, those of one rendition together: which crops, and what is drawn for each."""
        self._lights = self._lights or _lights(self._pairs)
        found: dict[object, tuple[Rendition, list[int], list[Draw]]] = {}
        for k, crop in enumerate(crops):
            light = self._lights[int(self._pairs.shard_of[crop.pair])]
            if light is not None:
                rendition, effective_frames = light
                _, chosen, draws = found.setdefault(_name(rendition), (rendition, [], []))
                chosen.append(k)
                draws.append(self._drawn(crop, rendition, effective_frames))
        yield from found.values()

    def _drawn(self, crop: CropDraw, rendition: Rendition, effective_frames: NDArray[np.float64]) -> Draw:
        row = int(self._pairs.row_of[crop.pair])
        try:
            return rendition.draw(crop.key, float(effective_frames[row]))
        except SettingsError as error:
            path = self._pairs.entries[self._pairs.shard_of[crop.pair]].path(self._pairs.directory)
            raise ShardError(f"{printable(path)}: pair {row} is damaged ({error}); make it again") from error

    def _developed(self, rendition: Rendition, stored: StoredLight, draws: list[Draw]) -> tuple[Tensor, Tensor]:
        if not self._is_exact:
            name = _name(rendition)
            if name not in self._archives:
                self._archives[name] = Archive.build(rendition, self._device)
            return self._archives[name].develop(stored, draws)
        blurry, saturation, sharp = (images.numpy() for images in stored)
        pictures = [
            (rendition.blurry(b.view(np.uint16), m, draw), rendition.sharp(s.view(np.uint16), draw))
            for b, m, s, draw in zip(blurry, saturation, sharp, draws, strict=True)
        ]
        one, other = (torch.from_numpy(np.stack(images)) for images in zip(*pictures, strict=True))
        return one, other


Lights = Mapping[int, tuple[Rendition, NDArray[np.float64]] | None]


def _lights(pairs: PairSet) -> Lights:
    """Return by shard what draws its light anew, None where there is nothing to draw."""
    found: dict[int, tuple[Rendition, NDArray[np.float64]] | None] = {}
    for number in np.unique(pairs.shard_of).tolist():
        with Shard(pairs.entries[number].path(pairs.directory)) as shard:
            found[number] = light_of_shard(shard)
    return found


def _name(rendition: Rendition) -> object:
    outputs = tuple(curve.name for curve in rendition.outputs)
    return rendition.curve.name, outputs, rendition.chain, rendition.level


@dataclass(frozen=True, slots=True, eq=False)
class HeldPairs:
    """Pairs in the memory of one device.

    Parameters
    ----------
    place_of
        (N,) int64: where each pair lies among those of its shard.
    codes
        By shard, (n, 2, H, W, 3) uint8: blurry and sharp, of shards whose light is not drawn anew.
    fine, saturation
        By shard, of the others: (n, 2, H, W, 3), uint16 bits in int16, and (n, H, W, 3) uint8.
    """

    pairs: PairSet
    device: torch.device
    place_of: NDArray[np.int64]
    codes: Mapping[int, Tensor]
    fine: Mapping[int, Tensor]
    saturation: Mapping[int, Tensor]

    def gather(self, draws: Sequence[CropDraw], patch: int) -> RawCrops:
        """Cut crops out, on the device."""
        shape = (len(draws), patch, patch, 3)
        codes = torch.empty(2, *shape, dtype=torch.uint8, device=self.device)
        fine = torch.empty(2 if self.fine else 0, *shape, dtype=torch.int16, device=self.device)
        saturation = torch.empty(shape if self.fine else 0, dtype=torch.uint8, device=self.device)
        for k, draw in enumerate(draws):
            shard, place = int(self.pairs.shard_of[draw.pair]), int(self.place_of[draw.pair])
            rows, columns = slice(draw.y, draw.y + patch), slice(draw.x, draw.x + patch)
            if shard in self.codes:
                codes[:, k].copy_(self.codes[shard][place, :, rows, columns])
            else:
                fine[:, k].copy_(self.fine[shard][place, :, rows, columns])
                saturation[k].copy_(self.saturation[shard][place, rows, columns])
        return RawCrops(codes, StoredLight(fine[0], saturation, fine[1]) if self.fine else None, draws)

    @property
    def num_bytes(self) -> int:
        """How much memory they take."""
        return sum(images.nbytes for held in (self.codes, self.fine, self.saturation) for images in held.values())

    def batches(self, developer: Developer, request: Request) -> Generator[Batch, None, None]:
        """Give the batches that `data.batches` gives."""
        patch, batch = request.patch, request.batch
        for step in request.steps:
            first = step * batch
            draws = [draw_crop(self.pairs, patch, request.seed, first + k) for k in range(batch)]
            yield developer.develop(self.gather(draws, patch), first)


def hold(pairs: PairSet, device: torch.device, *, is_fresh: bool) -> HeldPairs:
    """Read pairs into the memory of a device; with ``is_fresh`` the light of those that are developed anew.

    Raises
    ------
    ShardError
        If a shard is no longer what it was.
    """
    place_of = np.zeros(len(pairs), np.int64)
    codes, fine, saturation = dict[int, Tensor](), dict[int, Tensor](), dict[int, Tensor]()
    for number in np.unique(pairs.shard_of).tolist():
        chosen = np.flatnonzero(pairs.shard_of == number)
        rows, place_of[chosen] = np.unique(pairs.row_of[chosen], return_inverse=True)
        with Shard(pairs.entries[number].path(pairs.directory)) as shard:
            if is_fresh and light_of_shard(shard) is not None:
                images = _read(shard, ("blurry_linear", "sharp_linear"), rows, np.uint16)
                fine[number] = torch.from_numpy(images.view(np.int16)).to(device)
                saturation[number] = torch.from_numpy(_read(shard, ("saturation",), rows, np.uint8)[:, 0]).to(device)
            else:
                codes[number] = torch.from_numpy(_read(shard, ("blurry", "sharp"), rows, np.uint8)).to(device)
    return HeldPairs(pairs, device, place_of, codes, fine, saturation)


def _read(shard: Shard, names: Sequence[str], rows: NDArray[np.int64], dtype: type[np.generic]) -> NDArray[np.generic]:
    images = np.empty((len(rows), len(names), *shard.size, 3), dtype)
    for place, row in enumerate(rows.tolist()):
        for k, name in enumerate(names):
            shard.read_image(name, row, 0, 0, images[place, k])
    return images


class _RawStream(IterableDataset[RawCrops]):
    """The raw crops of some steps, dealt out to the workers in turn."""

    def __init__(self, pairs: PairSet, request: Request) -> None:
        super().__init__()
        self._pairs, self._request = pairs, request

    def __iter__(self) -> Iterator[RawCrops]:
        worker, asked = get_worker_info(), self._request
        steps = asked.steps if worker is None else asked.steps[worker.id :: worker.num_workers]
        with closing(CropReader(self._pairs)) as reader:
            for step in steps:
                samples = range(step * asked.batch, (step + 1) * asked.batch)
                yield self._read(reader, [draw_crop(self._pairs, asked.patch, asked.seed, k) for k in samples])

    def _read(self, reader: CropReader, draws: list[CropDraw]) -> RawCrops:
        size = (self._request.patch, self._request.patch)
        shape = (len(draws), *size, 3)
        codes, fine = np.zeros((2, *shape), np.uint8), np.zeros((2, *shape), np.uint16)
        saturation = np.zeros(shape, np.uint8)
        for k, draw in enumerate(draws):
            light = reader.read_light(draw.pair, draw.y, draw.x, size)
            if light is None:
                reader.read(draw.pair, draw.y, draw.x, codes[:, k])
            else:
                fine[0, k], fine[1, k] = light["blurry_linear"], light["sharp_linear"]
                saturation[k] = light["saturation"]
        blurry, sharp = torch.from_numpy(fine.view(np.int16))
        return RawCrops(torch.from_numpy(codes), StoredLight(blurry, torch.from_numpy(saturation), sharp), draws)


def developed_batches(pairs: PairSet, developer: Developer, request: Request) -> Generator[Batch, None, None]:
    """Give the batches of `data.batches` with workers that only read; the developer does the rest."""
    loader = read_by_workers(_RawStream(pairs, request), request.workers, is_pinned=request.is_pinned)
    read = zip(request.steps, loader, strict=True)
    return in_one_line(developer.develop(raw, step * request.batch) for step, raw in read)


def num_bytes(pairs: PairSet, *, is_fresh: bool) -> int:
    """Return how much memory `hold` takes."""
    lights = _lights(pairs) if is_fresh else {}
    total = 0
    for number, count in zip(*np.unique(pairs.shard_of, return_counts=True), strict=True):
        entry = pairs.entries[number]
        each = _LIGHT_BYTES if lights.get(int(number)) is not None else _CODES_BYTES
        total += int(count) * entry.height * entry.width * each
    return total


def chosen_cache(pairs: PairSet, choice: Cache, device: torch.device, *, is_fresh: bool) -> torch.device | None:
    """Return where to hold pairs, None for nowhere.

    ``auto`` holds them on a GPU if they take at most 60 % of its free memory; elsewhere the system's own cache of files
    does as well.

    Raises
    ------
    SettingsError
        If they shall be held where there is no room.
    """
    if choice == "off" or (choice == "auto" and device.type != "cuda"):
        return None
    place = torch.device("cpu") if choice == "host" else device
    needed, free = num_bytes(pairs, is_fresh=is_fresh), _free_bytes(place)
    if choice == "auto":
        return place if needed <= _SHARE_OF_FREE * free else None
    if needed > free:
        raise SettingsError(
            f"cache {choice}: the pairs take {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; choose --cache off"
        )
    return place


def _free_bytes(device: torch.device) -> float:
    if device.type == "cuda":
        return free_gpu_bytes(device)
    if device.type != "cpu":
        return float("inf")  # it does not tell
    return free_bytes()
