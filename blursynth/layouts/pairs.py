"""Pairs as they lie in a tree, and what all layouts need to find them."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from blursynth.errors import RefusedError
from blursynth.files import check_regular_file, printable
from blursynth.recordings import SPLITS

__all__ = [
    "PICTURE_SUFFIXES",
    "FilePair",
    "Place",
    "StoredPair",
    "as_stored",
    "folders_in",
    "inside",
    "pictures",
    "read_list",
    "sequence_and_frame",
    "sides_of",
    "twins",
]

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})
_MAX_LIST_BYTES = 1 << 26
_CROP = re.compile(r"(.*?)(_s\d{3,})")  # a sub-crop, as BasicSR's scripts name them
_COUNTED = re.compile(r"(.*[^-_. \d])[-_. ]+(\d+)|(.*_\d\d)[-_](\d{6})", re.DOTALL)
_HIDE = re.compile(r"\d+from(.+)", re.DOTALL)


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where the bytes of a picture are: a file, a part of one (a tar), or the value of a ``key`` (an LMDB folder)."""

    path: Path
    key: str = ""
    offset: int = 0
    num_bytes: int = -1
    """-1: to the end."""

    def __str__(self) -> str:
        return printable(f"{self.path}:{self.key}" if self.key else str(self.path))


@dataclass(frozen=True, slots=True, order=True)
class FilePair:
    """A blurry picture and its sharp twin, two files."""

    name: str
    """Its place in the tree without the ending, for example ``GOPR0384_11_00/000001``."""
    sequence: str
    """What was filmed in one go, as far as the tree tells; empty where it does not."""
    blurry: Path
    sharp: Path


@dataclass(frozen=True, slots=True, order=True)
class StoredPair:
    """A blurry picture and its sharp twin, wherever they are."""

    name: str
    sequence: str
    frame: str
    """Its name within the sequence."""
    blurry: Place
    sharp: Place
    key: str = ""
    """Nothing but what tells pairs of one name apart."""

    def as_files(self) -> FilePair:
        """Return it as two files."""
        return FilePair(self.name, self.sequence, self.blurry.path, self.sharp.path)


def sides_of(root: Path) -> dict[str, Path]:
    """Return the folders of the sides of a split: those in ``root``, or ``root`` itself, which may be called like one.

    A tree that is not split is the one side ``""``.
    """
    inside_it = {side: root / side for side in SPLITS if (root / side).is_dir()}
    name = root.resolve().name
    return inside_it or {name if name in SPLITS else "": root}


def folders_in(root: Path) -> list[Path]:
    """Return the folders in a folder, sorted, hidden ones left out; none if there is no such folder."""
    return sorted(path for path in _entries(root) if path.is_dir())


def pictures(folder: Path) -> dict[str, Path]:
    """Return the PNG and JPEG files in a folder by their names without the ending, sorted; others are passed over.

    Raises
    ------
    RefusedError
        If two files differ in their endings only.
    """
    found: dict[str, Path] = {}
    for path in sorted(_entries(folder)):
        if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file():
            if path.stem in found:
                raise RefusedError(f"{printable(path)}: {printable(found[path.stem].name)} has the same name; keep one")
            found[path.stem] = path
    return found


def _entries(folder: Path) -> Iterator[Path]:
    try:
        yield from (path for path in folder.iterdir() if not path.name.startswith(".")) if folder.is_dir() else ()
    except OSError as error:
        raise RefusedError(f"{printable(folder)}: cannot be read: {error.strerror or error}") from error


def twins(
    blurry: Mapping[str, Path], sharp: Mapping[str, Path], sharp_folder: Path, *, is_shared: bool = False
) -> Iterator[tuple[str, Path, Path]]:
    """Match pictures by name: yield name, blurry and sharp.

    Parameters
    ----------
    sharp_folder
        Where the sharp ones were looked for, for messages.
    is_shared
        Whether sharp ones of other blurry pictures may be there too.

    Raises
    ------
    RefusedError
        If one has no twin; it names the first.
    """
    for name, path in blurry.items():
        if name not in sharp:
            where = printable(sharp_folder)
            raise RefusedError(f"{printable(path)}: no sharp twin in {where}; fetch the data set again or remove it")
    if not is_shared:
        for name, path in sharp.items():
            if name not in blurry:
                raise RefusedError(f"{printable(path)}: no blurry twin; fetch the data set again or remove it")
    yield from ((name, path, sharp[name]) for name, path in blurry.items())


def as_stored(sequence: str, found: Iterable[tuple[str, Path, Path]]) -> list[StoredPair]:
    """Return pairs of one sequence, called by it and their own names."""
    return [
        StoredPair(f"{sequence}/{name}", sequence, name, Place(blurry), Place(sharp)) for name, blurry, sharp in found
    ]


def sequence_and_frame(name: str) -> tuple[str, str]:
    """Tell a picture's sequence by its name alone; the sequence is empty where the name does not say.

    Examples
    --------
    >>> sequence_and_frame("GOPR0372_07_00-000047_s001"), sequence_and_frame("12fromGOPR0950")
    (('GOPR0372_07_00', '000047_s001'), ('GOPR0950', '12fromGOPR0950'))
    """
    folder, slash, last = name.rpartition("/")
    if slash:
        return folder, last
    crop = _CROP.fullmatch(name)
    stem, ending = (crop[1], crop[2]) if crop else (name, "")
    if match := _COUNTED.fullmatch(stem):
        return match[1] or match[3], (match[2] or match[4]) + ending
    if match := _HIDE.fullmatch(stem):
        return match[1], name
    return "", name


def inside(root: Path, text: str, whence: str) -> Path:
    """Return the file that a list names, which must lie in the list's tree.

    Parameters
    ----------
    whence
        Which line says so, for messages.

    Raises
    ------
    RefusedError
        If it is absolute, leads upwards, is a link out of the tree, or is no file.
    """
    parts = PurePosixPath(text.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or "\0" in text or not parts.parts:
        raise RefusedError(f"{whence}: {printable(text)!r} leads out of the tree; refused")
    path = root / parts
    if not path.resolve().is_relative_to(root.resolve()):
        raise RefusedError(f"{whence}: {printable(text)!r} is a link out of the tree; refused")
    if path.suffix.lower() not in PICTURE_SUFFIXES:
        raise RefusedError(f"{whence}: {printable(text)!r} is no PNG or JPEG")
    try:
        check_regular_file(path, RefusedError)
    except RefusedError as error:
        raise RefusedError(f"{whence}: {error}") from error
    return path


def read_list(path: Path) -> list[tuple[str, str]]:
    """Read a list of a data set: (which line it is, for messages, and the line) for each that is not empty.

    Raises
    ------
    RefusedError
        If it is no text, or too long.
    """
    if check_regular_file(path, RefusedError).st_size > _MAX_LIST_BYTES:
        raise RefusedError(f"{printable(path)}: larger than any list of pictures")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeError) as error:
        raise RefusedError(f"{printable(path)}: not a list of pictures: {error}") from error
    return [(f"{printable(path)}, line {number}", line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
