import errno
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest
from numpy.typing import NDArray

from blursynth.errors import OutputError, ShardError
from blursynth.shards import PAIR_DTYPE, Codec, Shard, ShardWriter, pairs_per_shard

assert hdf5plugin  # registers the filters for plain h5py


def images(count: int, size: tuple[int, int] = (150, 200), seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, 2, *size, 3)).astype(np.uint8)


def write(
    path: Path, pairs: NDArray[np.uint8], *, codec: Codec = "raw", capacity: int | None = None, **attributes: Any
) -> Path:
    writer = ShardWriter(
        path, size=pairs.shape[2:4], capacity=capacity or len(pairs), attributes=attributes, codec=codec
    )
    for number, (blurry, sharp) in enumerate(pairs):
        writer.append(
            {"number": number, "num_frames": 7, "exposure_seconds": 7 / 240}, {"blurry": blurry, "sharp": sharp}
        )
    writer.commit()
    return path


@pytest.mark.parametrize("codec", ["raw", "zstd"])
@pytest.mark.parametrize("capacity", [3, 5])
@pytest.mark.parametrize("size", [(150, 200), (128, 256), (17, 300)])
def test_what_is_written_is_read(tmp_path: Path, codec: Codec, capacity: int, size: tuple[int, int]) -> None:
    pairs = images(3, size)
    path = write(tmp_path / "s.h5", pairs, codec=codec, capacity=capacity, config={"window": "7"}, crf="srgb")
    with Shard(path) as shard:
        assert (len(shard), shard.size, shard.codec) == (3, size, codec)
        assert shard.attributes["config"] == '{"window": "7"}'
        assert shard.rows()["number"].tolist() == [0, 1, 2]
        assert shard.rows().dtype == PAIR_DTYPE
        for index in range(3):
            assert np.array_equal(shard.pair(index), pairs[index])
        out = np.empty((2, 11, 130, 3), np.uint8)
        shard.read_crop(1, 5, 60, out)
        assert np.array_equal(out, pairs[1, :, 5:16, 60:190])
        for outside in [(3, 0, 0), (0, -1, 0), (0, 0, 200), (-1, 0, 0)]:
            with pytest.raises(IndexError):
                shard.read_crop(*outside, out)


@pytest.mark.parametrize("codec", ["raw", "zstd"])
def test_plain_h5py_reads_our_shards(tmp_path: Path, codec: Codec) -> None:
    pairs = images(2)
    with h5py.File(write(tmp_path / "s.h5", pairs, codec=codec, source="clip.mp4")) as file:
        assert np.array_equal(file["blurry"][:], pairs[:, 0])
        assert np.array_equal(file["sharp"][:], pairs[:, 1])
        assert file["pairs"]["num_frames"].tolist() == [7, 7]
        assert file.attrs["schema"] == 1
        assert file.attrs["source"] == b"clip.mp4"


@pytest.mark.parametrize("codec", ["raw", "zstd"])
@pytest.mark.parametrize("capacity", [2, 4])
def test_the_same_pairs_give_the_same_bytes(tmp_path: Path, codec: Codec, capacity: int) -> None:
    first = write(tmp_path / "a.h5", images(2), codec=codec, crf="srgb").read_bytes()
    second = write(tmp_path / "b.h5", images(2), codec=codec, crf="srgb", capacity=capacity).read_bytes()
    assert first == second


def test_a_shard_without_pairs_is_no_file(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path / "s.h5", size=(8, 8), capacity=4, attributes={})
    assert writer.commit() == 0
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_there_before_commit_and_after_discard(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path / "s.h5", size=(150, 200), capacity=2, attributes={})
    writer.append({}, dict(zip(("blurry", "sharp"), images(1)[0], strict=True)))
    assert not (tmp_path / "s.h5").exists()
    writer.discard()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("codec", ["raw", "zstd"])
@pytest.mark.parametrize("call", ["pwrite", "posix_fallocate", "fsync"])
def test_a_full_disk_is_an_ordinary_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec: Codec, call: str
) -> None:
    def fail(*_arguments: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OutputError, match=r"s\.h5: the disk is full"):
        write(tmp_path / "s.h5", images(2), codec=codec)
    monkeypatch.undo()
    assert not (tmp_path / "s.h5").exists()


def test_a_size_limit_does_not_crash_the_process(tmp_path: Path) -> None:
    """HDF5 would die of a segmentation fault if it met the limit itself."""
    script = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from blursynth.errors import OutputError; from blursynth.shards import ShardWriter\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
        "try: ShardWriter(Path(sys.argv[1]), size=(150, 200), capacity=9, attributes={})\n"
        "except OutputError as error: print(error)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "s.h5")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "size limit" in done.stdout
    assert list(tmp_path.iterdir()) == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def altered(tmp_path: Path, change: Any) -> Path:
    path = write(tmp_path / "s.h5", images(2))
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def outside_storage(file: h5py.File) -> None:
    del file["sharp"]
    file.create_dataset("sharp", (2, 150, 200, 3), np.uint8, external=[("/etc/passwd", 0, 2 * 150 * 200 * 3)])


