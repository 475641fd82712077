"""Deblurring files: photographs and clips become files of the same kind, and one bad file does not stop the others."""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blursynth.errors import BlursynthError, PhotoError, RefusedError, SettingsError
from blursynth.files import as_output_error, make_directory, printable, refuse_existing, write_bytes
from blursynth.pages import Picture, compare_page
from blursynth.photos import Photo, decode_photo, encode_photo, read_photo, write_photo
from blursynth.photos.photo import Samples
from blursynth.photos.writing import check_target
from blursynth.places import STREAM, find_photographs, is_clip, output_paths
from blursynth.progress import SILENT, Progress
from blursynth.sweeping import sweep

from .allocation import reused_memory
from .footage import deblur_clip
from .memory import free_bytes
from .overlap import overlapped
from .restore import Deblurrer
from .tiles import TileGrid

__all__ = ["STREAM", "DeblurResult", "FileSettings", "deblur_files", "find_photographs", "output_paths"]

_MAX_STREAM_BYTES = 1 << 31
_NUM_COPIES = 3  # of the pixels, while they are encoded
_SHARE_BESIDE = 0.1  # of the free memory, for a photograph that is read or written while the network has another one


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


@reused_memory()
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
    goes on when it is started again; of a single one it is an error. While the network has one photograph, the next is
    read and the last is written, if they take no more than a tenth of the free memory. Clips come last.

    Raises
    ------
    PhotoError, VideoError, SettingsError
        What a single source raises; of several, it is noted and the others go on.
    MachineError
        If the disk or the memory says no.
    """
    settings = settings or FileSettings()
    for directory in {output.parent for output in outputs if output.parent.is_dir()}:
        sweep(directory)
    jobs = [_job(number, *paths, settings) for number, paths in enumerate(zip(sources, outputs, strict=True))]
    if len(jobs) == 1:
        clip_or_photo = _deblur_clip if is_clip(jobs[0].source) else _deblur_photograph
        return [clip_or_photo(jobs[0], deblurrer, settings, progress)]
    results: dict[int, DeblurResult] = {}
    waiting = []
    for job in jobs:
        if job.output.exists() and not settings.overwrite:
            progress.note(f"{printable(job.output)}: exists already, skipped")
            results[job.number] = DeblurResult(job.source, job.output)
        else:
            waiting.append(job)
    photographs = [job for job in waiting if not is_clip(job.source)]
    results |= _deblur_photographs(photographs, deblurrer, settings, progress)
    for job in waiting:
        if is_clip(job.source):
            results[job.number] = _or_error(job, partial(_deblur_clip, job, deblurrer, settings, progress))
    return [results[job.number] for job in jobs]


@dataclass(frozen=True, slots=True)
class _Job:
    number: int
    source: Path
    output: Path
    page: Path | None


def _job(number: int, source: Path, output: Path, settings: FileSettings) -> _Job:
    has_page = settings.compare and not is_clip(source) and output != STREAM
    return _Job(number, source, output, output.with_name(f"{output.name}.html") if has_page else None)


def _or_error(job: _Job, work: Callable[[], DeblurResult]) -> DeblurResult:
    try:
        return work()
    except (RefusedError, SettingsError) as error:
        return DeblurResult(job.source, job.output, error=str(error))


def _deblur_clip(job: _Job, deblurrer: Deblurrer, settings: FileSettings, progress: Progress) -> DeblurResult:
    refuse_existing(job.output, overwrite=settings.overwrite)
    if settings.compare:
        progress.note(f"{printable(job.source)}: a clip gets no page to compare")
    make_directory(job.output.parent)
    kept_frames = deblur_clip(
        job.source,
        job.output,
        deblurrer,
        quality=settings.quality,
        overwrite=settings.overwrite,
        strip_metadata=settings.strip_metadata,
        progress=progress,
    )
    _copy_times(job, settings)
    return DeblurResult(job.source, job.output, kept_frames)


@dataclass(frozen=True, slots=True, eq=False)
class _Restored:
    """A photograph with its restored pixels; ``before`` holds what it was, in 8 bits, if a page is to show that."""

    job: _Job
    photo: Photo
    pixels: Samples
    before: NDArray[np.uint8] | None
    kept_tiles: int
    num_tiles: int


def _deblur_photograph(job: _Job, deblurrer: Deblurrer, settings: FileSettings, progress: Progress) -> DeblurResult:
    """Deblur a photograph alone, with a bar that counts its tiles."""
    photo = _read(job, settings)
    grid = deblurrer.grid(*photo.pixels.shape[:2])
    with progress.task(job.source.name, grid.num_tiles, "tiles") as advance:
        restored = _restored(job, photo, grid, deblurrer, lambda: advance(1, ""))
    _tell_kept(restored, progress)
    return _written(restored, settings)


def _deblur_photographs(
    jobs: Sequence[_Job], deblurrer: Deblurrer, settings: FileSettings, progress: Progress
) -> dict[int, DeblurResult]:
    """Deblur photographs with one bar for all, the next being read and the last being written meanwhile."""
    if not jobs:
        return {}
    with progress.task("deblurring", len(jobs), "photographs") as advance:

        def restore(job: _Job, read_ahead: Photo | None) -> Callable[[], DeblurResult]:
            try:
                photo = read_ahead or _read(job, settings)
                grid = deblurrer.grid(*photo.pixels.shape[:2])
                restored = _restored(job, photo, grid, deblurrer, lambda: advance(1 / grid.num_tiles, job.source.name))
            except (RefusedError, SettingsError) as error:
                advance(1, job.source.name)
                return partial(DeblurResult, job.source, job.output, error=str(error))
            _tell_kept(restored, progress)
            finish = partial(_or_error, job, partial(_written, restored, settings))
            if _NUM_COPIES * photo.pixels.nbytes <= _SHARE_BESIDE * free_bytes(settings.memory_bytes):
                return finish
            result = finish()
            return lambda: result

        results = list(overlapped(jobs, partial(_read_ahead, settings=settings), restore))
    return {job.number: result for job, result in zip(jobs, results, strict=True)}


def _restored(job: _Job, photo: Photo, grid: TileGrid, deblurrer: Deblurrer, on_tile: Callable[[], None]) -> _Restored:
    """Restore the pixels, in the place of the photograph's own."""
    before = _shown(photo.pixels).copy() if job.page else None
    kept_tiles = 0

    def count(is_restored: bool) -> None:
        nonlocal kept_tiles
        kept_tiles += not is_restored
        on_tile()

    restored = deblurrer(photo.pixels, grid=grid, on_tile=count, out=photo.pixels)
    return _Restored(job, photo, restored, before, kept_tiles, grid.num_tiles)


