"""A folder of shards into a layout that other tools read: resumable, and the same bytes every time."""

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from operator import attrgetter
from pathlib import Path, PurePosixPath
from typing import Any

from blursynth.engine import Engine, Failure, run_tasks
from blursynth.errors import RefusedError, SettingsError
from blursynth.files import as_output_error, make_directory, printable, write_bytes
from blursynth.layouts.naming import NamedPair, name_pairs
from blursynth.layouts.writing import Crop, LmdbTask, PictureTask, TarTask, Task, VideoTask, is_written, write
from blursynth.locks import locked
from blursynth.progress import SILENT, Progress
from blursynth.shards import Manifest
from blursynth.sweeping import swept

__all__ = ["WRITTEN_LAYOUTS", "ExportSummary", "export_shards"]

MARKER = "blursynth-export.json"
_PAIRS_AT_ONCE = 8
_TAR_BYTES = 256_000_000  # of pixels, so that it does not depend on how well they compress
_MAX_MARKER_BYTES = 1 << 30
_REDS_TRACKS = ("blur", "blur_comp", "blur_jpeg")


@dataclass(frozen=True, slots=True)
class ExportSummary:
    """What `export_shards` did."""

    output: Path
    layout: str
    pairs: int
    """How many pairs the folder holds, written now or before."""
    kept: int
    """How many of them were there already."""


@dataclass(frozen=True, slots=True)
class _Job:
    """What is the same for all tasks."""

    shards: Path
    output: Path
    pairs: tuple[NamedPair, ...]
    crop: Crop | None
    num_workers: int

    def by_side(self) -> Iterator[tuple[str, tuple[NamedPair, ...]]]:
        """Yield the sides of the split and their pairs."""
        for split, pairs in itertools.groupby(self.pairs, attrgetter("split")):
            yield split, tuple(pairs)


def export_shards(
    shards: Path,
    output: Path,
    *,
    layout: str,
    crop: Crop | None = None,
    overwrite: bool = False,
    engine: Engine | None = None,
    progress: Progress = SILENT,
) -> ExportSummary:
    """Write the pairs of a folder of shards in a layout. A run that was stopped goes on where it was.

    Pixels are the display codes of the shards, bit for bit; the sides of the split stay what they are.

    Parameters
    ----------
    shards
        Folder that `make`, `shake` or `import` wrote.
    output
        A new or empty folder, or one that an earlier export wrote.
    layout
        One of `WRITTEN_LAYOUTS`.
    crop
        For ``basicsr``: cut into overlapping squares.
    overwrite
        Write anew what is there; the files of another export are removed.

    Raises
    ------
    SettingsError
        If a setting makes no sense, or the folder holds other files, or another export and ``overwrite`` is false.
    RefusedError
        If a shard is missing or damaged, there are no pairs, or two of them would get one name.
    OutputError
        If the disk says no; what was finished stays.
    """
    if layout not in _PLANNERS:
        raise SettingsError(f"layout {printable(layout)!r} is unknown; choose one of {', '.join(_PLANNERS)}")
    if crop and layout != "basicsr":
        raise SettingsError("--crop is for --layout basicsr")
    if output.resolve().is_relative_to(shards.resolve()):
        raise SettingsError(f"{printable(output)}: lies in {printable(shards)}, which is only read; choose another -o")
    engine = engine or Engine()
    pairs = tuple(name_pairs(shards, digits=8 if layout == "reds" else 6))
    _check_crop(pairs, crop)
    tasks = list(_PLANNERS[layout](_Job(shards, output, pairs, crop, engine.num_workers)))
    marker = _marker(shards, layout, crop, tasks)
    if twice := [name for name, count in Counter(marker["files"]).items() if count > 1]:
        raise RefusedError(
            f"{printable(shards)}: pairs of different sides would both be {printable(twice[0])}; "
            "bring each side into a folder of its own"
        )
    make_directory(output)
    folders = sorted({(output / name).parent for name in marker["files"]} | {output})
    with locked(output, "another blursynth export"), swept(folders):
        _prepare(output, marker, overwrite=overwrite)
        left = [task for task in tasks if overwrite or not is_written(task)]
        _write(left, engine, progress)
    return ExportSummary(output, layout, len(pairs), len(pairs) - len({pair for task in left for pair in task.pairs}))


def _check_crop(pairs: Sequence[NamedPair], crop: Crop | None) -> None:
    if not crop:
        return
    smallest = min(min(pair.size) for pair in pairs)
    if not 1 <= crop.step <= crop.size <= smallest:
        raise SettingsError(
            f"crops of {crop.size} px, step {crop.step}: the step is 1 or more, not above the crop, and the crop not "
            f"above the smallest pair, {smallest} px"
        )


def _marker(shards: Path, layout: str, crop: Crop | None, tasks: Sequence[Task]) -> dict[str, Any]:
    digest = hashlib.sha256("".join(f"{entry.shard} {entry.sha256}\n" for entry in Manifest.read(shards)).encode())
    return {
        "schema": 1,
        "made_by": "blursynth export",
        "layout": layout,
        "crop": asdict(crop) if crop else None,
        "shards_sha256": digest.hexdigest(),
        "files": [name for task in tasks for name in task.files],
    }


def _prepare(output: Path, marker: Mapping[str, Any], *, overwrite: bool) -> None:
    """Refuse a folder that holds anything else; rid it of an export that is replaced."""
    path = output / MARKER
    old = _read_marker(path)
    if old is None and any(not entry.name.startswith(".blursynth") for entry in output.iterdir()):
        raise SettingsError(f"{printable(output)}: holds other files; choose an empty or new folder with -o")
    if old is not None and old != marker and not overwrite:
        raise SettingsError(f"{printable(output)}: holds another export; use another -o, or --overwrite to replace it")
    if old != marker:
        for name in old["files"] if old else ():  # all, since a run that goes on believes what is there
            _remove(output, name)
        write_bytes(path, (json.dumps(marker, indent=0) + "\n").encode(), overwrite=True)


