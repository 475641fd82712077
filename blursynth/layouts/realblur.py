"""RealBlur (Rim et al., ECCV 2020): lists ``RealBlur_J_test_list.txt`` of a sharp and a blurry path in each line.

The paths begin in the folder of the list, ``RealBlur-J_ECC_IMCORR_centroid_itensity_ref/scene001/gt/gt_1.png`` and
``…/scene001/blur/blur_1.png``. J (JPEG) and R (raw) are tracks.
"""

import re
from pathlib import Path

from blursynth.errors import RefusedError
from blursynth.files import printable
from blursynth.layouts.pairs import Place, StoredPair, inside, read_list

__all__ = ["pairs", "sides", "title", "tracks"]

_LIST = re.compile(r"RealBlur_([JR])_(train|test)_list\.txt")
_LINE = re.compile(r"(\S.*?\.(?:png|jpe?g))\s+(\S.*?\.(?:png|jpe?g))(?:\s.*)?", re.IGNORECASE)


def title(root: Path, track: str) -> str:
    """Return what the data set is called."""
    del root
    return f"RealBlur-{track}"


def sides(root: Path) -> tuple[str, ...]:
    """Return the sides of the split that are there; none if this is no such tree."""
    found = {side for _, side in _lists(root)}
    return tuple(side for side in ("train", "test") if side in found)


def tracks(root: Path, side: str) -> tuple[str, ...]:
    """Return the tracks that are there."""
    return tuple(sorted(track for track, each in _lists(root) if each == side))


def _lists(root: Path) -> dict[tuple[str, str], Path]:
    """Return the lists by track and side; ``root`` may be one itself."""
    paths = [root] if root.is_file() else sorted(root.glob("RealBlur_*_list.txt"))
    return {(match[1], match[2]): path for path in paths if (match := _LIST.fullmatch(path.name))}


def pairs(root: Path, side: str, track: str) -> list[StoredPair]:
    """Return the pairs of a track.

    Raises
    ------
    RefusedError
        If a line is no pair of pictures in the tree, or a picture stands there twice.
    """
    path = _lists(root)[track, side]
    found: dict[str, StoredPair] = {}
    for whence, line in read_list(path):
        match = _LINE.fullmatch(line)
        if not match:
            raise RefusedError(f"{whence}: not the paths of two pictures, sharp and blurry")
        sharp, blurry = inside(path.parent, match[1], whence), inside(path.parent, match[2], whence)
        if blurry.parent.name == "gt" or sharp.parent.name == "blur":
            sharp, blurry = blurry, sharp
        scene, frame = blurry.parent.parent.name, blurry.stem.removeprefix("blur_")
        name = f"{scene}/{frame}"
        if name in found:
            raise RefusedError(f"{whence}: {printable(name)} stands there twice")
        found[name] = StoredPair(name, scene, frame, Place(blurry), Place(sharp))
    return list(found.values())
