"""Deblurring files: where each result goes, and that one bad file does not stop the others."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from blursynth.errors import RefusedError, SettingsError
from blursynth.files import expand, make_directory, printable, refuse_existing, sweep
from blursynth.photos import PHOTO_SUFFIXES, Photo, read_photo, write_photo
from blursynth.photos.photo import Samples
from blursynth.progress import SILENT, Progress

from .restore import Deblurrer

__all__ = ["DeblurResult", "deblur_files", "find_photographs", "output_paths"]


@dataclass(frozen=True, slots=True)
class DeblurResult:
    """What became of one photograph: ``error`` says why it failed, ``kept_tiles`` counts tiles left as they were."""

    source: Path
    output: Path
    kept_tiles: int = 0
    error: str | None = None


def find_photographs(arguments: Sequence[str], *, suffix: str = "_deblurred", is_recursive: bool = False) -> list[Path]:
    """Turn files, folders and globs into photographs; results of earlier runs are left out unless they are named.

    Raises
    ------
    SettingsError
        If an argument gives no photograph.
    """
    found: dict[Path, None] = {}
    for argument in arguments:
        paths = expand([argument], PHOTO_SUFFIXES, is_recursive=is_recursive)
        if not Path(argument).is_file() and suffix:
            paths = [path for path in paths if not path.stem.endswith(suffix)]
        if not paths:
            raise SettingsError(f"{printable(argument)}: holds nothing but earlier results; name them to deblur them")
        found.update(dict.fromkeys(paths))
    return list(found)


def output_paths(sources: Sequence[Path], output: Path | None, *, suffix: str = "_deblurred") -> list[Path]:
    """Decide where results go: beside each photograph with ``suffix`` in its name, or to ``output``.

    ``output`` is a file if there is a single photograph, it has an ending and no folder stands there; else a folder.

    Raises
    ------
    SettingsError
        If two results would have the same name, or one that of a source.
    """
    if "/" in suffix or "\0" in suffix:
        raise SettingsError(f"suffix {printable(suffix)!r}: must not name another folder")
    if output is None:
        found = [source.with_name(f"{source.stem}{suffix}{source.suffix}") for source in sources]
    elif len(sources) == 1 and output.suffix and not output.is_dir():
        found = [output]
    else:
        found = [output / f"{source.stem}{suffix}{source.suffix}" for source in sources]
    seen = {_place(source): source for source in sources} | {source.resolve(): source for source in sources}
    for source, path in zip(sources, found, strict=True):
        place = _place(path)
        if place in seen:
            raise SettingsError(
                f"{printable(source)}: its result would replace {printable(seen[place])}; choose another -o"
            )
        seen[place] = path
    return found


def _place(path: Path) -> Path:
    """Return which name would be written, however its folder is spelt; a link there would be replaced itself."""
    return path.parent.resolve() / path.name


def deblur_files(
    sources: Sequence[Path],
    outputs: Sequence[Path],
    deblurrer: Deblurrer,
    *,
    overwrite: bool = False,
    strip_metadata: bool = False,
    max_pixels: int = 500_000_000,
    progress: Progress = SILENT,
) -> list[DeblurResult]:
    """Deblur photographs into files of the same kind, with their metadata.

    Of several photographs those whose result exists are skipped unless ``overwrite`` is set, so that an interrupted
    job goes on when it is started again; of a single one it is an error.

    Raises
    ------
    PhotoError, SettingsError
        What a single photograph raises; of several, it is noted and the others go on.
    MachineError
        If the disk or the memory says no.
    """
    results = []
    for directory in {output.parent for output in outputs if output.parent.is_dir()}:
        sweep(directory)
    for source, output in zip(sources, outputs, strict=True):
        if len(sources) > 1 and output.exists() and not overwrite:
            progress.note(f"{printable(output)}: exists already, skipped")
            results.append(DeblurResult(source, output))
            continue
        try:
            refuse_existing(output, overwrite=overwrite)  # before the work, not only after it
            photo = read_photo(source, max_pixels=max_pixels)
            make_directory(output.parent)
            restored, kept_tiles = _deblurred(photo, source, deblurrer, progress)
            write_photo(output, photo, restored, overwrite=overwrite, strip_metadata=strip_metadata)
            results.append(DeblurResult(source, output, kept_tiles))
        except (RefusedError, SettingsError) as error:
            if len(sources) == 1:
                raise
            results.append(DeblurResult(source, output, error=str(error)))
    return results


def _deblurred(photo: Photo, source: Path, deblurrer: Deblurrer, progress: Progress) -> tuple[Samples, int]:
    """Return the restored pixels and how many tiles were left as they were."""
    kept_tiles = 0
    height, width = photo.pixels.shape[:2]
    with progress.task(source.name, deblurrer.num_tiles(height, width), "tiles") as advance:

        def on_tile(is_finite: bool) -> None:
            nonlocal kept_tiles
            kept_tiles += not is_finite
            advance(1, "")

        restored = deblurrer(photo.pixels, on_tile=on_tile)
    if kept_tiles:
        progress.note(f"{printable(source)}: {kept_tiles} tile(s) could not be computed and stay as they were")
    return restored, kept_tiles
