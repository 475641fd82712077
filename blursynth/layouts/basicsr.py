"""BasicSR's LMDB folders: ``blur_crops.lmdb`` and ``sharp_crops.lmdb`` as NAFNet calls them, ``input.lmdb`` and so on.

A folder holds ``data.mdb``, whose values are encoded pictures, and ``meta_info.txt``, a line for each::

    GOPR0372_07_00-000047_s001.png (512,512,3) 1

name with ending, (height, width, channels), level of compression. The key is the name up to its first dot, and the
same in both folders.
"""

import re
from pathlib import Path
from types import ModuleType

from blursynth.errors import DeviceError, RefusedError
from blursynth.files import check_regular_file, printable
from blursynth.layouts.folders import BLURRY_NAMES, SHARP_NAMES
from blursynth.layouts.pairs import Place, StoredPair, folders_in, read_list, sequence_and_frame, sides_of

__all__ = ["DATA_NAME", "META_NAME", "lmdb_library", "pairs", "sides", "title", "tracks"]

DATA_NAME = "data.mdb"
META_NAME = "meta_info.txt"
_LINE = re.compile(r"([^.]+)\.(?:png|jpe?g) \(\d{1,6},\d{1,6},3\) \d+")


def lmdb_library() -> ModuleType:
    """Import LMDB, or say how to get it."""
    try:
        import lmdb  # noqa: PLC0415  # an extra
    except ImportError as error:
        raise DeviceError("BasicSR's LMDB folders need the lmdb library: pip install 'blursynth[basicsr]'") from error
    library: ModuleType = lmdb
    return library


def title(root: Path, track: str) -> str:
    """Return what the data set is called: as its folder."""
    del track
    return root.resolve().name


def sides(root: Path) -> tuple[str, ...]:
    """Return the sides of the split that are there; none if this is no such tree."""
    return tuple(side for side in sides_of(root) if tracks(root, side))


def tracks(root: Path, side: str) -> tuple[str, ...]:
    """Return the names of the blurry folders that have a sharp one."""
    return tuple(_folders(sides_of(root)[side]))


def _folders(root: Path) -> dict[str, tuple[Path, Path]]:
    """Return (blurry, sharp) folders by the blurry one's name; what else stands in their names is the same."""
    blurry: dict[tuple[str, ...], Path] = {}
    sharp: dict[tuple[str, ...], Path] = {}
    for folder in folders_in(root):
        if folder.suffix == ".lmdb" and (folder / META_NAME).is_file():
            words = folder.stem.split("_")
            for names, found in ((BLURRY_NAMES, blurry), (SHARP_NAMES, sharp)):
                if word := next((word for word in words if word.lower() in names), None):
                    found[tuple(each for each in words if each != word)] = folder
    return {blurry[rest].stem: (blurry[rest], sharp[rest]) for rest in blurry if rest in sharp}


def pairs(root: Path, side: str, track: str) -> list[StoredPair]:
    """Return the pairs of two folders.

    Raises
    ------
    RefusedError
        If a list is damaged, or a key is in one folder only.
    """
    blurry, sharp = _folders(sides_of(root)[side])[track]
    ours, theirs = _keys(blurry), _keys(sharp)
    for one, other, folder in ((ours, theirs, sharp), (theirs, ours, blurry)):
        if missing := sorted(one - other):
            raise RefusedError(f"{printable(folder / META_NAME)}: lacks {printable(missing[0])}, which its twin has")
    return [StoredPair(key, *sequence_and_frame(key), Place(blurry, key), Place(sharp, key)) for key in ours]


def _keys(folder: Path) -> frozenset[str]:
    check_regular_file(folder / DATA_NAME, RefusedError)
    keys = []
    for whence, line in read_list(folder / META_NAME):
        match = _LINE.fullmatch(line)
        if not match:
            raise RefusedError(
                f"{whence}: not a name, size of three channels and level; write it with BasicSR's scripts"
            )
        keys.append(match[1])
    if len(set(keys)) != len(keys):
        raise RefusedError(f"{printable(folder / META_NAME)}: a name stands there twice")
    return frozenset(keys)
