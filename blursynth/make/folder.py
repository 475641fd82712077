"""A folder of shards that is being written: what it holds, what is to be made, who may write."""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from blursynth.engine import take_part
from blursynth.errors import RefusedError, SettingsError
from blursynth.files import make_directory, printable
from blursynth.locks import locked
from blursynth.progress import SILENT, Progress
from blursynth.shards import Entry, Manifest, Shard
from blursynth.sweeping import swept

__all__ = ["Folder", "Settings", "open_folder", "share_of"]

_MARK_BYTES = 1 << 20


class Settings(Protocol):
    """What decides the pairs of a folder."""

    def settings(self) -> dict[str, Any]:
        """Return them as plain values, for JSON."""

    def sha256(self) -> str:
        """Return a hash of them."""


@dataclass(frozen=True, slots=True, eq=False)
class Folder:
    """A folder that this run alone writes, and the entries in it that were made with other settings."""

    manifest: Manifest
    others: tuple[Entry, ...]

    @property
    def path(self) -> Path:
        """Where it is."""
        return self.manifest.directory

    def is_done(self, shard: str, planned: int) -> bool:
        """Return whether a shard is on the disk, whole, with the bytes that were written."""
        entry = self.manifest.get(shard)
        return bool(entry and entry.planned == planned and entry.is_intact(self.path))

    def discard_others(self) -> None:
        """Remove what was made with other settings."""
        gone = [entry for entry in self.others if self.manifest.discard(entry.shard)]
        if not gone:
            return
        self.manifest.write()  # first the list, so that it never names what is not there
        for entry in gone:
            with suppress(FileNotFoundError):
                entry.path(self.path).unlink()


@contextmanager
def open_folder(
    path: Path,
    settings: Settings,
    *,
    work: str = "another blursynth make",
    overwrite: bool = False,
    part: tuple[int, int] | None = None,
    progress: Progress = SILENT,
) -> Iterator[Folder]:
    """Take a folder for writing; made if it is not there, freed of what killed runs left.

    Parameters
    ----------
    settings
        Of what will be written; a folder holds pairs of one setting.
    work
        Who writes, for the message of another run.
    overwrite
        Whether pairs of other settings may be replaced.
    part
        (K, N) if K-th of N runs that share the folder.

    Raises
    ------
    SettingsError
        If it holds pairs of other settings and ``overwrite`` is false.
    OutputError
        If another run writes there, or the disk says no.
    """
    make_directory(path)
    share = f"{part[0]}-of-{part[1]}" if part else ""
    with locked(path, work, share=share), swept([path], progress.note):
        manifest = Manifest.read(path, must_exist=False, part=part)
        others = [entry for entry in manifest.everything() if entry.settings_sha256 != settings.sha256()]
        if others and not overwrite:
            raise SettingsError(
                f"{printable(path)}: holds pairs made with {_differences(manifest, others, settings)}; "
                "use another -o, or --overwrite to replace them"
            )
        if part and any(not manifest.is_ours(entry.shard) for entry in others):
            raise SettingsError(f"{printable(path)}: other runs made pairs of other settings there; use another -o")
        yield Folder(manifest, tuple(others))


def _differences(manifest: Manifest, entries: Sequence[Entry], settings: Settings) -> str:
    try:
        with Shard(entries[0].path(manifest.directory)) as shard:
            theirs = json.loads(shard.attributes["config"])
    except (RefusedError, KeyError, ValueError, TypeError, RecursionError):
        return "other settings"
    ours = json.loads(json.dumps(settings.settings()))
    if not isinstance(theirs, dict) or set(theirs) != set(ours):
        return "other settings, of clips or of photographs"
    different = [f"{name} {value}" for name, value in theirs.items() if ours[name] != value]
    return ", ".join(different) or "other settings"


def share_of(paths: Sequence[Path], part: str | None) -> tuple[list[Path], tuple[int, int] | None]:
    """Return the sources of part ``K/N``, dealt out by their content, and (K, N); without a part, all of them.

    Copies of one file are in one part, whatever they are called.

    Raises
    ------
    SettingsError
        If ``part`` makes no sense.
    """
    if part is None:
        return list(paths), None
    taken = take_part([_content_mark(path) for path in paths], part)
    k, _, n = part.partition("/")
    return [path for path, is_taken in zip(paths, taken, strict=True) if is_taken], (int(k), int(n))


def _content_mark(path: Path) -> str:
    """Return what tells files apart without reading all of them: their size, beginning and end."""
    try:
        with path.open("rb") as file:
            head = file.read(_MARK_BYTES)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _MARK_BYTES))
            return hashlib.sha256(b"%d/%b/%b" % (size, head, file.read())).hexdigest()
    except OSError:
        return path.name  # what is wrong with it will be said when it is opened
