"""Write a shard so that no fault leaves half of one."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from blursynth.files import Replacement, as_output_error, reserve, write_at
from blursynth.shards.schema import PAIR_DTYPE, SCHEMA, ZSTD_FILTER, Codec, stored_images, tile_size, zstandard

__all__ = ["ShardWriter"]

_ZSTD_LEVEL = 1
_STRUCTURE_BYTES = 1 << 18  # more than HDF5 needs besides the data


class ShardWriter:
    """Writes one shard under a temporary name; nothing is there under its own name until `commit`.

    Parameters
    ----------
    path
        Final name.
    size
        (height, width) of the pairs.
    capacity
        How many pairs will come at most; space for them is reserved now.
    attributes
        Plain values and float64 arrays that describe the shard; mappings become JSON.
    codec
        ``raw`` or ``zstd``.
    keeps_light
        Whether pairs come with the light that their blurry image was made from.

    Raises
    ------
    OutputError
        Here and in every method, if the disk says no.
    """

    def __init__(
        self,
        path: Path,
        *,
        size: tuple[int, int],
        capacity: int,
        attributes: Mapping[str, Any],
        codec: Codec = "raw",
        keeps_light: bool = False,
    ) -> None:
        self.path = path
        self._rows = np.zeros(capacity, PAIR_DTYPE)
        self._count = 0
        self._replacement = Replacement(path, overwrite=True)
        try:
            store = _RawStore if codec == "raw" else _ZstdStore
            with as_output_error(path):
                plan = _Plan(size, capacity, attributes, stored_images(keeps_light=keeps_light))
                self._store = store(self._replacement.temporary, plan)
        except BaseException:
            self._replacement.discard()
            raise

    def append(self, row: Mapping[str, int | float], images: Mapping[str, NDArray[Any]]) -> None:
        """Add a pair.

        Parameters
        ----------
        row
            Fields of PAIR_DTYPE; floats that it lacks are not numbers, integers 0.
        images
            (H, W, 3) each: ``blurry`` and ``sharp``, and ``blurry_linear`` and ``saturation`` where light is kept.
        """
        for field in PAIR_DTYPE.names or ():
            self._rows[self._count][field] = row.get(field, np.nan if PAIR_DTYPE[field].kind == "f" else 0)
        with as_output_error(self.path):
            self._store.put(self._count, images)
        self._count += 1

    def commit(self) -> int:
        """Give the shard its name and return how many pairs it holds; without any, no file is left."""
        if self._count == 0:
            self.discard()
            return 0
        try:
            with as_output_error(self.path):
                self._store.finish(self._rows[: self._count])
            self._replacement.commit()
        except BaseException:
            self.discard()
            raise
        return self._count

    def discard(self) -> None:
        """Remove what was written so far."""
        self._store.close()
        self._replacement.discard()


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """What a file will hold at most."""

    size: tuple[int, int]
    capacity: int
    attributes: Mapping[str, Any]
    images: Mapping[str, np.dtype[Any]]

    def image_bytes(self, name: str) -> int:
        return self.size[0] * self.size[1] * 3 * self.images[name].itemsize


def _set_attributes(file: h5py.File, attributes: Mapping[str, Any]) -> None:
    file.attrs["schema"] = np.int64(SCHEMA)
    for name, value in attributes.items():
        encoded: Any = value
        if isinstance(value, Mapping):
            encoded = np.bytes_(json.dumps(value, sort_keys=True).encode())
        elif isinstance(value, str):
            encoded = np.bytes_(value.encode())  # fixed length: variable strings would go to a heap
        file.attrs[name] = encoded


def _create(file: h5py.File, name: str, dtype: np.dtype[Any], shape: tuple[int, ...], *, is_tiled: bool = False) -> Any:
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_obj_track_times(False)  # the same pairs give the same bytes
    plist.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    if is_tiled:
        plist.set_chunk((1, *tile_size(*shape[1:3]), 3))
        # Optional, so that the file can be made without HDF5 having the filter: we compress the chunks ourselves.
        plist.set_filter(ZSTD_FILTER, h5py.h5z.FLAG_OPTIONAL, (_ZSTD_LEVEL,))
    else:
        plist.set_layout(h5py.h5d.CONTIGUOUS)
        plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    # Damaged clips give fewer pairs than planned; the bytes must not tell how many were.
    space = h5py.h5s.create_simple(shape, (h5py.h5s.UNLIMITED, *shape[1:]) if is_tiled else shape)
    return h5py.h5d.create(file.id, name.encode(), h5py.h5t.py_create(dtype, logical=True), space, plist)


class _RawStore:
    """A contiguous shard: HDF5 writes the structure, we write the pixels where it put them.

    HDF5 crashes the process on a full disk, so it never sees one: the space is tried before and reserved after it.
    """

    def __init__(self, path: Path, plan: _Plan) -> None:
        self._path, self._plan = path, plan
        self._offsets = {}
        pair_bytes = sum(map(plan.image_bytes, plan.images))
        self._try_space(plan.capacity * (pair_bytes + PAIR_DTYPE.itemsize) + _STRUCTURE_BYTES)
        with h5py.File(path, "w", libver=("v110", "v110")) as file:
            _set_attributes(file, plan.attributes)
            for name, dtype in plan.images.items():
                self._offsets[name] = _create(file, name, dtype, (plan.capacity, *plan.size, 3)).get_offset()
            self._offsets["pairs"] = _create(file, "pairs", PAIR_DTYPE, (plan.capacity,)).get_offset()
        self._descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        try:
            reserve(self._descriptor, os.fstat(self._descriptor).st_size)
        except BaseException:
            os.close(self._descriptor)
            raise

    def _try_space(self, num_bytes: int) -> None:
        """Fail now if the file cannot become so large."""
        descriptor = os.open(self._path, os.O_WRONLY | os.O_NOFOLLOW)
        try:
            reserve(descriptor, num_bytes)
        finally:
            os.close(descriptor)

    def put(self, index: int, images: Mapping[str, NDArray[Any]]) -> None:
        for name, dtype in self._plan.images.items():
            image = np.ascontiguousarray(images[name], dtype)
            write_at(self._descriptor, image.data.cast("B"), self._offsets[name] + index * self._plan.image_bytes(name))

    def finish(self, rows: NDArray[Any]) -> None:
        if rows.size < self._plan.capacity:
            self._shrink(rows.size)
        write_at(self._descriptor, rows.tobytes(), self._offsets["pairs"])
        self.close()

    def _shrink(self, count: int) -> None:
        """Lay the file out anew for fewer pairs than were planned; damaged clips come here."""
        old, offsets = os.dup(self._descriptor), dict(self._offsets)
        self._path.unlink()
        self.close()
        self._path.touch()
        try:
            self.__init__(self._path, replace(self._plan, capacity=count))  # type: ignore[misc]
            for name in self._plan.images:
                num_bytes = self._plan.image_bytes(name)
                for index in range(count):
                    image = os.pread(old, num_bytes, offsets[name] + index * num_bytes)
                    write_at(self._descriptor, image, self._offsets[name] + index * num_bytes)
        finally:
            os.close(old)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1


class _ZstdStore:
    """A compressed shard: built in memory, since its size is not known before, and written as one piece."""

    def __init__(self, path: Path, plan: _Plan) -> None:
        self._path, self._plan = path, plan
        self._compressor = zstandard().ZstdCompressor(level=_ZSTD_LEVEL)
        self._file = h5py.File(path, "w", driver="core", backing_store=False, libver=("v110", "v110"))
        _set_attributes(self._file, plan.attributes)
        self._datasets = {
            name: _create(self._file, name, dtype, (plan.capacity, *plan.size, 3), is_tiled=True)
            for name, dtype in plan.images.items()
        }

    def put(self, index: int, images: Mapping[str, NDArray[Any]]) -> None:
        height, width = self._plan.size
        rows, columns = tile_size(height, width)
        for name, dtype in self._plan.images.items():
            for y in range(0, height, rows):
                for x in range(0, width, columns):
                    tile = np.zeros((rows, columns, 3), dtype)
                    part = images[name][y : y + rows, x : x + columns]
                    tile[: part.shape[0], : part.shape[1]] = part
                    self._datasets[name].write_direct_chunk((index, y, x, 0), self._compressor.compress(tile.data))

    def finish(self, rows: NDArray[Any]) -> None:
        for dataset in self._datasets.values():
            dataset.set_extent((rows.size, *self._plan.size, 3))
        pairs = h5py.Dataset(_create(self._file, "pairs", PAIR_DTYPE, (rows.size,)))
        pairs[...] = rows
        self._file.flush()
        image = self._file.id.get_file_image()
        self.close()
        descriptor = os.open(self._path, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW)
        try:
            reserve(descriptor, len(image))
            write_at(descriptor, image, 0)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        self._file.close()
