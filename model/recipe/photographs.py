"""What the recipe trains with: photographs in two sizes, and on machines without a GPU pairs of them."""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from blursynth.errors import SettingsError
from blursynth.files import as_output_error, expand, make_directory, printable, write_bytes
from blursynth.progress import SILENT, Progress

from ..online.packing import is_pack, load_pack
from ..online.photos import PHOTO_SUFFIXES, read_pixels
from .budget import ONLINE

__all__ = ["prepare_photographs", "shake_once", "wanted"]

_ENLARGED = (1.0, 1.5)
_PER_PHOTO = 3
_SIZE = (512, 512)  # many shakes of small parts teach more than few of whole photographs


def wanted(photos: Sequence[str], exclude: Sequence[str]) -> list[Path]:
    """Return the photographs among files, folders and globs whose names no pattern of ``exclude`` fits."""
    found = expand(photos, PHOTO_SUFFIXES)
    return [path for path in found if not any(fnmatch(path.name, pattern) for pattern in exclude)]


def prepare_photographs(
    sources: Sequence[str], folder: Path, *, exclude: Sequence[str] = (), progress: Progress = SILENT
) -> list[Path]:
    """Write photographs as they are and enlarged, as PNG; those that are there stay.

    Parameters
    ----------
    sources
        Files, folders, globs, or one pack (`blursynth.model.online.pack_photos`).
    folder
        Where to; made if it is not there.
    exclude
        Patterns of file names to leave out.

    Returns
    -------
    The files, sorted. Both sizes of a photograph count as one recording, so that both train or both validate.

    Raises
    ------
    SettingsError
        If nothing is left.
    PhotoError
        If a photograph cannot be read.
    """
    make_directory(folder)
    found = [
        (name, read) for name, read in _pictures(sources) if not any(fnmatch(name, pattern) for pattern in exclude)
    ]
    if not found:
        raise SettingsError("no photographs are left to train with; check the names and --exclude")
    written: list[Path] = []
    with progress.task("photographs", len(found), "photos") as advance:
        for name, read in found:
            paths = {folder / f"{Path(name).stem}.x{factor:g}.png": factor for factor in _ENLARGED}
            written += paths
            if missing := [path for path in paths if not path.exists()]:
                picture = Image.fromarray(read())
                for path in missing:
                    write_bytes(path, _png(picture, paths[path]))
            advance(1, name)
    return sorted(written)


def _pictures(sources: Sequence[str]) -> Iterator[tuple[str, Callable[[], NDArray[np.uint8]]]]:
    if len(sources) == 1 and is_pack(Path(sources[0])):
        photos = load_pack(Path(sources[0]))
        for number, name in enumerate(photos.names):
            yield name, lambda number=number: photos.picture(number)  # type: ignore[misc]
        return
    for path in expand(sources, PHOTO_SUFFIXES):
        yield path.name, lambda path=path: read_pixels(path.read_bytes(), printable(path))  # type: ignore[misc]


def _png(picture: Image.Image, factor: float) -> bytes:
    if factor != 1:
        picture = picture.resize(
            (round(factor * picture.width), round(factor * picture.height)), Image.Resampling.BICUBIC
        )
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=1)
    return file.getvalue()


def shake_once(photos: Sequence[Path], folder: Path, progress: Progress = SILENT) -> Path:
    """Shake photographs into shards, as `make_weights` does where no GPU is; goes on where it stopped.

    Half is right in light, with highlights, noise and JPEG; half is a mean of codes without any of these
    (`OnlineConfig`).

    Returns
    -------
    The folder that holds all of them.
    """
    from blursynth.engine import Engine  # noqa: PLC0415  # wants OpenCV, numba and HDF5, which machines with a GPU may lack
    from blursynth.make.stills import ShakeConfig, shake_dataset  # noqa: PLC0415

    codes = ShakeConfig(per_photo=_PER_PHOTO, still=ONLINE.still, blur_px=ONLINE.blur_px, size=_SIZE, crf="linear")
    light = replace(codes, seed=1, crf=ONLINE.crf, highlights=ONLINE.highlights, noise=ONLINE.noise, jpeg=ONLINE.jpeg)
    for name, config in (("light", light), ("codes", codes)):
        shake_dataset(photos, folder / name, config, engine=Engine(jobs=0), progress=progress)
    return _joined([folder / "light", folder / "codes"], folder / "all")


def _joined(folders: Sequence[Path], together: Path) -> Path:
    """Put the shards of several folders into one, by links; their settings differ, which `shake` would refuse."""
    from blursynth.shards import Manifest  # noqa: PLC0415  # HDF5

    make_directory(together)
    entries = []
    for folder in folders:
        for entry in Manifest.read(folder):
            entries.append(entry)
            path = together / entry.shard
            with as_output_error(path):
                path.unlink(missing_ok=True)
                path.hardlink_to(folder / entry.shard)
    Manifest(together, entries).write()
    return together