def _read_marker(path: Path) -> dict[str, Any] | None:
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > _MAX_MARKER_BYTES:
            return None
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    is_ours = isinstance(values, dict) and values.get("made_by") == "blursynth export"
    files = values.get("files") if is_ours else None
    return values if isinstance(files, list) and all(isinstance(name, str) for name in files) else None


def _remove(output: Path, name: str) -> None:
    """Remove a file of an earlier export; a list that was tampered with leads nowhere else."""
    parts = PurePosixPath(name)
    path = output / parts
    if not name.isprintable() or parts.is_absolute() or ".." in parts.parts:
        return
    if not path.parent.resolve().is_relative_to(output.resolve()):
        return
    with as_output_error(path), suppress(NotADirectoryError):
        path.unlink(missing_ok=True)
    with suppress(OSError):
        for folder in path.relative_to(output).parents[:-1]:
            (output / folder).rmdir()  # if it is empty now


def _write(tasks: Sequence[Task], engine: Engine, progress: Progress) -> None:
    with (
        progress.task("export", sum(len(task.pairs) for task in tasks), "pairs") as advance,
        closing(run_tasks(write, tasks, engine)) as outcomes,
    ):
        for position, outcome in outcomes:
            if isinstance(outcome, Failure):
                raise outcome.as_error(tasks[position].pairs[0].sequence)
            advance(outcome, tasks[position].pairs[0].sequence)


def _pictures(job: _Job, place: Callable[[NamedPair], tuple[str, str]]) -> Iterator[Task]:
    for start in range(0, len(job.pairs), _PAIRS_AT_ONCE):
        part = job.pairs[start : start + _PAIRS_AT_ONCE]
        yield PictureTask(job.shards, job.output, part, tuple(place(pair) for pair in part))


def _plan_gopro(job: _Job) -> Iterator[Task]:
    def place(pair: NamedPair) -> tuple[str, str]:
        folder = f"{pair.split or 'train'}/{pair.sequence}"
        blurry = "blur_gamma" if pair.track == "blur_gamma" else "blur"
        return f"{folder}/{blurry}/{pair.frame}.png", f"{folder}/sharp/{pair.frame}.png"

    return _pictures(job, place)


def _plan_reds(job: _Job) -> Iterator[Task]:
    def place(pair: NamedPair) -> tuple[str, str]:
        split = pair.split or "train"
        blurry = pair.track if pair.track in _REDS_TRACKS else "blur"
        end = f"{pair.sequence}/{pair.frame}.png"
        return f"{split}_{blurry}/{end}", f"{split}_sharp/{end}"

    return _pictures(job, place)


def _folder_of(split: str) -> str:
    return f"{split}/" if split else ""


def _plan_folders(job: _Job) -> Iterator[Task]:
    def place(pair: NamedPair) -> tuple[str, str]:
        folder = _folder_of(pair.split)
        return f"{folder}blur/{pair.flat}.png", f"{folder}sharp/{pair.flat}.png"

    return _pictures(job, place)


def _plan_basicsr(job: _Job) -> Iterator[Task]:
    sides = list(job.by_side())
    threads = max(1, job.num_workers // (2 * len(sides)))
    ending = "_crops" if job.crop else ""
    for split, pairs in sides:
        folder = _folder_of(split)
        yield LmdbTask(job.shards, job.output, pairs, f"{folder}blur{ending}.lmdb", "blurry", job.crop, threads)
        yield LmdbTask(job.shards, job.output, pairs, f"{folder}sharp{ending}.lmdb", "sharp", job.crop, threads)


def _plan_webdataset(job: _Job) -> Iterator[Task]:
    for split, pairs in job.by_side():
        for number, part in enumerate(_by_bytes(pairs)):
            yield TarTask(job.shards, job.output, part, f"{split or 'pairs'}-{number:06}.tar")


def _by_bytes(pairs: Sequence[NamedPair]) -> Iterator[tuple[NamedPair, ...]]:
    """Cut a row of pairs where their pixels would be more than a tar should hold."""
    part: list[NamedPair] = []
    num_bytes = 0
    for pair in pairs:
        pair_bytes = 6 * pair.size[0] * pair.size[1]
        if part and num_bytes + pair_bytes > _TAR_BYTES:
            yield tuple(part)
            part, num_bytes = [], 0
        part.append(pair)
        num_bytes += pair_bytes
    yield tuple(part)


def _plan_video(job: _Job) -> Iterator[Task]:
    by_video = attrgetter("split", "sequence", "size")
    ordered = sorted(job.pairs, key=attrgetter("split", "sequence", "size", "frame"))
    groups = [tuple(group) for _, group in itertools.groupby(ordered, by_video)]
    names = [f"{_folder_of(group[0].split)}{group[0].sequence}" for group in groups]
    for name, group in zip(names, groups, strict=True):
        height, width = group[0].size
        size = f"-{width}x{height}" if names.count(name) > 1 else ""
        yield VideoTask(job.shards, job.output, group, f"{name}{size}.mp4")


_PLANNERS: Mapping[str, Callable[[_Job], Iterator[Task]]] = {
    "gopro": _plan_gopro,
    "reds": _plan_reds,
    "folders": _plan_folders,
    "basicsr": _plan_basicsr,
    "webdataset": _plan_webdataset,
    "video": _plan_video,
}
WRITTEN_LAYOUTS = tuple(_PLANNERS)