def virtual_data(file: h5py.File) -> None:
    del file["sharp"]
    layout = h5py.VirtualLayout((2, 150, 200, 3), np.uint8)
    layout[:] = h5py.VirtualSource("other.h5", "x", (2, 150, 200, 3))
    file.create_virtual_dataset("sharp", layout)


def replaced(name: str, **arguments: Any) -> Any:
    def change(file: h5py.File) -> None:
        del file[name]
        file.create_dataset(name, **arguments)

    return change


def link(value: Any) -> Any:
    def change(file: h5py.File) -> None:
        del file["sharp"]
        file["sharp"] = value

    return change


CHANGES: dict[str, tuple[Any, str]] = {
    "outside storage": (outside_storage, "stored plainly"),
    "virtual data": (virtual_data, "stored plainly"),
    "external link": (link(h5py.ExternalLink("/etc/passwd", "/x")), "link"),
    "soft link": (link(h5py.SoftLink("/blurry")), "link"),
    "newer schema": (lambda file: file.attrs.__setitem__("schema", 2), "schema 2"),
    "missing schema": (lambda file: file.attrs.__delitem__("schema"), "no schema"),
    "text for schema": (lambda file: file.attrs.__setitem__("schema", "one"), "no schema"),
    "variable length text": (lambda file: file.attrs.__setitem__("extra", "variable length"), "not one of ours"),
    "missing set": (lambda file: file.__delitem__("pairs"), "expected blurry, pairs, sharp"),
    "another group": (lambda file: file.create_group("more"), "expected blurry, pairs, sharp"),
    "float images": (replaced("sharp", shape=(2, 150, 200, 3), dtype=np.float32), "float32; expected"),
    "unequal images": (replaced("sharp", shape=(2, 150, 201, 3), dtype=np.uint8), r"sharp is \(2, 150, 201, 3\)"),
    "never allocated": (
        replaced("sharp", shape=(2, 150, 200, 3), dtype=np.uint8),
        "outside the file",
    ),  # never allocated
    "foreign filter": (replaced("sharp", data=images(1)[0], compression="gzip"), "stored plainly"),
    "too many rows": (replaced("pairs", shape=(3,), dtype=PAIR_DTYPE), "table of pairs"),
    "other rows": (replaced("pairs", shape=(2,), dtype=np.int64), "table of pairs"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_not_our_schema_is_refused(tmp_path: Path, name: str) -> None:
    change, reason = CHANGES[name]
    path = altered(tmp_path, change)
    with pytest.raises(ShardError, match=reason) as caught:
        Shard(path)
    assert "s.h5" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_torn_files_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "s.h5", images(2))
    whole = path.read_bytes()
    for size in (0, 1, 100, 2000, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ShardError, match=r"s\.h5"):
            Shard(path)
    path.write_bytes(b"a text\n" * 100)
    with pytest.raises(ShardError, match="not a shard"):
        Shard(path)


@pytest.mark.parametrize("codec", ["raw", "zstd"])
def test_a_shard_that_is_cut_while_open_is_an_error_not_a_crash(tmp_path: Path, codec: Codec) -> None:
    path = write(tmp_path / "s.h5", images(3), codec=codec)
    with Shard(path) as shard:
        os.truncate(path, 3000)
        with pytest.raises(ShardError, match="cut short"):
            shard.pair(2)


def test_mutated_headers_neither_crash_nor_hang(tmp_path: Path) -> None:
    whole = bytearray(write(tmp_path / "good.h5", images(1, (16, 16))).read_bytes())
    rng = np.random.default_rng(0)
    path = tmp_path / "s.h5"
    refused = 0
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(rng.integers(1, 6)):
            data[rng.integers(0, 1500)] = rng.integers(0, 256)
        path.write_bytes(data)
        try:
            with Shard(path) as shard:
                for index in range(min(len(shard), 3)):
                    shard.pair(index)
        except ShardError:
            refused += 1
    assert refused > 20


def test_no_filter_plug_in_is_loaded(tmp_path: Path) -> None:
    """A shard that names an unknown filter must not make HDF5 load libraries from a path in the environment."""
    path = altered(tmp_path, replaced("sharp", shape=(2, 150, 200, 3), dtype=np.uint8, chunks=(1, 50, 50, 3),
                                      compression=32004, compression_opts=(0,)))  # fmt: skip
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "libevil.so").write_bytes(b"not a library: loading it would be reported")
    script = (
        "import sys; from pathlib import Path; from blursynth.shards import Shard; import h5py\n"
        "print(h5py.h5z.filter_avail(32004))\n"
        "try: Shard(Path(sys.argv[1]))\n"
        "except OSError as error: print(error)\n"
    )
    environment = os.environ | {"HDF5_PLUGIN_PATH": str(tmp_path / "plugins")}
    command = [sys.executable, "-c", script, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.startswith("False")
    assert "s.h5" in done.stdout


def test_shards_hold_about_128_megabytes() -> None:
    assert pairs_per_shard(720, 1280) == 23
    assert pairs_per_shard(10_000, 10_000) == 1
