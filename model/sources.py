"""What a run trains with: the pairs of shards, or photographs that are shaken as it goes."""

import hashlib
import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from blursynth.crf import response_curve
from blursynth.errors import ShardError
from blursynth.files import expand, printable
from blursynth.radiometry import LightChain
from blursynth.recordings import recording_of
from blursynth.rendition import Rendition, output_curves
from blursynth.shake import ShakeRule

from .compiled import compiled_or_plain, is_compiled
from .online import Batch, PhotoSet, SampleRule, load_pack, mean_of_views, photo_batches, read_set
from .online.batch import Request
from .online.packing import is_pack
from .online.photos import PHOTO_SUFFIXES, SHAKE_ROOM_PX
from .online.rendering import Renderer
from .settings import OnlineConfig, TrainConfig
from .validation import Example, telling

if TYPE_CHECKING:  # h5py is wanted by shards alone: photographs train on machines without it
    from .data import PairSet
    from .on_device import HeldPairs

__all__ = ["PhotoSource", "Request", "ShardSource", "Source", "Sources", "hold_in_memory", "open_sources"]

_CPU = torch.device("cpu")
_VALIDATION_SEED = 1 << 40  # apart from those that train


class Source(Protocol):
    """Anything that gives batches by the numbers of their samples alone."""

    @property
    def sha256(self) -> str:
        """A hash of all that it gives."""

    @property
    def largest_patch(self) -> int:
        """The largest side of crops, px."""

    @property
    def sources(self) -> tuple[str, ...]:
        """What it was filmed or photographed as, by name."""

    def __len__(self) -> int: ...

    def open(self, request: Request) -> Generator[Batch, None, None]:
        """Begin to read; closing the generator ends the processes that do."""


@dataclass(frozen=True, slots=True, eq=False)
class ShardSource:
    """The pairs of a folder.

    Parameters
    ----------
    device
        Where the batches are wanted; on a GPU, light that shards kept is developed there.
    held
        The same pairs in memory, if they are held there.
    """

    pairs: "PairSet"
    device: torch.device = _CPU
    held: "HeldPairs | None" = None

    @property
    def sha256(self) -> str:
        """Of the pairs."""
        return self.pairs.sha256

    @property
    def largest_patch(self) -> int:
        """The largest square that fits into every pair, px."""
        return self.pairs.smallest_side

    @property
    def sources(self) -> tuple[str, ...]:
        """The clips."""
        return self.pairs.sources

    def __len__(self) -> int:
        return len(self.pairs)

    def open(self, request: Request) -> Generator[Batch, None, None]:
        """Read random crops."""
        from .data import batches  # noqa: PLC0415
        from .on_device import Developer, developed_batches  # noqa: PLC0415

        is_gpu = self.device.type == "cuda"
        developer = Developer(self.pairs, self.device if is_gpu else _CPU, is_exact=not is_gpu)
        if self.held:
            return self.held.batches(developer, request)
        if request.is_fresh and is_gpu and developer.has_work:
            return developed_batches(self.pairs, developer, request)
        return batches(
            self.pairs,
            patch=request.patch,
            batch=request.batch,
            seed=request.seed,
            steps=request.steps,
            workers=request.workers,
            is_pinned=request.is_pinned,
            is_fresh=request.is_fresh,
        )


def hold_in_memory(source: Source, config: TrainConfig, device: torch.device, note: Callable[[str], None]) -> Source:
    """Return a source whose pairs are in memory, if they shall be (`settings.Cache`); else the source itself.

    Raises
    ------
    SettingsError
        If there is no room where they shall be.
    """
    if not isinstance(source, ShardSource):
        return source
    from .on_device import chosen_cache, hold  # noqa: PLC0415

    is_fresh = config.light == "fresh"
    place = chosen_cache(source.pairs, config.cache, device, is_fresh=is_fresh)
    if place is None:
        return source
    held = hold(source.pairs, place, is_fresh=is_fresh)
    note(f"{len(source)} pairs are held in the memory of {place}: {held.num_bytes / 1e9:.2f} GB")
    return replace(source, held=held)


@dataclass(frozen=True, slots=True, eq=False)
class PhotoSource:
    """Photographs, what is drawn for each sample, and whether torch.compile makes one kernel of the rendering."""

    photos: PhotoSet
    online: OnlineConfig
    compiles: bool = False

    @property
    def sha256(self) -> str:
        """Of the photographs and what is drawn."""
        return hashlib.sha256(f"{self.photos.sha256} {self.online}".encode()).hexdigest()

    @property
    def largest_patch(self) -> int:
        """What one photograph has room for, px; smaller ones are left out of larger crops."""
        return max(min(size) for size in self.photos.sizes) - SHAKE_ROOM_PX

    @property
    def sources(self) -> tuple[str, ...]:
        """The photographs."""
        return self.photos.names

    def __len__(self) -> int:
        return len(self.photos)

    def open(self, request: Request) -> Generator[Batch, None, None]:
        """Shake photographs on their device, in some steps as plain means of codes."""
        share = self.online.codes
        kinds = [is_plain for is_plain in (False, True) if (share if is_plain else 1 - share) > 0]
        open_now = {is_plain: self._shaken(request, is_plain=is_plain) for is_plain in kinds}
        return _in_turn(open_now, request.steps, share) if len(kinds) > 1 else open_now[kinds[0]]

    def _shaken(self, request: Request, *, is_plain: bool) -> Generator[Batch, None, None]:
        online = self.online
        rule = ShakeRule(online.blur_px, online.trajectory, online.exposure_seconds, online.readout, online.layers)
        photos = self.photos.for_patch(request.patch)
        if is_plain:
            photos = photos.seen_through(response_curve("linear"))
            rendition = Rendition(photos.curve, output_curves("same"), LightChain("off", "off", "off"))
        else:
            chain = LightChain(online.highlights, online.noise, online.jpeg)
            rendition = Rendition(photos.curve, output_curves(online.output_crf), chain)
        share = online.codes if is_plain else 1 - online.codes
        return photo_batches(
            photos,
            SampleRule(rule, online.still, request.patch, request.seed),
            rendition,
            batch=request.batch,
            steps=_StepsOfKind(request.steps, online.codes, is_plain=is_plain),
            workers=math.ceil(share * request.workers),
            renderer=self._renderer(),
        )

    def _renderer(self) -> Renderer | None:
        if self.photos.device.type == "cpu":
            return None  # the kernel of `shake` is faster
        return compiled_or_plain(mean_of_views) if self.compiles else mean_of_views


