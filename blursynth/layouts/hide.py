"""HIDE (Shen et al., ICCV 2019): blurry in ``train`` and ``test/{test-close-ups,test-long-shot}``, all sharp in ``GT``.

Where there is a list (``train.txt``, ``test.txt``, or one called like a folder of ``test``), it says which pictures
count. Names such as ``12fromGOPR0950`` tell the recording.
"""

from pathlib import Path

from blursynth.errors import RefusedError
from blursynth.files import printable
from blursynth.layouts.pairs import (
    Place,
    StoredPair,
    folders_in,
    inside,
    pictures,
    read_list,
    sequence_and_frame,
    twins,
)

__all__ = ["pairs", "sides", "title", "tracks"]

_TEST_FOLDERS = ("test-close-ups", "test-long-shot")


def title(root: Path, track: str) -> str:
    """Return what the data set is called."""
    del root, track
    return "HIDE"


def sides(root: Path) -> tuple[str, ...]:
    """Return the sides of the split that are there; none if this is no such tree."""
    has_test = any((root / "test" / name).is_dir() for name in _TEST_FOLDERS)
    if not (root / "GT").is_dir() or not (has_test or (root / "train.txt").is_file()):
        return ()
    return tuple(side for side in ("train", "test") if (root / side).is_dir())


def tracks(root: Path, side: str) -> tuple[str, ...]:
    """Return that there is one track only."""
    del root, side
    return ("",)


def pairs(root: Path, side: str, track: str) -> list[StoredPair]:
    """Return the pairs.

    Raises
    ------
    RefusedError
        If a picture has no twin, or a list names what is not there or not in the tree.
    """
    del track
    folder, sharp = root / side, pictures(root / "GT")
    found: list[StoredPair] = []
    for group in [folder, *folders_in(folder)]:
        mark = "" if group == folder else f"{group.name}/"
        blurry = pictures(group)
        chosen = _listed(root, folder, group)
        if chosen is not None:
            blurry = {name: path for name, path in blurry.items() if path.name in chosen}
        for name, one, other in twins(blurry, sharp, root / "GT", is_shared=True):
            sequence, frame = sequence_and_frame(name)
            found.append(StoredPair(mark + name, sequence, frame, Place(one), Place(other)))
    return found


def _listed(root: Path, folder: Path, group: Path) -> frozenset[str] | None:
    """Return the files of a group that its list names; None where there is no list."""
    lists = (root / f"{group.name}.txt", folder / f"{group.name}.txt", root / f"{folder.name}.txt")
    path = next((path for path in lists if path.is_file()), None)
    if path is None:
        return None
    # Lists name a picture from the root, from its folder, or by its name alone.
    starts = (root, folder, *folders_in(folder))
    place, names = group.resolve(), set()
    for whence, line in read_list(path):
        text = line.split()[0]
        start = next((start for start in starts if (start / text).is_file()), None)
        if start is None:
            raise RefusedError(f"{whence}: {printable(text)!r} is not in {printable(folder)}; fetch the data set again")
        blurry = inside(start, text, whence)
        if blurry.parent.resolve() == place:
            names.add(blurry.name)
    return frozenset(names)