def _tell_kept(restored: _Restored, progress: Progress) -> None:
    if restored.kept_tiles:
        what = f"{restored.kept_tiles} of {restored.num_tiles} tile(s) stay as they were: the network failed on them"
        progress.note(f"{printable(restored.job.source)}: {what}")


def _read_ahead(job: _Job, settings: FileSettings) -> Photo | None:
    """Read a photograph if it takes little memory; what is wrong with it is found when its turn comes."""
    try:
        return _read(job, settings, _SHARE_BESIDE)
    except BlursynthError:
        return None


def _read(job: _Job, settings: FileSettings, share: float = 1.0) -> Photo:
    """Read a photograph that fits a share of the free memory, and refuse what could not be written in the end."""
    for path in (job.output, job.page):
        if path is not None and path != STREAM:
            refuse_existing(path, overwrite=settings.overwrite)
    max_bytes = int(share * free_bytes(settings.memory_bytes))
    if job.source == STREAM:
        data = _standard_input()
        photo = decode_photo(data, "standard input", max_pixels=settings.max_pixels, max_bytes=max_bytes)
    else:
        photo = read_photo(job.source, max_pixels=settings.max_pixels, max_bytes=max_bytes)
    if job.output != STREAM:
        check_target(job.output, photo)
    return photo


def _standard_input() -> bytes:
    data = sys.stdin.buffer.read(_MAX_STREAM_BYTES + 1) if sys.stdin else b""
    if len(data) > _MAX_STREAM_BYTES:
        raise PhotoError(f"standard input: more than {_MAX_STREAM_BYTES} bytes; name a file instead")
    return data


def _written(restored: _Restored, settings: FileSettings) -> DeblurResult:
    job, photo, pixels = restored.job, restored.photo, restored.pixels
    if job.output == STREAM:
        data = encode_photo(photo, pixels, "standard output", strip_metadata=settings.strip_metadata)
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        make_directory(job.output.parent)
        write_photo(job.output, photo, pixels, overwrite=settings.overwrite, strip_metadata=settings.strip_metadata)
        _copy_times(job, settings)
    if job.page and restored.before is not None:
        name = job.source.name
        picture = Picture(name, restored.before, _shown(pixels), before_label="as taken", after_label="deblurred")
        write_bytes(job.page, compare_page(name, [picture]).encode(), overwrite=settings.overwrite)
    return DeblurResult(job.source, job.output, restored.kept_tiles, page=job.page)


def _copy_times(job: _Job, settings: FileSettings) -> None:
    if settings.keep_times and STREAM not in {job.source, job.output}:
        status = job.source.stat()
        with as_output_error(job.output):
            os.utime(job.output, ns=(status.st_atime_ns, status.st_mtime_ns))


def _shown(pixels: Samples) -> NDArray[np.uint8]:
    """Return 8-bit codes, as a browser shows them."""
    return (pixels if pixels.dtype == np.uint8 else pixels // 257).astype(np.uint8, copy=False)