@dataclass(frozen=True, slots=True)
class _StepsOfKind:
    """The steps that are plain means of codes, or those that are not: as evenly spread as the share allows."""

    steps: range
    share: float
    _: KW_ONLY
    is_plain: bool

    def __iter__(self) -> Iterator[int]:
        return (step for step in self.steps if _is_plain(step, self.share) == self.is_plain)


def _is_plain(step: int, share: float) -> bool:
    return math.floor((step + 1) * share) > math.floor(step * share)


def _in_turn(
    kinds: Mapping[bool, Generator[Batch, None, None]], steps: range, share: float
) -> Generator[Batch, None, None]:
    with ExitStack() as stack:
        for batches in kinds.values():
            stack.enter_context(closing(batches))
        for step in steps:
            yield next(kinds[_is_plain(step, share)])


@dataclass(frozen=True, slots=True, eq=False)
class Sources:
    """What trains, what validates (by name), and the (blurry, sharp) crops to score."""

    training: Source
    validation: tuple[str, ...]
    examples: Sequence[Example]
    unit: str


def open_sources(path: Path, config: TrainConfig, device: torch.device) -> Sources:
    """Open a folder of shards, or a pack or folder of photographs, and set some of it aside to validate.

    Raises
    ------
    ShardError
        If it holds neither pairs nor photographs, or a shard is not what the manifest says.
    PhotoError
        If a photograph cannot be read.
    SettingsError
        If nothing would be left to train with.
    """
    if path.is_dir() and not any(path.glob("manifest*.jsonl")):
        found = [each for each in path.iterdir() if each.suffix.lower() in PHOTO_SUFFIXES]
        if not found:
            raise ShardError(f"{printable(path)}: no manifest.jsonl and no photographs here; name a folder of 'make'")
        return _photographs(
            read_set(expand([str(path)], PHOTO_SUFFIXES), response_curve(config.online.crf)), config, device
        )
    if path.is_file() and is_pack(path):
        return _photographs(load_pack(path, response_curve(config.online.crf)), config, device)
    from .data import centre_crops, read_pairs, split_pairs  # noqa: PLC0415

    training, validation = split_pairs(read_pairs(path), config.validation_fraction)
    examples = centre_crops(validation, patch=config.validation_patch, count=config.validation_pairs)
    return Sources(ShardSource(training, device), validation.sources, telling(examples), "pairs")


def _photographs(photos: PhotoSet, config: TrainConfig, device: torch.device) -> Sources:
    place = torch.device("cpu") if device.type == "mps" else device  # poses are float64
    train, aside = _split(photos.names, config.validation_fraction)
    training = PhotoSource(photos.select(train).to(place), config.online, is_compiled(config.compile, place))
    held_out = photos.select(aside) if aside else None
    examples = _examples(PhotoSource(held_out, config.online), config) if held_out else []
    return Sources(training, held_out.names if held_out else (), examples, "photographs")


def _split(names: Sequence[str], fraction: float) -> tuple[list[int], list[int]]:
    """Return which photographs train and which validate; those of one recording keep together, unless all are one."""
    recordings = [recording_of(name) for name in names]
    if len(set(recordings)) == 1:
        recordings = list(names)
    order = sorted(set(recordings), key=lambda each: hashlib.sha256(f"{each}/split".encode()).digest())
    count = min(len(order) - 1, max(1, round(fraction * len(order)))) if fraction else 0
    held_out = set(order[:count])
    train = [i for i, recording in enumerate(recordings) if recording not in held_out]
    return train, [i for i, recording in enumerate(recordings) if recording in held_out]


def _examples(source: PhotoSource, config: TrainConfig) -> Sequence[Example]:
    """Return fixed crops of photographs that do not train; moving ones, since a still one says nothing."""
    smallest_side = min(min(size) for size in source.photos.sizes)
    patch = min(config.validation_patch, smallest_side // 2)
    moving = PhotoSource(source.photos, source.online.moving())
    request = Request(patch, 1, _VALIDATION_SEED, range(config.validation_pairs))
    found = []
    for batch in moving.open(request):
        blurry, sharp = (np.ascontiguousarray(image[0].permute(1, 2, 0).numpy()) for image in batch[:2])
        found.append((blurry, sharp))
    return telling(found)
