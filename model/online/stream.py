"""Batches from photographs, in the order of their numbers.

Sample number s is the same whatever the number of workers, and whether the run was resumed: all its draws come from
the key of (seed, s). On the CPU its pixels are, too; on a GPU as far as its arithmetic is.
"""

import os
from bisect import bisect_right
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import accumulate, islice

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from blursynth.errors import SettingsError
from blursynth.rendition import Rendition
from blursynth.shake import ShakeRule
from blursynth.shake.rule import generator
from blursynth.windows import pair_key

from ..workers import start_worker
from .batch import Batch
from .light import Darkroom
from .photos import SHAKE_ROOM_PX, PhotoSet
from .rendering import Renderer, shake_crops
from .shots import Shot, draw_shot

__all__ = ["SampleRule", "photo_batches"]

_STREAM = 20  # of the generator: photograph, rest and JPEG phase; the shake draws from others
_JPEG_BLOCK = 16
_PREFETCH = 4


@dataclass(frozen=True, slots=True)
class SampleRule:
    """What samples are drawn from.

    Parameters
    ----------
    rule
        The shake.
    still
        Share of samples whose camera rests, 0 to 1, so that a network learns to leave sharp pictures alone.
    patch
        Side of the crops, px.
    seed
        Of everything.

    Raises
    ------
    SettingsError
        If a number is out of range.
    """

    rule: ShakeRule
    still: float
    patch: int
    seed: int

    def __post_init__(self) -> None:
        if not 0 <= self.still <= 1:
            raise SettingsError(f"still {self.still}: must be from 0 to 1")
        if self.patch < 16:
            raise SettingsError(f"patch {self.patch}: must be 16 px or more")
        if self.seed < 0:
            raise SettingsError(f"seed {self.seed}: must be 0 or more")


@dataclass(frozen=True, slots=True)
class _Shots:
    """Draws shots; knows the photographs' sizes alone, so that processes need no pixels."""

    rule: SampleRule
    sizes: tuple[tuple[int, int], ...]
    chances: tuple[float, ...]  # cumulated

    def draw(self, sample: int) -> Shot:
        key = pair_key(self.rule.seed, "online", sample)
        rng = generator(key, _STREAM)
        photo = min(bisect_right(self.chances, rng.random() * self.chances[-1]), len(self.sizes) - 1)
        is_still = bool(rng.random() < self.rule.still)
        phase = tuple(int(_JPEG_BLOCK * rng.random()) for _ in range(2))
        shot = draw_shot(self.rule.rule, key, self.sizes[photo], self.rule.patch, is_still=is_still)
        return replace(shot, photo=photo, key=key, jpeg_phase=(phase[0], phase[1]))


class _ShotStream(IterableDataset[list[Shot]]):
    """The shots of some steps, dealt out to the workers in turn."""

    def __init__(self, shots: _Shots, *, batch: int, steps: Iterable[int]) -> None:
        super().__init__()
        self._shots, self._batch, self._steps = shots, batch, steps

    def __iter__(self) -> Iterator[list[Shot]]:
        worker = get_worker_info()
        steps = self._steps if worker is None else islice(self._steps, worker.id, None, worker.num_workers)
        for step in steps:
            yield [self._shots.draw(sample) for sample in range(step * self._batch, (step + 1) * self._batch)]


def photo_batches(
    photos: PhotoSet,
    samples: SampleRule,
    rendition: Rendition,
    *,
    batch: int,
    steps: Iterable[int],
    workers: int = 2,
    renderer: Renderer | None = None,
) -> Generator[Batch, None, None]:
    """Shake photographs on their device; closing the generator ends the processes that draw.

    Parameters
    ----------
    photos
        On the device that is to render, and on which the batches will be.
    samples
        What samples are drawn from.
    rendition
        Response curves and light chain.
    batch
        Crops in a batch.
    steps
        Which steps to make, told anew each time it is asked: a resumed run starts where it stopped.
    workers
        Processes that draw shots, a few milliseconds of one core each; 0 draws in this one.
    renderer
        See `shake_crops`.

    Raises
    ------
    SettingsError
        If a photograph is too small for the crops (see `PhotoSet.for_patch`), or the light chain is none for
        photographs.
    """
    if batch < 1:
        raise SettingsError(f"batch {batch}: must be 1 or more")
    for name, size in zip(photos.names, photos.sizes, strict=True):
        if min(size) < samples.patch + SHAKE_ROOM_PX:
            raise SettingsError(f"{name}: {size[1]}x{size[0]} px are too few for crops of {samples.patch} px")
    if rendition.chain.noise == "match":
        raise SettingsError("noise 'match' compares frames of a clip; for photographs choose iso:A-B")
    darkroom = Darkroom.build(rendition, photos.device)
    stream = _ShotStream(_Shots(samples, photos.sizes, tuple(accumulate(photos.weights))), batch=batch, steps=steps)
    loader = DataLoader(
        stream,
        batch_size=None,
        num_workers=min(workers, len(os.sched_getaffinity(0))),  # PyTorch warns of more
        worker_init_fn=start_worker,
        prefetch_factor=_PREFETCH if workers else None,
        generator=torch.Generator(),  # else it would draw from the global one
    )
    return _developed(photos, darkroom, samples.patch, zip(steps, loader, strict=True), renderer)


def _developed(
    photos: PhotoSet,
    darkroom: Darkroom,
    patch: int,
    drawn: Iterator[tuple[int, list[Shot]]],
    renderer: Renderer | None,
) -> Generator[Batch, None, None]:
    for step, shots in drawn:
        with torch.no_grad():
            crops = shake_crops(photos, shots, patch, renderer=renderer)
            keys, phases = [shot.key for shot in shots], [shot.jpeg_phase for shot in shots]
            blurry, sharp = darkroom.develop(crops, keys, phases)
        yield Batch(blurry.permute(0, 3, 1, 2), sharp.permute(0, 3, 1, 2), step * len(shots))
