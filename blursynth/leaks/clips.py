"""What is audited: the clips of a split, read from shards, from a folder laid out as GOPRO's, or from a list."""

import csv
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from blursynth.errors import RefusedError, SettingsError
from blursynth.files import check_regular_file, expand, printable
from blursynth.gopro import GOPRO_FRAME_RATE, gopro_clips
from blursynth.photos import PHOTO_SUFFIXES
from blursynth.recordings import SPLITS, is_time, recording_of
from blursynth.shards import Entry, Manifest, Shard

__all__ = ["AuditedClip", "gopro_split", "read_clips"]

_MAX_LIST_BYTES = 1 << 26
_MAX_PAIRS = 10**12
_COLUMNS = ("split", "name", "pairs", "creation_time", "first_seconds", "last_seconds", "source_sha256")
_TIME_BASE = re.compile(r"([1-9]\d{0,8})(?:/([1-9]\d{0,8}))?")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class AuditedClip:
    """A clip on one side of a split."""

    split: str
    name: str
    recording: str
    """Its key, from `blursynth.recordings.recording_of`."""
    pairs: int
    source_sha256: str = ""
    """Of the file that it was made from, where that is known."""
    seconds: tuple[float, float] | None = None
    """The centres of its first and last pair on the clock of its recording, where that is known."""
    clock: str = ""
    """What the seconds count from; only clips of one clock can be compared."""
    images: tuple[Path, ...] = ()
    """Its sharp images: picture files, or shards, which stand for all in them."""


def gopro_split() -> list[AuditedClip]:
    """Return GOPRO's own split, by names and frame numbers alone."""
    return [_named(clip.split, clip.name, {}) for clip in gopro_clips()]


def read_clips(inputs: Sequence[str]) -> list[AuditedClip]:
    """Read what is to be audited.

    Parameters
    ----------
    inputs
        Paths, or ``train=PATH``, ``val=PATH``, ``test=PATH``, where the path does not say itself on which side it is.
        A path is a folder of shards, a folder with ``{train,val,test}/CLIP/sharp/*``, or a list: CSV of ``split,name``
        with a line of column names if there are more: pairs, creation_time, first_seconds, last_seconds,
        source_sha256.

    Raises
    ------
    SettingsError
        If a path is not there, or nothing says on which side a clip is.
    RefusedError
        If it is none of these, or damaged.
    """
    return [clip for text in inputs for clip in _read(*_side_and_path(text))]


def _side_and_path(text: str) -> tuple[str, Path]:
    side, mark, rest = text.partition("=")
    if mark and side in SPLITS and not Path(text).exists():
        text = rest
    else:
        side = ""
    if not text or not Path(text).exists():
        raise SettingsError(f"{printable(text) or 'an empty path'}: no such file or folder")
    return side, Path(text)


def _read(side: str, path: Path) -> list[AuditedClip]:
    if not path.is_dir():
        return _read_list(side, path)
    sharp = sorted(folder for folder in path.rglob("sharp") if folder.is_dir())
    return _read_folders(side, path, sharp) if sharp else _read_shards(side, path)


def _read_shards(side: str, directory: Path) -> list[AuditedClip]:
    entries = list(Manifest.read(directory))
    if not entries:
        raise RefusedError(f"{printable(directory)}: its manifest lists no shards")
    groups = itertools.groupby(sorted(entries, key=_clip_of), key=_clip_of)
    return [_of_shards(side, directory, list(group)) for _, group in groups]


def _clip_of(entry: Entry) -> tuple[str, ...]:
    return entry.split, entry.source, entry.source_sha256, entry.recording


def _of_shards(side: str, directory: Path, entries: Sequence[Entry]) -> AuditedClip:
    first = entries[0]
    split = side or first.split
    if not split:
        raise SettingsError(
            f"{printable(directory)}: its manifest does not say on which side of a split {printable(first.source)} is; "
            f"write train={printable(directory)} or test={printable(directory)}"
        )
    paths, spans = [], []
    for entry in entries:
        entry.check_size(directory)
        paths.append(entry.path(directory))
        with Shard(paths[-1]) as shard:
            spans.append(_span(shard))
    known = [span for span in spans if span]
    return AuditedClip(
        split=split,
        name=first.source,
        recording=first.recording or recording_of(first.source),
        pairs=sum(entry.pairs for entry in entries),
        source_sha256=first.source_sha256,
        seconds=(min(span[0] for span in known), max(span[1] for span in known)) if len(known) == len(spans) else None,
        clock=first.source_sha256,
        images=tuple(paths),
    )


def _span(shard: Shard) -> tuple[float, float] | None:
    """Return when the first and the last centre frame of a shard were taken, in seconds of its source."""
    time_base = _TIME_BASE.fullmatch(str(shard.attributes.get("time_base")))
    if not time_base:
        return None
    ticks = shard.rows()["centre_pts"]
    second = int(time_base[2] or 1) / int(time_base[1])
    return float(ticks.min()) / second, float(ticks.max()) / second


