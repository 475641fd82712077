"""Write pairs of shards as files: pictures one by one, LMDB folders, tars, videos. Each file is whole or not there."""

import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray

from blursynth.encoding import write_h264
from blursynth.errors import OutputError
from blursynth.files import make_directory, printable, replacing, write_bytes, write_together
from blursynth.layouts.basicsr import DATA_NAME, META_NAME, lmdb_library
from blursynth.layouts.images import PNG_LEVEL, encode_png
from blursynth.layouts.naming import NamedPair, key_of
from blursynth.shards import Shard

__all__ = ["Crop", "Kind", "LmdbTask", "PictureTask", "TarTask", "Task", "VideoTask", "is_written", "write"]

Kind = Literal["blurry", "sharp"]

_PNG_BEGIN, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
_COMMIT_EVERY = 64  # pictures
_VIDEO_RATE = Fraction(10)  # pairs a second: slow enough to look at


@dataclass(frozen=True, slots=True)
class Crop:
    """Overlapping squares, as BasicSR's scripts cut them: ``size`` and ``step`` in px."""

    size: int
    step: int

    def corners(self, height: int, width: int) -> list[tuple[int, int]]:
        """Return (y, x) of every square, by rows; the last of a row or column ends with the image."""
        return [(y, x) for y in self._starts(height) for x in self._starts(width)]

    def _starts(self, length: int) -> list[int]:
        starts = list(range(0, length - self.size + 1, self.step))
        return [*starts, length - self.size] if starts[-1] + self.size < length else starts


@dataclass(frozen=True, slots=True)
class _Files:
    """What all tasks have: where shards are, where files go, and the pairs."""

    shards: Path
    output: Path
    pairs: tuple[NamedPair, ...]


@dataclass(frozen=True, slots=True)
class PictureTask(_Files):
    """PNG files: for each pair, the paths of both in ``output``."""

    names: tuple[tuple[str, str], ...]

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of all files."""
        return tuple(name for names in self.names for name in names)


@dataclass(frozen=True, slots=True)
class LmdbTask(_Files):
    """An LMDB folder of one side's blurry or sharp pictures."""

    name: str
    kind: Kind
    crop: Crop | None
    num_threads: int

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of all files."""
        return f"{self.name}/{DATA_NAME}", f"{self.name}/{META_NAME}"


@dataclass(frozen=True, slots=True)
class _OneFileTask(_Files):
    name: str

    @property
    def files(self) -> tuple[str, ...]:
        """Path of the file."""
        return (self.name,)


@dataclass(frozen=True, slots=True)
class TarTask(_OneFileTask):
    """A tar of pairs."""


@dataclass(frozen=True, slots=True)
class VideoTask(_OneFileTask):
    """A video of the pairs of a sequence, blurry on the left."""


Task: TypeAlias = PictureTask | LmdbTask | TarTask | VideoTask


def is_written(task: Task) -> bool:
    """Return whether all files of a task are there; what has its final name is whole."""
    return all(_is_file(task.output / name) for name in task.files)


def _is_file(path: Path) -> bool:
    try:
        if path.is_symlink() or not path.is_file() or not path.stat().st_size:
            return False
        if path.suffix != ".png":
            return True
        with path.open("rb") as file:
            begin = file.read(len(_PNG_BEGIN))
            file.seek(-len(_PNG_END), io.SEEK_END)
            return begin == _PNG_BEGIN and file.read() == _PNG_END
    except OSError:
        return False


def write(task: Task) -> int:
    """Write the files of a task over what is there; return how many pairs they hold.

    Raises
    ------
    OutputError
        If the disk says no.
    ShardError
        If a shard is damaged.
    """
    for folder in sorted({(task.output / name).parent for name in task.files}):
        make_directory(folder)
    if isinstance(task, PictureTask):
        _write_pictures(task)
    elif isinstance(task, LmdbTask):
        _write_lmdb(task)
    elif isinstance(task, VideoTask):
        _write_video(task)
    else:
        _write_tar(task)
    return len(task.pairs)


def _read(directory: Path, pairs: Sequence[NamedPair]) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Yield the pixels of pairs; a shard stays open while its pairs follow each other."""
    shard: Shard | None = None
    try:
        for pair in pairs:
            if shard is None or shard.path.name != pair.shard:
                if shard:
                    shard.close()
                shard = Shard(directory / pair.shard)
            yield shard.pair(pair.index)
    finally:
        if shard:
            shard.close()


