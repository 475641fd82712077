"""Two plain folders of pictures with the same names: ``blur`` and ``sharp``, ``input`` and ``target`` or the like.

They may stand in ``train``, ``val`` and ``test``, and have folders inside them, which are taken for sequences.
"""

from collections.abc import Sequence
from pathlib import Path

from blursynth.errors import RefusedError
from blursynth.files import printable
from blursynth.layouts.pairs import Place, StoredPair, folders_in, pictures, sequence_and_frame, sides_of, twins

__all__ = ["BLURRY_NAMES", "SHARP_NAMES", "pairs", "sides", "title", "tracks"]

BLURRY_NAMES = ("blur", "blurry", "blurred", "blur_gamma", "input", "lq")
SHARP_NAMES = ("sharp", "target", "gt", "hq")
_MAX_DEPTH = 8


def title(root: Path, track: str) -> str:
    """Return what the data set is called: as its folder."""
    del track
    return root.resolve().name


def sides(root: Path) -> tuple[str, ...]:
    """Return the sides of the split that are there; none if this is no such tree."""
    return tuple(side for side in sides_of(root) if tracks(root, side) and _named(sides_of(root)[side], SHARP_NAMES))


def tracks(root: Path, side: str) -> tuple[str, ...]:
    """Return the folders of blurry pictures."""
    return tuple(folder.name for folder in _named(sides_of(root)[side], BLURRY_NAMES))


def _named(root: Path, names: Sequence[str]) -> list[Path]:
    return [folder for folder in folders_in(root) if folder.name.lower() in names]


def pairs(root: Path, side: str, track: str) -> list[StoredPair]:
    """Return the pairs of a folder of blurry pictures.

    Raises
    ------
    RefusedError
        If a picture has no twin, or there are several folders of sharp ones.
    """
    folder = sides_of(root)[side]
    blurry, (sharp, *others) = folder / track, _named(folder, SHARP_NAMES)
    if others:
        names = f"{printable(sharp.name)} and {printable(others[0].name)}"
        raise RefusedError(f"{printable(folder)}: {names} could both be the sharp pictures; move one away")
    found = twins(_tree(blurry), _tree(sharp), sharp)
    return [StoredPair(name, *sequence_and_frame(name), Place(one), Place(other)) for name, one, other in found]


def _tree(folder: Path, mark: str = "", depth: int = 0) -> dict[str, Path]:
    """Return the pictures of a folder and those inside it, by their places without the ending."""
    if depth > _MAX_DEPTH:
        raise RefusedError(f"{printable(folder)}: folders inside folders, {_MAX_DEPTH} deep; is one a link to itself?")
    own = pictures(folder)
    # RealBlur numbers its pictures blur_1 and gt_1.
    numbered = {name.removeprefix(f"{folder.name}_"): path for name, path in own.items()}
    is_numbered = all(name != path.stem for name, path in numbered.items())
    found = {mark + name: path for name, path in (numbered if is_numbered else own).items()}
    for inner in folders_in(folder):
        found |= _tree(inner, f"{mark}{inner.name}/", depth + 1)
    return found