def _read_folders(side: str, root: Path, sharp_folders: Iterable[Path]) -> list[AuditedClip]:
    clips = []
    for folder in sharp_folders:
        sequence = folder.parent
        found = next((part for part in sequence.relative_to(root).parts if part in SPLITS), root.resolve().name)
        split = side or found
        if split not in SPLITS:
            raise SettingsError(
                f"{printable(sequence)}: on which side of a split is it? write train={printable(root)} or the like"
            )
        clips.append(_of_images(split, sequence.resolve().name, tuple(expand([str(folder)], PHOTO_SUFFIXES))))
    return clips


def _of_images(split: str, name: str, images: tuple[Path, ...]) -> AuditedClip:
    numbers = [int(path.stem) for path in images if path.stem.isdecimal()]
    seconds = _gopro_seconds(name, min(numbers), max(numbers)) if len(numbers) == len(images) else None
    recording = recording_of(name)
    return AuditedClip(split, name, recording, len(images), "", seconds, recording if seconds else "", images)


def _gopro_seconds(
    name: str, first_pair: int | None = None, last_pair: int | None = None
) -> tuple[float, float] | None:
    """Return when pairs of a published clip of GOPRO were taken, on the clock of its recording."""
    for clip in gopro_clips():
        if clip.name == name:
            first, last = first_pair or clip.first_pair, last_pair or clip.last_pair
            if clip.first_pair <= first <= last <= clip.last_pair:
                return clip.centre(first) / GOPRO_FRAME_RATE, clip.centre(last) / GOPRO_FRAME_RATE
    return None


def _read_list(side: str, path: Path) -> list[AuditedClip]:
    if check_regular_file(path, RefusedError).st_size > _MAX_LIST_BYTES:
        raise RefusedError(f"{printable(path)}: larger than any list of clips")
    clips = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, row in _rows(file, ("name",) if side else ("split", "name")):
                try:
                    clips.append(_named(side or row["split"], row["name"], row))
                except ValueError as error:
                    raise SettingsError(f"line {number}: {error}") from error
    except (OSError, ValueError, csv.Error) as error:
        raise RefusedError(
            f"{printable(path)}: not a list of clips, lines such as train,GOPR0384: {printable(str(error))}"
        ) from error
    if not clips:
        raise RefusedError(f"{printable(path)}: lists no clips; write lines such as train,GOPR0384")
    return clips


def _rows(lines: Iterable[str], columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Read lines by the columns that the first one names; without names, they are ``columns``."""
    needed = set(columns)
    for number, cells in enumerate(csv.reader(lines, skipinitialspace=True), 1):
        values = [cell.strip() for cell in cells]
        if not any(values) or values[0].startswith("#"):
            continue
        if needed <= set(values):
            columns = tuple(values)
            if unknown := set(columns) - set(_COLUMNS):
                raise SettingsError(f"column {min(unknown)!r} is unknown; there are {', '.join(_COLUMNS)}")
        elif len(values) == len(columns):
            yield number, dict(zip(columns, values, strict=True))
        else:
            raise SettingsError(f"line {number}: {len(values)} values where {len(columns)} belong: {','.join(columns)}")


def _named(split: str, name: str, row: Mapping[str, str]) -> AuditedClip:
    """Return a clip of which only this is known; of those of GOPRO, more is."""
    if split not in SPLITS:
        raise SettingsError(f"split {printable(split)!r} is not train, val or test")
    sha256 = row.get("source_sha256", "")
    if sha256 and not _SHA256.fullmatch(sha256):
        raise SettingsError(f"source_sha256 {printable(sha256)!r}: 64 hexadecimal digits belong there")
    time = row.get("creation_time", "")
    if time and not is_time(time):
        raise SettingsError(f"creation_time {printable(time)!r}: write it as 2026-11-22T10:30:00")
    recording = recording_of(name, time)
    seconds = _seconds(row) or _gopro_seconds(Path(name).stem)
    known_pairs = {clip.name: clip.pairs for clip in gopro_clips()}
    pairs = int(row["pairs"]) if row.get("pairs") else known_pairs.get(Path(name).stem, 0)
    if not 0 <= pairs <= _MAX_PAIRS:
        raise SettingsError(f"pairs {row['pairs'][:40]}: a count is from 0 to {_MAX_PAIRS}")
    return AuditedClip(split, name, recording, pairs, sha256, seconds, recording if seconds else "")


def _seconds(row: Mapping[str, str]) -> tuple[float, float] | None:
    if not row.get("first_seconds") or not row.get("last_seconds"):
        return None
    first, last = float(row["first_seconds"]), float(row["last_seconds"])
    if not (math.isfinite(first) and math.isfinite(last) and first <= last):
        raise SettingsError(f"seconds {first} to {last}: the first is not before the last")
    return first, last
