"""What is scored: pairs out of shards, of the community's layouts, or of two folders, each read when its turn comes."""

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from blursynth.errors import PhotoError, RefusedError, SettingsError
from blursynth.files import expand, printable
from blursynth.layouts import open_pairs
from blursynth.photos import PHOTO_SUFFIXES, read_photo
from blursynth.photos.jpeg import is_whole_jpeg
from blursynth.shake.benchmark import BENCHMARK_NAME, INDEX_NAME, KohlerTrial, open_kohler

from .results import Failure
from .shards import read_shard_set

__all__ = [
    "DataSet",
    "FilePairSource",
    "PairSource",
    "TrialSource",
    "check_tracks",
    "hash_of_pair",
    "limited",
    "open_benchmark",
    "open_data_set",
    "open_folders",
]

Image = NDArray[np.uint8]
GOPRO_TRACKS = ("blur", "blur_gamma")  # means of codes, and of the linear light of gamma 2.2


class PairSource(Protocol):
    """A pair that has not been read yet."""

    @property
    def name(self) -> str:
        """Of the pair, unique in its data set, such as ``GOPR0384_11_00/000001``."""

    @property
    def sequence(self) -> str:
        """What the pair was cut from; pairs of one sequence show one scene."""

    def read(self) -> tuple[Image, Image]:
        """Return the blurry image, (H, W, 3) uint8, and the truth: (H, W, 3), or (T, H, W, 3) where there are several.

        Raises
        ------
        RefusedError
            If they cannot be read; one line that names the file.
        """


@dataclass(frozen=True, slots=True)
class DataSet:
    """Pairs under one name. ``total`` counts those before a limit; ``failures`` are images without their twin.

    ``track`` is which of several blurry versions, as GOPRO's ``blur`` and ``blur_gamma``, and part of ``name`` too;
    empty where there is one.
    """

    name: str
    layout: str
    split: str
    track: str
    pairs: tuple[PairSource, ...]
    total: int
    failures: tuple[Failure, ...] = ()


@dataclass(frozen=True, slots=True)
class FilePairSource:
    """Two image files."""

    name: str
    sequence: str
    blurry: Path
    sharp: Path

    def read(self) -> tuple[Image, Image]:
        """Read both files, upright."""
        blurry, sharp = (_read_codes(path) for path in (self.blurry, self.sharp))
        if blurry.shape != sharp.shape:
            sizes = " and ".join(f"{image.shape[1]}x{image.shape[0]}" for image in (blurry, sharp))
            raise PhotoError(f"{printable(self.blurry)}: {sizes} px, blurry and sharp; a pair has one size")
        return blurry, sharp


@dataclass(frozen=True, slots=True, eq=False)
class TrialSource:
    """A photograph of the camera-shake benchmark, shaken along a trajectory; its truth is every frame along that."""

    trial: KohlerTrial

    @property
    def name(self) -> str:
        """Such as ``picture_01/trajectory_07``."""
        return self.trial.name

    @property
    def sequence(self) -> str:
        """The picture."""
        return self.trial.name.partition("/")[0]

    def read(self) -> tuple[Image, Image]:
        """Read the blurry image and the frames, (T, H, W, 3)."""
        blurry, frames = self.trial.read_blurry(), list(self.trial.read_frames())
        if any(frame.shape != blurry.shape for frame in frames):
            raise PhotoError(f"{printable(self.trial.blurry)}: its sharp frames have other sizes; make the set again")
        return blurry, np.stack(frames)


def open_benchmark(path: Path) -> DataSet:
    """Open what ``blursynth shake --preset kohler`` made, to be scored by Köhler's protocol.

    Raises
    ------
    RefusedError
        If it is no such set, or damaged.
    """
    pairs = tuple(map(TrialSource, open_kohler(path).trials))
    return DataSet(BENCHMARK_NAME, "camera-shake", "", "", pairs, len(pairs))


def open_data_set(path: Path, *, layout: str = "auto", split: str | None = None, track: str | None = None) -> DataSet:
    """Find the pairs of a folder of shards, of one shard, or of a data set in one of the community's layouts.

    Parameters
    ----------
    layout, track
        See `blursynth.layouts.open_pairs`. Shards that were imported know their track and need not be told.
    split
        None is ``test`` where the data have splits, and everything where they have none.

    Raises
    ------
    SettingsError
        If the split or track is not there, or must be told.
    RefusedError
        If there are no pairs, or what is there is damaged.
    """
    if path.suffix.lower() == ".h5" or (path.is_dir() and any(path.glob("manifest*.jsonl"))):
        return _of_shards(path, split, track)
    if (path / INDEX_NAME).is_file():
        raise SettingsError(
            f"{printable(path)}: looks like the camera-shake benchmark; score it with --protocol kohler"
        )
    tree = open_pairs(path, layout=layout, split=split or "test", track=track)
    pairs = tuple(FilePairSource(pair.name, pair.sequence, pair.blurry, pair.sharp) for pair in tree.pairs)
    if not pairs:
        raise RefusedError(f"{printable(path)}: no pairs of images in it")
    found = _told_track(tree.layout, tree.track or "", is_chosen=track is not None)
    name = _full_name(tree.name, tree.layout, found, tree.split)
    return DataSet(name, tree.layout, tree.split, found, pairs, len(pairs))


