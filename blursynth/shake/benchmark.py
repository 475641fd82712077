"""The camera-shake benchmark of ``blursynth shake --preset kohler``: what is on the disk, and how to read it.

In the manner of Köhler et al. (ECCV 2012), whose pictures and recorded trajectories it does not contain: some
photographs, each shaken along the same twelve trajectories, and the sharp frames along each of them::

    SET/plan.json                                  settings and photographs; written first
    SET/picture_01/trajectory_01/blurry.png        8-bit RGB
    SET/picture_01/trajectory_01/frames/000.png    … 032.png: evenly spaced in time, the same size as blurry.png
    SET/picture_01/trajectory_01/trajectory.json   the trajectory, and the SHA-256 of these files; written when whole
    SET/index.json                                 all of the above; written last

To score a set::

    for trial in open_kohler(path).trials:
        psnr, ms_ssim = kohler_scores(restore(trial.read_blurry()), trial.read_frames())

and report the means over all trials, under ``BENCHMARK_NAME`` and no other name.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blursynth.errors import PhotoError, RefusedError
from blursynth.files import check_regular_file, printable, sha256_of
from blursynth.photos import read_photo

__all__ = [
    "BENCHMARK_NAME",
    "INDEX_NAME",
    "NUM_FRAMES",
    "NUM_TRAJECTORIES",
    "SCHEMA",
    "KohlerSet",
    "KohlerTrial",
    "open_kohler",
    "trial_files",
    "trial_name",
]

BENCHMARK_NAME = "camera-shake benchmark (blursynth)"
NUM_TRAJECTORIES = 12
NUM_FRAMES = 33
SCHEMA = 1
INDEX_NAME = "index.json"
_MAX_INDEX_BYTES = 64 << 20
_MAX_PICTURES = 999


def trial_name(picture: int, trajectory: int) -> str:
    """Return the folder, below that of the set, of a picture and a trajectory, both counted from 0."""
    return f"picture_{picture + 1:02d}/trajectory_{trajectory + 1:02d}"


def trial_files() -> tuple[str, ...]:
    """Return the images of a trial, below its folder: the blurry one, then the sharp frames in the order of time."""
    return ("blurry.png", *(f"frames/{number:03d}.png" for number in range(NUM_FRAMES)))


@dataclass(frozen=True, slots=True, eq=False)
class KohlerTrial:
    """One photograph, shaken along one trajectory.

    Parameters
    ----------
    name
        For example ``picture_01/trajectory_07``.
    blurry, frames
        Where the images are; frames in the order of time.
    path_px
        Length of the path of the picture's centre.
    """

    name: str
    blurry: Path
    frames: tuple[Path, ...]
    path_px: float
    _sha256: Mapping[Path, str]

    def read_blurry(self) -> NDArray[np.uint8]:
        """Return the image to restore, (H, W, 3) uint8, RGB display codes.

        Raises
        ------
        PhotoError
            If the file is missing, damaged or not the one that was written.
        """
        return self._read(self.blurry)

    def read_frames(self) -> Iterator[NDArray[np.uint8]]:
        """Yield the sharp frames in the order of time, each as `read_blurry` does."""
        for path in self.frames:
            yield self._read(path)

    def _read(self, path: Path) -> NDArray[np.uint8]:
        check_regular_file(path, PhotoError)
        if sha256_of(path) != self._sha256[path]:
            raise PhotoError(f"{printable(path)}: not the bytes that index.json names; make the set again")
        pixels = read_photo(path).pixels
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise PhotoError(f"{printable(path)}: {pixels.shape} {pixels.dtype} is not an 8-bit RGB image")
        return np.asarray(pixels, np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class KohlerSet:
    """A whole benchmark on the disk.

    Parameters
    ----------
    path
        Its folder.
    index_sha256
        Of ``index.json``, which names the SHA-256 of every image: two sets with the same one are the same.
    settings
        What it was made with.
    trials
        Picture by picture, trajectory by trajectory.
    """

    path: Path
    index_sha256: str
    settings: Mapping[str, Any]
    trials: tuple[KohlerTrial, ...]


def open_kohler(path: Path) -> KohlerSet:
    """Read the index of a set.

    Raises
    ------
    RefusedError
        If the folder holds no whole set, or its index is damaged or of another schema.
    """
    index_path = path / INDEX_NAME
    try:
        status = check_regular_file(index_path, RefusedError)
    except RefusedError as error:
        raise RefusedError(
            f"{printable(path)}: no whole camera-shake benchmark: {INDEX_NAME} is not there or not readable; "
            "run `blursynth shake --preset kohler` again"
        ) from error
    if status.st_size > _MAX_INDEX_BYTES:
        raise RefusedError(f"{printable(index_path)}: {status.st_size / 1e6:.0f} MB is no index")
    try:
        index = json.loads(index_path.read_bytes())
        if index["benchmark"] != BENCHMARK_NAME or index["schema"] != SCHEMA:
            found = f"{printable(str(index['benchmark'])[:60])}, schema {printable(str(index['schema'])[:9])}"
            raise RefusedError(
                f"{printable(index_path)}: {found}; this version reads schema {SCHEMA} of the {BENCHMARK_NAME}"
            )
        trials = tuple(_trials(path, index["pictures"]))
        settings = dict(index["settings"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise RefusedError(f"{printable(index_path)}: damaged, or not an index of the {BENCHMARK_NAME}") from error
    return KohlerSet(path, sha256_of(index_path), settings, trials)


def _trials(path: Path, pictures: list[dict[str, Any]]) -> Iterator[KohlerTrial]:
    """Yield the trials; the names of files follow from their numbers and are never read from the index."""
    if not 1 <= len(pictures) <= _MAX_PICTURES:
        raise ValueError(f"{len(pictures)} pictures")
    for number, picture in enumerate(pictures):
        trajectories = picture["trajectories"]
        if len(trajectories) != NUM_TRAJECTORIES:
            raise ValueError(f"{len(trajectories)} trajectories")
        for trajectory, values in enumerate(trajectories):
            name = trial_name(number, trajectory)
            blurry, *frames = (path / name / file for file in trial_files())
            sha256 = {path / name / file: str(values["sha256"][file]) for file in trial_files()}
            path_px = float(values["path_px"])
            if not math.isfinite(path_px):
                raise ValueError(f"path of {path_px} px")
            yield KohlerTrial(name, blurry, tuple(frames), path_px, sha256)
