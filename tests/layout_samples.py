"""Trees of tiny pictures in the layouts of the community's data sets, for the tests."""

import io
import tarfile
from pathlib import Path

import cv2
import lmdb
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


def noise(seed: int, height: int = 12, width: int = 16) -> Image:
    """(H, W, 3) uint8 R'G'B' noise: a wrong pixel, order of channels or rounding shows."""
    return np.random.Generator(np.random.Philox(key=seed)).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(image: Image, ending: str = ".png") -> bytes:
    """The bytes of a picture file."""
    return bytes(cv2.imencode(ending, image[..., ::-1])[1].tobytes())


def put(path: Path, image: Image) -> Path:
    """Write a picture file, and the folders that it stands in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(image, path.suffix))
    return path


def pixels(path: Path) -> Image:
    """Read a picture file."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert image is not None, path
    return image[..., ::-1].astype(np.uint8)


def gopro_tree(root: Path, *, tracks: tuple[str, ...] = ("blur", "blur_gamma"), pairs: int = 2) -> Path:
    """Two sequences to train with and one to test on; stray text files as in the published tree."""
    sequences = {"train": ("GOPR0372_07_00", "GOPR0372_07_01"), "test": ("GOPR0384_11_00",)}
    seed = 0
    for side, names in sequences.items():
        for name in names:
            for number in range(1, pairs + 1):
                for kind in ("sharp", *tracks):
                    seed += 1
                    put(root / side / name / kind / f"{number:06}.png", noise(seed))
            (root / side / name / "frames 7 offset 0.txt").write_text("7")
            (root / side / name / "sharp" / "stray.txt").write_text("x")
    return root


def folder_tree(root: Path, names: list[str], blurry: str = "blur", sharp: str = "sharp") -> Path:
    """Two plain folders."""
    for number, name in enumerate(names):
        put(root / blurry / f"{name}.png", noise(2 * number))
        put(root / sharp / f"{name}.png", noise(2 * number + 1))
    return root


def lmdb_folder(path: Path, pictures: dict[str, bytes], size: str = "(12,16,3)") -> Path:
    """An LMDB folder as BasicSR writes it."""
    path.mkdir(parents=True)
    with lmdb.open(str(path), map_size=1 << 24) as environment, environment.begin(write=True) as transaction:
        for key, data in pictures.items():
            transaction.put(key.encode("ascii"), data)
    (path / "meta_info.txt").write_text("".join(f"{key}.png {size} 1\n" for key in pictures))
    return path


def basicsr_read(folder: Path) -> dict[str, Image]:
    """Read an LMDB folder as BasicSR does: keys from the list up to the first dot, values through OpenCV."""
    keys = [line.split(".")[0] for line in (folder / "meta_info.txt").read_text().splitlines()]
    with lmdb.open(str(folder), readonly=True, lock=False, readahead=False, meminit=False) as environment:
        found = {}
        with environment.begin(write=False) as transaction:
            for key in keys:
                value = transaction.get(key.encode("ascii"))
                image = cv2.imdecode(np.frombuffer(value or b"", np.uint8), cv2.IMREAD_COLOR)
                assert image is not None
                found[key] = image[..., ::-1].astype(np.uint8)
            assert transaction.stat()["entries"] == len(keys)
    return found


def tar(path: Path, members: dict[str, bytes]) -> Path:
    """A plain tar."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as file:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
    return path


def bytes_in(root: Path) -> dict[str, bytes]:
    """All files under a folder, locks left out."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.name.startswith(".blursynth")
    }