def _of_shards(path: Path, split: str | None, wanted_track: str | None) -> DataSet:
    found = read_shard_set(path, split)
    if wanted_track and wanted_track != found.track:
        told = f"its track is {printable(found.track)}" if found.track else "these shards have no track"
        raise SettingsError(f"{printable(path)}: {told}, not {printable(wanted_track)}; leave out --track")
    track = _told_track(found.layout, found.track, is_chosen=False)
    name = _full_name(path.resolve().name, found.layout, track, found.split)
    return DataSet(name, found.layout or "shards", found.split, track, found.pairs, len(found.pairs))


def _told_track(layout: str, track: str, *, is_chosen: bool) -> str:
    """Return the track if the word means something: one of two plain folders has to be called somehow."""
    return track if layout != "folders" or is_chosen or track == "blur_gamma" else ""


def _full_name(title: str, layout: str, track: str, split: str) -> str:
    title = "GOPRO" if layout == "gopro" else title
    return " ".join([title, *(word for word in (track, split) if word and word not in re.split(r"[ -]", title))])


def open_folders(blurry: Path, sharp: Path, *, track: str | None = None) -> DataSet:
    """Pair the images of two folders by their names without endings; a blurry image without its twin is a failure.

    Raises
    ------
    SettingsError
        If a folder holds no images.
    RefusedError
        If there is no pair, or two images share a name.
    """
    blurred, twins = _by_stem(blurry), _by_stem(sharp)
    pairs = tuple(FilePairSource(stem, "", path, twins[stem]) for stem, path in blurred.items() if stem in twins)
    failures = tuple(
        Failure(stem, f"{printable(path)}: no sharp image of this name in {printable(sharp)}")
        for stem, path in blurred.items()
        if stem not in twins
    )
    if not pairs:
        raise RefusedError(failures[0].error + ", nor of any other")
    folder = blurry.resolve()
    track = track or (folder.name if folder.name == "blur_gamma" else "")
    name = f"{folder.parent.name}/{folder.name}"
    if track and track != folder.name:
        name += f" {track}"
    return DataSet(name, "folders", "", track, pairs, len(pairs) + len(failures), failures)


def limited(data: DataSet, limit: int | None) -> DataSet:
    """Return a data set of at most ``limit`` of the pairs, spread evenly over all of them."""
    if limit is None or limit >= len(data.pairs):
        return data
    if limit < 1:
        raise SettingsError(f"limit {limit}: 1 or more")
    chosen = tuple(data.pairs[math.floor(i * len(data.pairs) / limit)] for i in range(limit))
    return replace(data, pairs=chosen)


def check_tracks(data: Sequence[DataSet]) -> None:
    """Refuse data sets that would make a table of two tracks of GOPRO, or two of one name.

    Raises
    ------
    SettingsError
        Naming both.
    """
    with_track = [each for each in data if each.track in GOPRO_TRACKS and each.layout in {"gopro", "folders"}]
    for each in with_track[1:]:
        if each.track != with_track[0].track:
            raise SettingsError(
                f"{printable(with_track[0].name)!r} and {printable(each.name)!r} are two tracks of GOPRO, whose "
                "numbers cannot be compared: evaluate them apart"
            )
    names = [each.name for each in data]
    for name in names:
        if names.count(name) > 1:
            raise SettingsError(f"two data sets are called {printable(name)!r}: evaluate them apart")


def hash_of_pair(blurry: NDArray[Any], truth: NDArray[Any]) -> str:
    """Return the SHA-256 of the sizes and codes of a pair, the same for any file format."""
    digest = hashlib.sha256()
    for image in (blurry, truth):
        digest.update(repr(image.shape).encode())
        digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def _read_codes(path: Path) -> Image:
    photo = read_photo(path)
    pixels = photo.pixels
    if pixels.dtype != np.uint8:
        raise PhotoError(f"{printable(path)}: 16 bits a sample; scores are of 8-bit codes, save it as those")
    if photo.format == "JPEG" and not is_whole_jpeg(path.read_bytes()):
        raise PhotoError(f"{printable(path)}: damaged: its scan breaks off or makes no sense; fetch it again")
    return pixels.astype(np.uint8, copy=False)


def _by_stem(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in expand([str(folder)], PHOTO_SUFFIXES):
        if path.stem in found:
            raise RefusedError(f"{printable(path)}: {printable(found[path.stem].name)} has the same name; remove one")
        found[path.stem] = path
    return found
