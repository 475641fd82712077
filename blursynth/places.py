"""Which photographs and clips there are to do, and where each result goes: names alone, without torch."""

from collections.abc import Sequence
from pathlib import Path

from blursynth.errors import SettingsError
from blursynth.files import expand, printable, refuse_existing
from blursynth.photos.photo import PHOTO_SUFFIXES
from blursynth.photos.reading import identify_photo
from blursynth.photos.writing import check_name
from blursynth.video import VIDEO_SUFFIXES

__all__ = ["CLIP_CONTAINERS", "STREAM", "find_photographs", "is_clip", "output_paths", "refuse_early"]

STREAM = Path("-")  # standard input or output
CLIP_CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}  # that results are written in


def is_clip(path: Path) -> bool:
    """Say whether a name is that of a clip."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def find_photographs(arguments: Sequence[str], *, suffix: str = "_deblurred", is_recursive: bool = False) -> list[Path]:
    """Turn files, folders and globs into photographs; results of earlier runs are left out.

    A result that is named is taken for a photograph, unless what it was made of is named too, as a shell does that
    fills in ``*.jpg``. Clips are found by their names and by globs, not in folders. ``-`` is standard input.

    Raises
    ------
    SettingsError
        If an argument gives no photograph.
    """
    _check_suffix(suffix)
    found: dict[Path, None] = {}
    for argument in arguments:
        if argument == "-":
            found[STREAM] = None
            continue
        paths = expand([argument], PHOTO_SUFFIXES, is_recursive=is_recursive)
        if not Path(argument).is_file() and suffix:
            paths = [path for path in paths if not path.stem.endswith(suffix)]
        if not paths:
            raise SettingsError(f"{printable(argument)}: holds nothing but earlier results; name them to deblur them")
        found.update(dict.fromkeys(paths))
    results = {_beside(path, suffix) for path in found} if suffix else set()
    return [path for path in found if path not in results]


def output_paths(
    sources: Sequence[Path], output: Path | None, *, suffix: str = "_deblurred", folders: Sequence[Path] = ()
) -> list[Path]:
    """Decide where results go: beside each source with ``suffix`` in its name, or to ``output``.

    ``output`` is a file if there is a single source, it has an ending and no folder stands there; else a folder, in
    which what was found in one of ``folders`` lies as it lies there. Clips become MP4, MOV or Matroska, whichever
    theirs is, or Matroska. What is read from `STREAM` goes there too.

    Raises
    ------
    SettingsError
        If two results would have the same name, or one that of a source.
    """
    _check_suffix(suffix)
    if STREAM in (output, *sources):
        if len(sources) > 1:
            raise SettingsError("-: standard input and output take one photograph")
        return [output or STREAM]
    if output is None:
        found = [_beside(source, suffix) for source in sources]
    elif len(sources) == 1 and output.suffix and not output.is_dir():
        found = [output]
    else:
        found = [output / _inside(source, folders) / _beside(source, suffix).name for source in sources]
    seen = {_place(source): source for source in sources} | {source.resolve(): source for source in sources}
    for source, path in zip(sources, found, strict=True):
        place = _place(path)
        if place in seen:
            raise SettingsError(
                f"{printable(source)}: its result would replace {printable(seen[place])}; choose another -o"
            )
        seen[place] = path
    return found


def refuse_early(sources: Sequence[Path], outputs: Sequence[Path], *, overwrite: bool) -> None:
    """Refuse what is bound to fail, before a network is loaded for it; of several, only what fails for all of them.

    Raises
    ------
    SettingsError
        If the single result exists, or its ending is that of no format.
    PhotoError
        If the single source is no photograph by its first bytes.
    """
    if len(sources) != 1:
        return
    (source,), (output,) = sources, outputs
    if source != STREAM and not is_clip(source):
        identify_photo(source)
    if output != STREAM:
        refuse_existing(output, overwrite=overwrite)
        if not is_clip(source):
            check_name(output)


def _check_suffix(suffix: str) -> None:
    if "/" in suffix or "\0" in suffix:
        raise SettingsError(f"suffix {printable(suffix)!r}: must not name another folder")


def _beside(source: Path, suffix: str) -> Path:
    is_other = is_clip(source) and source.suffix.lower() not in CLIP_CONTAINERS
    return source.with_name(f"{source.stem}{suffix}{'.mkv' if is_other else source.suffix}")


def _inside(source: Path, folders: Sequence[Path]) -> Path:
    """Return where a source lies in the first of the folders that holds it, or nowhere in particular."""
    return next((source.parent.relative_to(each) for each in folders if source.is_relative_to(each)), Path())


def _place(path: Path) -> Path:
    """Return which name would be written, however its folder is spelt; a link there would be replaced itself."""
    return path.parent.resolve() / path.name