def _write_pictures(task: PictureTask) -> None:
    pairs = zip(task.names, _read(task.shards, task.pairs), strict=True)
    pictures = (picture for names, images in pairs for picture in zip(names, images, strict=True))
    write_together(((task.output / name, encode_png(image)) for name, image in pictures), overwrite=True)


def _write_tar(task: TarTask) -> None:
    with (
        replacing(task.output / task.name, overwrite=True) as temporary,
        tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for pair, (blurry, sharp) in zip(task.pairs, _read(task.shards, task.pairs), strict=True):
            told = {"sequence": pair.sequence, "frame": pair.frame, "split": pair.split, "shard": pair.shard}
            values = json.dumps({**told, "row": pair.index}, sort_keys=True).encode()
            key = key_of(pair.flat)
            members = {"blurry.png": encode_png(blurry), "json": values, "sharp.png": encode_png(sharp)}
            for ending, data in members.items():
                member = tarfile.TarInfo(f"{key}.{ending}")  # of no owner, no time: the same pairs, the same bytes
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def _write_video(task: VideoTask) -> None:
    height, width = task.pairs[0].size
    frames = (np.concatenate(images, axis=1) for images in _read(task.shards, task.pairs))
    path = task.output / task.name
    write_h264(path, frames, size=(height, 2 * width), frame_rate=_VIDEO_RATE, overwrite=True)


def _write_lmdb(task: LmdbTask) -> None:
    """Write pictures by key, then the list of them, in the one way that BasicSR reads."""
    library = lmdb_library()
    folder = task.output / task.name
    lines: list[str] = []
    try:
        with (
            replacing(folder / DATA_NAME, overwrite=True) as temporary,
            library.open(str(temporary), subdir=False, map_size=_map_size(task), lock=False, sync=False) as environment,
        ):
            _put_all(environment, task, lines)
    except library.Error as error:
        raise OutputError(f"{printable(folder)}: {printable(str(error))}; is the disk full?") from error
    write_bytes(folder / META_NAME, "".join(lines).encode("ascii"), overwrite=True)


def _put_all(environment: Any, task: LmdbTask, lines: list[str]) -> None:
    work = Parallel(n_jobs=task.num_threads, prefer="threads", return_as="generator")(
        delayed(_encoded)(task, pair) for pair in task.pairs
    )
    transaction = environment.begin(write=True)
    try:
        for found in work:
            for key, size, data in found:
                transaction.put(key.encode("ascii"), data)
                lines.append(f"{key}.png ({size[0]},{size[1]},3) {PNG_LEVEL}\n")
                if len(lines) % _COMMIT_EVERY == 0:  # by count, so that the same pairs give the same bytes
                    transaction.commit()
                    transaction = environment.begin(write=True)
    except BaseException:
        transaction.abort()
        raise
    transaction.commit()


def _encoded(task: LmdbTask, pair: NamedPair) -> list[tuple[str, tuple[int, int], bytes]]:
    """Return keys, sizes and PNG files of a picture, or of its crops."""
    image = np.empty((*pair.size, 3), np.uint8)
    with Shard(task.shards / pair.shard) as shard:
        shard.read_image(task.kind, pair.index, 0, 0, image)
    key = key_of(pair.flat)
    if task.crop is None:
        return [(key, pair.size, encode_png(image))]
    side = task.crop.size
    corners = task.crop.corners(*pair.size)
    return [
        (f"{key}_s{number:03}", (side, side), encode_png(image[y : y + side, x : x + side]))
        for number, (y, x) in enumerate(corners, 1)
    ]


def _map_size(task: LmdbTask) -> int:
    """Return more than the folder can need; LMDB reserves addresses, not the disk."""
    pixels = sum(
        pair.size[0] * pair.size[1] if task.crop is None else len(task.crop.corners(*pair.size)) * task.crop.size**2
        for pair in task.pairs
    )
    pictures = len(task.pairs) if task.crop is None else pixels // task.crop.size**2
    return 4 * pixels + pictures * 16384 + (1 << 24)
