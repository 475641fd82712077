"""GOPRO_Large (Nah et al., CVPR 2017): ``{train,test}/SEQUENCE/{blur,blur_gamma,sharp}/000001.png``.

``blur`` holds plain means of codes, ``blur_gamma`` means in the linear light of gamma 2.2: two data sets with the same
sharp images, called tracks here. Published trees have stray text files among the pictures, which are passed over.
"""

import re
from pathlib import Path

from blursynth.layouts.pairs import StoredPair, as_stored, folders_in, pictures, sides_of, twins

__all__ = ["holds_frames_only", "pairs", "sides", "title", "tracks"]

_TRACKS = ("blur", "blur_gamma")
_SEQUENCE = re.compile(r"GOPR\d{4}_\d\d_\d\d")


def title(root: Path, track: str) -> str:
    """Return what the data set is called."""
    del root, track
    return "GOPRO_Large"


def sides(root: Path) -> tuple[str, ...]:
    """Return the sides of the split that are there; none if this is no such tree."""
    return tuple(
        side for side, folder in sides_of(root).items() if any(_tracks_of(each) for each in folders_in(folder))
    )


def tracks(root: Path, side: str) -> tuple[str, ...]:
    """Return the tracks that are there."""
    found = {track for sequence in folders_in(sides_of(root)[side]) for track in _tracks_of(sequence)}
    return tuple(track for track in _TRACKS if track in found)


def _tracks_of(sequence: Path) -> tuple[str, ...]:
    if not (sequence / "sharp").is_dir():
        return ()
    return tuple(track for track in _TRACKS if (sequence / track).is_dir())


def pairs(root: Path, side: str, track: str) -> list[StoredPair]:
    """Return the pairs of a track.

    Raises
    ------
    RefusedError
        If a picture has no twin, or a sequence lacks the track.
    """
    found: list[StoredPair] = []
    for sequence in folders_in(sides_of(root)[side]):
        if _tracks_of(sequence):
            sharp = sequence / "sharp"
            found += as_stored(sequence.name, twins(pictures(sequence / track), pictures(sharp), sharp))
    return found


def holds_frames_only(root: Path) -> bool:
    """Return whether this is GOPRO_Large_all, which has sharp frames and no blurry images."""
    return any(
        _SEQUENCE.fullmatch(sequence.name) and not _tracks_of(sequence) and any(sequence.glob("[0-9]*.png"))
        for folder in sides_of(root).values()
        for sequence in folders_in(folder)
    )
