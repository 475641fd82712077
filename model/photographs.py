"""Deblurring files: where each result goes, and that one bad file does not stop the others."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blursynth.errors import PhotoError, RefusedError, SettingsError
from blursynth.files import as_output_error, expand, make_directory, printable, refuse_existing, sweep, write_bytes
from blursynth.pages import Picture, compare_page
from blursynth.photos import PHOTO_SUFFIXES, Photo, decode_photo, encode_photo, read_photo, write_photo
from blursynth.photos.photo import Samples
from blursynth.progress import SILENT, Progress

from .footage import CLIP_SUFFIXES, deblur_clip, is_clip
from .memory import free_bytes
from .restore import Deblurrer

__all__ = ["STREAM", "DeblurResult", "FileSettings", "deblur_files", "find_photographs", "output_paths"]

STREAM = Path("-")  # standard input or output
_MAX_STREAM_BYTES = 1 << 31


@dataclass(frozen=True, slots=True)
class FileSettings:
    """How files are read and written.

    Parameters
    ----------
    overwrite
        Replace results that exist.
    strip_metadata
        Leave out EXIF, XMP, IPTC, comments and text, and what clips say of themselves.
    keep_times
        Give results the times of their sources.
    compare
        Write a page beside each photograph's result that shows both under a slider.
    max_pixels
        Larger photographs are refused.
    memory_bytes
        What the whole process may take: what cannot be decoded in it is refused. Without it, all that is free.
    quality
        Of clips: x264's CRF, from 0, lossless, to 51.
    """

    overwrite: bool = False
    strip_metadata: bool = False
    keep_times: bool = False
    compare: bool = False
    max_pixels: int = 500_000_000
    memory_bytes: int | None = None
    quality: int = 16

    def __post_init__(self) -> None:
        if self.max_pixels < 1:
            raise SettingsError(f"max-pixels {self.max_pixels}: 1 or more")
        if not 0 <= self.quality <= 51:
            raise SettingsError(f"quality {self.quality}: x264's CRF goes from 0, lossless, to 51")


@dataclass(frozen=True, slots=True)
class DeblurResult:
    """What became of one source: ``error`` says why it failed, ``kept_tiles`` counts tiles left as they were."""

    source: Path
    output: Path
    kept_tiles: int = 0
    error: str | None = None
    page: Path | None = None


def find_photographs(arguments: Sequence[str], *, suffix: str = "_deblurred", is_recursive: bool = False) -> list[Path]:
    """Turn files, folders and globs into photographs; results of earlier runs are left out unless they are named.

    Clips are found by their names and by globs, not in folders. ``-`` is standard input.

    Raises
    ------
    SettingsError
        If an argument gives no photograph.
    """
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
    return list(found)


def output_paths(sources: Sequence[Path], output: Path | None, *, suffix: str = "_deblurred") -> list[Path]:
    """Decide where results go: beside each source with ``suffix`` in its name, or to ``output``.

    ``output`` is a file if there is a single source, it has an ending and no folder stands there; else a folder. Clips
    become MP4, MOV or Matroska, whichever theirs is, or Matroska. What is read from `STREAM` goes there too.

    Raises
    ------
    SettingsError
        If two results would have the same name, or one that of a source.
    """
    if "/" in suffix or "\0" in suffix:
        raise SettingsError(f"suffix {printable(suffix)!r}: must not name another folder")
    if STREAM in (output, *sources):
        if len(sources) > 1:
            raise SettingsError("-: standard input and output take one photograph")
        return [output or STREAM]
    if output is None:
        found = [source.with_name(_name_of_result(source, suffix)) for source in sources]
    elif len(sources) == 1 and output.suffix and not output.is_dir():
        found = [output]
    else:
        found = [output / _name_of_result(source, suffix) for source in sources]
    seen = {_place(source): source for source in sources} | {source.resolve(): source for source in sources}
    for source, path in zip(sources, found, strict=True):
        place = _place(path)
        if place in seen:
            raise SettingsError(
                f"{printable(source)}: its result would replace {printable(seen[place])}; choose another -o"
            )
        seen[place] = path
    return found


def _name_of_result(source: Path, suffix: str) -> str:
    is_other = is_clip(source) and source.suffix.lower() not in CLIP_SUFFIXES
    return f"{source.stem}{suffix}{'.mkv' if is_other else source.suffix}"


def _place(path: Path) -> Path:
    """Return which name would be written, however its folder is spelt; a link there would be replaced itself."""
    return path.parent.resolve() / path.name


def deblur_files(
    sources: Sequence[Path],
    outputs: Sequence[Path],
    deblurrer: Deblurrer,
    settings: FileSettings | None = None,
    *,
    progress: Progress = SILENT,
) -> list[DeblurResult]:
    """Deblur photographs and clips into files of the same kind, with their metadata.

    Of several, those whose result exists are skipped unless ``settings.overwrite`` is set, so that an interrupted job
    goes on when it is started again; of a single one it is an error.

    Raises
    ------
    PhotoError, VideoError, SettingsError
        What a single source raises; of several, it is noted and the others go on.
    MachineError
        If the disk or the memory says no.
    """
    settings = settings or FileSettings()
    results = []
    for directory in {output.parent for output in outputs if output.parent.is_dir()}:
        sweep(directory)
    for source, output in zip(sources, outputs, strict=True):
        if len(sources) > 1 and output.exists() and not settings.overwrite:
            progress.note(f"{printable(output)}: exists already, skipped")
            results.append(DeblurResult(source, output))
            continue
        try:
            results.append(_deblur_file(source, output, deblurrer, settings, progress))
        except (RefusedError, SettingsError) as error:
            if len(sources) == 1:
                raise
            results.append(DeblurResult(source, output, error=str(error)))
    return results


def _deblur_file(
    source: Path, output: Path, deblurrer: Deblurrer, settings: FileSettings, progress: Progress
) -> DeblurResult:
    has_page = settings.compare and not is_clip(source) and output != STREAM
    page = output.with_name(f"{output.name}.html") if has_page else None
    for path in (output, page):  # before the work, not only after it
        if path not in {None, STREAM}:
            refuse_existing(path, overwrite=settings.overwrite)
    if is_clip(source):
        if settings.compare:
            progress.note(f"{printable(source)}: a clip gets no page to compare")
        make_directory(output.parent)
        kept_frames = deblur_clip(
            source,
            output,
            deblurrer,
            quality=settings.quality,
            overwrite=settings.overwrite,
            strip_metadata=settings.strip_metadata,
            progress=progress,
        )
        _copy_times(source, output, settings)
        return DeblurResult(source, output, kept_frames)
    photo = _read(source, settings)
    before = _shown(photo.pixels).copy() if page else None
    restored, kept_tiles = _deblurred(photo, source, deblurrer, progress)
    _write(source, output, photo, restored, settings)
    if page and before is not None:
        name = source.name
        picture = Picture(name, before, _shown(restored), before_label="as taken", after_label="deblurred")
        write_bytes(page, compare_page(name, [picture]).encode(), overwrite=settings.overwrite)
    return DeblurResult(source, output, kept_tiles, page=page)


def _read(source: Path, settings: FileSettings) -> Photo:
    max_bytes = free_bytes(settings.memory_bytes)
    if source == STREAM:
        return decode_photo(_standard_input(), "standard input", max_pixels=settings.max_pixels, max_bytes=max_bytes)
    return read_photo(source, max_pixels=settings.max_pixels, max_bytes=max_bytes)


def _standard_input() -> bytes:
    data = sys.stdin.buffer.read(_MAX_STREAM_BYTES + 1) if sys.stdin else b""
    if len(data) > _MAX_STREAM_BYTES:
        raise PhotoError(f"standard input: more than {_MAX_STREAM_BYTES} bytes; name a file instead")
    return data


def _write(source: Path, output: Path, photo: Photo, restored: Samples, settings: FileSettings) -> None:
    if output == STREAM:
        data = encode_photo(photo, restored, "standard output", strip_metadata=settings.strip_metadata)
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    make_directory(output.parent)
    write_photo(output, photo, restored, overwrite=settings.overwrite, strip_metadata=settings.strip_metadata)
    _copy_times(source, output, settings)


def _copy_times(source: Path, output: Path, settings: FileSettings) -> None:
    if settings.keep_times and STREAM not in {source, output}:
        status = source.stat()
        with as_output_error(output):
            os.utime(output, ns=(status.st_atime_ns, status.st_mtime_ns))


def _shown(pixels: Samples) -> NDArray[np.uint8]:
    """Return 8-bit codes, as a browser shows them."""
    return (pixels if pixels.dtype == np.uint8 else pixels // 257).astype(np.uint8, copy=False)


def _deblurred(photo: Photo, source: Path, deblurrer: Deblurrer, progress: Progress) -> tuple[Samples, int]:
    """Return the restored pixels, in the place of the photograph's own, and how many tiles were left as they were."""
    kept_tiles = 0
    grid = deblurrer.grid(*photo.pixels.shape[:2])
    with progress.task(source.name, grid.num_tiles, "tiles") as advance:

        def on_tile(is_restored: bool) -> None:
            nonlocal kept_tiles
            kept_tiles += not is_restored
            advance(1, "")

        restored = deblurrer(photo.pixels, grid=grid, on_tile=on_tile, out=photo.pixels)
    if kept_tiles:
        what = f"{kept_tiles} of {grid.num_tiles} tile(s) stay as they were: the network failed on them"
        progress.note(f"{printable(source)}: {what}")
    return restored, kept_tiles
