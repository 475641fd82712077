"""REDS (Nah et al., CVPRW 2019): ``train_sharp/000/00000000.png`` and ``train_blur``, ``train_blur_comp``, … beside it.

The archives unpack into ``train/train_sharp`` and the like; both are read. ``blur``, ``blur_comp`` (MPEG) and
``blur_jpeg`` are tracks of the same sharp frames. ``blur_bicubic`` is smaller than its sharp frames: no pairs.
"""

from pathlib import Path

from blursynth.layouts.pairs import StoredPair, as_stored, folders_in, pictures, twins
from blursynth.recordings import SPLITS

__all__ = ["pairs", "sides", "title", "tracks"]

_TRACKS = ("blur", "blur_comp", "blur_jpeg")


def title(root: Path, track: str) -> str:
    """Return what the data set is called."""
    del root
    return "REDS" if track == "blur" else f"REDS {track}"


def sides(root: Path) -> tuple[str, ...]:
    """Return the sides of the split that are there; none if this is no such tree."""
    return tuple(side for side in SPLITS if tracks(root, side))


def tracks(root: Path, side: str) -> tuple[str, ...]:
    """Return the tracks that are there."""
    if _folder(root, side, "sharp") is None:
        return ()
    return tuple(track for track in _TRACKS if _folder(root, side, track))


def _folder(root: Path, side: str, kind: str) -> Path | None:
    name = f"{side}_{kind}"
    places = (root / name, root / side / name, root / name / side / name)
    return next((place for place in reversed(places) if place.is_dir()), None)


def pairs(root: Path, side: str, track: str) -> list[StoredPair]:
    """Return the pairs of a track.

    Raises
    ------
    RefusedError
        If a picture has no twin.
    """
    blurry, sharp = _folder(root, side, track), _folder(root, side, "sharp")
    assert blurry is not None  # noqa: S101  # `tracks` was asked before
    assert sharp is not None  # noqa: S101
    names = sorted({folder.name for kind in (blurry, sharp) for folder in folders_in(kind)})
    return [
        pair
        for name in names
        for pair in as_stored(name, twins(pictures(blurry / name), pictures(sharp / name), sharp / name))
    ]
