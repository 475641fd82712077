"""Read shards as if a stranger had made them: what is not exactly our schema is refused."""

import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from blursynth.errors import ShardError
from blursynth.files import check_regular_file, printable
from blursynth.shards.schema import (
    IMAGES,
    LIGHT,
    PAIR_DTYPE,
    SCHEMA,
    ZSTD_FILTER,
    Codec,
    stored_images,
    tile_size,
    zstandard,
)

__all__ = ["Shard"]

_MAX_ATTRIBUTE_BYTES = 60_000
_MAX_PAIRS = 1_000_000


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where the pixels of a shard lie."""

    codec: Codec
    num_pairs: int
    height: int
    width: int
    offsets: dict[str, int]  # raw: where each dataset begins
    tiles: dict[str, dict[tuple[int, int, int], tuple[int, int]]]  # zstd: (pair, y, x) to (offset, bytes)
    rows_offset: int
    has_light: bool


class Shard:
    """An open shard, checked against the schema before any of it is believed.

    HDF5 parses the structure once; pixels are read with ``os.pread``. Not to be shared between processes or threads:
    each opens its own. Works as a context manager.

    Raises
    ------
    ShardError
        If the file is not a shard of schema 1, or refers to anything outside itself.
    """

    def __init__(self, path: Path) -> None:
        status = check_regular_file(path, ShardError)
        self.path = path
        try:
            with h5py.File(path, "r") as file:
                self.attributes = _attributes(file)
                self._layout = _checked_layout(file, status.st_size)
        except ShardError as error:
            raise ShardError(f"{printable(path)}: {error}") from error
        except (OSError, RuntimeError, ValueError, KeyError, TypeError, UnicodeError) as error:
            raise ShardError(f"{printable(path)}: not a shard, or damaged ({_first_line(error)})") from error
        self._descriptor = os.open(path, os.O_RDONLY)
        self._buffer = np.empty(0, np.uint8)
        self._zstandard: Any = zstandard() if self.codec == "zstd" else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def __len__(self) -> int:
        return self._layout.num_pairs

    @property
    def codec(self) -> Codec:
        """How the pixels are stored."""
        return self._layout.codec

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of its images."""
        return self._layout.height, self._layout.width

    @property
    def has_light(self) -> bool:
        """Whether the light of the blurry images is there too, to render them anew."""
        return self._layout.has_light

    def rows(self) -> NDArray[Any]:
        """Return the table of pairs: (N,) PAIR_DTYPE."""
        data = self._read(self._layout.rows_offset, len(self) * PAIR_DTYPE.itemsize)
        return np.frombuffer(data, PAIR_DTYPE)

    def pair(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return the blurry and the sharp image of a pair, (H, W, 3) uint8 each."""
        images = np.empty((2, *self.size, 3), np.uint8)
        self.read_crop(index, 0, 0, images)
        return images[0], images[1]

    def read_crop(self, index: int, y: int, x: int, out: NDArray[np.uint8]) -> None:
        """Read the same rectangle of the blurry and the sharp image.

        Parameters
        ----------
        index
            Of the pair in this shard.
        y, x
            The upper left corner.
        out
            (2, h, w, 3) uint8, written: blurry, then sharp.
        """
        for name, image in zip(IMAGES, out, strict=True):
            self.read_image(name, index, y, x, image)

    def light(self, index: int) -> dict[str, NDArray[Any]]:
        """Return the light of a pair by name, (H, W, 3) each: `read_light` of all of it."""
        return self.read_light(index, 0, 0, self.size)

    def read_light(self, index: int, y: int, x: int, size: tuple[int, int]) -> dict[str, NDArray[Any]]:
        """Read a rectangle of (height, width) ``size`` of the light of a pair.

        Returns
        -------
        ``blurry_linear`` and ``sharp_linear``, uint16 fine codes, and ``saturation``, uint8: (h, w, 3) each.
        """
        images = {name: np.empty((*size, 3), dtype) for name, dtype in LIGHT.items()}
        for name, image in images.items():
            self.read_image(name, index, y, x, image)
        return images

    def read_image(self, name: str, index: int, y: int, x: int, out: NDArray[Any]) -> None:
        """Read a rectangle of one image of a pair into ``out``, (h, w, 3) of the image's type.

        ``name`` is ``blurry``, ``sharp`` or, with `has_light`, one of those in the schema's ``LIGHT``.
        """
        height, width = out.shape[:2]
        if not (0 <= index < len(self) and 0 <= y <= self.size[0] - height and 0 <= x <= self.size[1] - width):
            raise IndexError(f"pair {index}, rectangle {width}x{height} at ({x}, {y}): outside {printable(self.path)}")
        if name in LIGHT and not self.has_light:
            raise ShardError(f"{printable(self.path)}: holds no light; make it with --store linear")
        (self._read_raw if self.codec == "raw" else self._read_tiles)(name, index, y, x, out)

    def _read_raw(self, name: str, index: int, y: int, x: int, out: NDArray[Any]) -> None:
        height, width = out.shape[:2]
        line_bytes = self.size[1] * 3 * out.itemsize
        # One read of all the lines is faster than one read a line, although most of it is thrown away.
        num_bytes = height * line_bytes
        if self._buffer.size < num_bytes:
            self._buffer = np.empty(num_bytes, np.uint8)
        lines = self._buffer[:num_bytes]
        offset = self._layout.offsets[name] + (index * self.size[0] + y) * line_bytes
        if os.preadv(self._descriptor, [lines.data], offset) != num_bytes:
            raise ShardError(f"{printable(self.path)}: cut short since it was opened; verify the folder")
        out[...] = lines.view(out.dtype).reshape(height, self.size[1], 3)[:, x : x + width]

    def _read_tiles(self, name: str, index: int, y: int, x: int, out: NDArray[Any]) -> None:
        height, width = out.shape[:2]
        rows, columns = tile_size(*self.size)
        for tile_y in range(y // rows * rows, y + height, rows):
            for tile_x in range(x // columns * columns, x + width, columns):
                offset, num_bytes = self._layout.tiles[name][index, tile_y, tile_x]
                try:
                    compressed = self._read(offset, num_bytes)
                    if self._zstandard.frame_content_size(compressed) != rows * columns * 3 * out.itemsize:
                        raise ValueError("a tile of another size")
                    data = self._zstandard.ZstdDecompressor().decompress(compressed)
                    tile = np.frombuffer(data, out.dtype).reshape(rows, columns, 3)
                except (ValueError, self._zstandard.ZstdError) as error:
                    raise ShardError(f"{printable(self.path)}: pair {index} is damaged; verify the folder") from error
                top, left = max(y, tile_y), max(x, tile_x)
                part = tile[top - tile_y : y + height - tile_y, left - tile_x : x + width - tile_x]
                out[top - y : top - y + part.shape[0], left - x : left - x + part.shape[1]] = part

    def _read(self, offset: int, num_bytes: int) -> bytes:
        data = os.pread(self._descriptor, num_bytes, offset)
        if len(data) != num_bytes:
            raise ShardError(f"{printable(self.path)}: cut short since it was opened; verify the folder")
        return data


def _first_line(error: BaseException) -> str:
    return printable(str(error).splitlines()[0][:120]) if str(error) else type(error).__name__


def _attributes(file: h5py.File) -> dict[str, Any]:
    schema = file.attrs.get("schema")
    if not isinstance(schema, np.integer):
        raise ShardError("not a shard of blursynth (no schema)")
    if int(schema) != SCHEMA:
        raise ShardError(f"schema {int(schema)}; this version reads schema {SCHEMA}: update blursynth or make it again")
    values: dict[str, Any] = {}
    for name in file.attrs:
        attribute = file.attrs.get_id(name)
        if attribute.get_storage_size() > _MAX_ATTRIBUTE_BYTES or attribute.dtype.kind not in "iufS":
            raise ShardError(f"attribute {printable(name)} is not one of ours")
        value = file.attrs[name]
        values[name] = value.decode() if isinstance(value, bytes) else value
    return values


def _checked_layout(file: h5py.File, file_bytes: int) -> _Layout:
    """Allow what we write and nothing else: no links, no outside storage, no filters of others, no surprise sizes."""
    names = sorted(name.decode() for name in file.id)
    has_light = set(LIGHT) <= set(names)
    images = stored_images(keeps_light=has_light)
    if names != sorted([*images, "pairs"]):
        raise ShardError(f"it holds {printable(', '.join(names)) or 'nothing'}; expected blurry, pairs, sharp")
    for name in names:
        if file.id.links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
            raise ShardError(f"{name} is a link out of the file; refused")
    datasets = {name: h5py.h5d.open(file.id, name.encode()) for name in names}
    shape = datasets["blurry"].shape
    if len(shape) != 4 or shape[3] != 3 or not 0 < shape[0] <= _MAX_PAIRS:
        raise ShardError(f"blurry is {shape}; expected (N, H, W, 3)")
    if datasets["pairs"].shape != shape[:1] or datasets["pairs"].dtype != PAIR_DTYPE:
        raise ShardError("the table of pairs does not fit the images")
    for name, dtype in images.items():
        if datasets[name].shape != shape or datasets[name].dtype != dtype:
            found = f"{datasets[name].shape} {datasets[name].dtype}"
            raise ShardError(f"{name} is {found}; expected {shape} {dtype}")
    rows_offset = _contiguous_offset(datasets["pairs"], file_bytes)
    is_tiled = all(datasets[name].get_create_plist().get_layout() == h5py.h5d.CHUNKED for name in images)
    return _Layout(
        codec="zstd" if is_tiled else "raw",
        num_pairs=shape[0],
        height=shape[1],
        width=shape[2],
        offsets={} if is_tiled else {name: _contiguous_offset(datasets[name], file_bytes) for name in images},
        tiles={name: _tiles(datasets[name], file_bytes) for name in images} if is_tiled else {},
        rows_offset=rows_offset,
        has_light=has_light,
    )


def _contiguous_offset(dataset: Any, file_bytes: int) -> int:
    plist = dataset.get_create_plist()
    if plist.get_layout() != h5py.h5d.CONTIGUOUS or plist.get_external_count() or plist.get_nfilters():
        raise ShardError("data that is not stored plainly in the file itself; refused")
    offset = dataset.get_offset()
    num_bytes = int(np.prod(dataset.shape, dtype=object)) * dataset.dtype.itemsize
    if offset is None or offset + num_bytes > file_bytes:
        raise ShardError("data that lies outside the file: it was cut short")
    return int(offset)


def _tiles(dataset: Any, file_bytes: int) -> dict[tuple[int, int, int], tuple[int, int]]:
    plist = dataset.get_create_plist()
    filters = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    count, height, width, _ = dataset.shape
    rows, columns = tile_size(height, width)
    if filters != [ZSTD_FILTER] or plist.get_chunk() != (1, rows, columns, 3):
        raise ShardError("chunks or filters that are not ours; refused")
    expected = count * -(-height // rows) * -(-width // columns)
    if dataset.get_num_chunks() != expected:
        raise ShardError(f"{dataset.get_num_chunks()} tiles where {expected} belong: it is incomplete")
    tiles: dict[tuple[int, int, int], tuple[int, int]] = {}

    def note(chunk: Any) -> None:
        if chunk.byte_offset is None or chunk.byte_offset + chunk.size > file_bytes or chunk.filter_mask:
            raise ShardError("a tile that lies outside the file: it was cut short")
        tiles[chunk.chunk_offset[:3]] = (int(chunk.byte_offset), int(chunk.size))

    dataset.chunk_iter(note)
    return tiles
