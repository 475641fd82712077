"""Deblurring files: where each result goes, and that one bad file does not stop the others."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from blursynth.errors import RefusedError, SettingsError
from blursynth.files import make_directory, printable, refuse_existing
from blursynth.photos import read_photo, write_photo
from blursynth.progress import SILENT, Progress

from .restore import Deblurrer

__all__ = ["DeblurResult", "deblur_files", "output_paths"]


@dataclass(frozen=True, slots=True)
class DeblurResult:
    """What became of one photograph: ``error`` says why it failed, ``kept_tiles`` counts tiles left as they were."""

    source: Path
    output: Path
    kept_tiles: int = 0
    error: str | None = None


def output_paths(sources: Sequence[Path], output: Path | None, *, suffix: str = "_deblurred") -> list[Path]:
    """Decide where results go: beside each photograph with ``suffix`` in its name, or to ``output``.

    ``output`` is a file if there is a single photograph, it has an ending and no folder stands there; else a folder.

    Raises
    ------
    SettingsError
        If two results would have the same name, or one that of a source.
    """
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
    for source, output in zip(sources, outputs, strict=True):
        if len(sources) > 1 and output.exists() and not overwrite:
            progress.note(f"{printable(output)}: exists already, skipped")
            results.append(DeblurResult(source, output))
            continue
        try:
            kept = _deblur_file(source, output, deblurrer, overwrite, strip_metadata, progress)
            results.append(DeblurResult(source, output, kept))
        except (RefusedError, SettingsError) as error:
            if len(sources) == 1:
                raise
            results.append(DeblurResult(source, output, error=str(error)))
    return results


def _deblur_file(
    source: Path, output: Path, deblurrer: Deblurrer, overwrite: bool, strip_metadata: bool, progress: Progress
) -> int:
    refuse_existing(output, overwrite=overwrite)  # before the work, not only after it
    photo = read_photo(source)
    make_directory(output.parent)
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
    write_photo(output, photo, restored, overwrite=overwrite, strip_metadata=strip_metadata)
    return kept_tiles
