"""The manifest of a folder: one line for each shard that is whole, written after the shard itself is safe.

A line without its shard cannot happen; a shard without its line can, after a crash, and is written again.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from blursynth.errors import ShardError
from blursynth.files import check_regular_file, printable, sha256_of, write_bytes
from blursynth.shards.reader import Shard
from blursynth.shards.schema import SCHEMA

__all__ = ["MANIFEST_NAME", "Entry", "Manifest"]

MANIFEST_NAME = "manifest.jsonl"
_MAX_BYTES = 1 << 30
_MAX_LINE_BYTES = 1 << 16
_SHARD_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}\.h5")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Entry:
    """One shard. ``planned`` counts the windows laid out for it, ``pairs`` those that became pairs.

    ``settings_sha256`` is of everything that decides the pairs; ``source`` is the clip's file name.
    ``split`` is ``train``, ``val`` or ``test`` where the source has a published split, else empty.
    """

    shard: str
    bytes: int
    sha256: str
    pairs: int
    planned: int
    height: int
    width: int
    source: str
    source_sha256: str
    settings_sha256: str
    split: str = ""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if type(value) is not field.type:
                raise ShardError(f"{field.name} is {value!r}")
        if not _SHARD_NAME.fullmatch(self.shard):
            raise ShardError(f"shard name {printable(self.shard)!r} is not allowed")
        hashes = (self.sha256, self.source_sha256, self.settings_sha256)
        if min(self.bytes, self.pairs, self.height, self.width) < 1 or not all(map(_SHA256.fullmatch, hashes)):
            raise ShardError("a number or hash is out of range")

    def path(self, directory: Path) -> Path:
        """Return where the shard is; a link out of the folder is refused."""
        path = directory / self.shard
        if path.is_symlink() and path.resolve().parent != directory.resolve():
            raise ShardError(f"{printable(path)}: a link out of the folder; refused")
        return path

    def check_size(self, directory: Path) -> None:
        """Refuse a shard that is not there or of another size."""
        path = self.path(directory)
        num_bytes = check_regular_file(path, ShardError).st_size
        if num_bytes != self.bytes:
            raise ShardError(f"{printable(path)}: {num_bytes} bytes, the manifest says {self.bytes}; make it again")

    def is_intact(self, directory: Path) -> bool:
        """Return whether the shard is there with the bytes that were written."""
        try:
            self.check_size(directory)
            return self._digest(self.path(directory)) == self.sha256
        except ShardError:
            return False

    @staticmethod
    def _digest(path: Path) -> str:
        try:
            return sha256_of(path)
        except OSError as error:
            raise ShardError(f"{printable(path)}: cannot be read: {error.strerror or error}") from error

    def verify(self, directory: Path) -> None:
        """Refuse a shard whose bytes are not those that were written, or that cannot be read.

        Raises
        ------
        ShardError
            Saying what is wrong.
        """
        self.check_size(directory)
        path = self.path(directory)
        if self._digest(path) != self.sha256:
            raise ShardError(f"{printable(path)}: its SHA-256 differs from the manifest's; make it again")
        with Shard(path) as shard:
            if (len(shard), shard.size) != (self.pairs, (self.height, self.width)):
                raise ShardError(f"{printable(path)}: holds other pairs than the manifest says; make it again")
            shard.pair(len(shard) - 1)


class Manifest:
    """The entries of a folder, by shard name."""

    def __init__(self, directory: Path, entries: Iterable[Entry] = ()) -> None:
        self.directory = directory
        self._entries = {entry.shard: entry for entry in entries}

    @classmethod
    def read(cls, directory: Path, *, must_exist: bool = True) -> Self:
        """Read a folder's manifest.

        Raises
        ------
        ShardError
            If it is missing (and must not be), damaged or of another schema, or names files outside the folder.
        """
        path = directory / MANIFEST_NAME
        if not path.exists() and not must_exist:
            return cls(directory)
        if not path.exists():
            raise ShardError(f"{printable(directory)}: no {MANIFEST_NAME} here; is it a folder that 'make' wrote?")
        if path.is_file() and path.stat().st_size == 0:
            return cls(directory)  # all was discarded, and nothing made since
        if check_regular_file(path, ShardError).st_size > _MAX_BYTES:
            raise ShardError(f"{printable(path)}: larger than any manifest")
        entries: dict[str, Entry] = {}
        with path.open("rb") as file:
            number = 0
            while line := file.readline(_MAX_LINE_BYTES + 1):
                number += 1
                try:
                    entry = _parsed(line)
                except (ShardError, ValueError, TypeError, RecursionError) as error:
                    raise ShardError(f"{printable(path)}, line {number}: {error}") from error
                if entry.shard in entries:
                    raise ShardError(f"{printable(path)}, line {number}: {entry.shard} is listed twice")
                entries[entry.shard] = entry
        return cls(directory, entries.values())

    def __iter__(self) -> Iterator[Entry]:
        return iter(sorted(self._entries.values(), key=lambda entry: entry.shard))

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, shard: str) -> Entry | None:
        """Return the entry of a shard, None if it is not listed."""
        return self._entries.get(shard)

    def discard(self, shard: str) -> None:
        """Forget a shard; `write` makes it last."""
        self._entries.pop(shard, None)

    def add(self, entry: Entry) -> None:
        """List a shard that is safe on the disk, durably."""
        self._entries[entry.shard] = entry
        self.write()

    def write(self) -> None:
        """Write all entries, sorted, in one step."""
        lines = [json.dumps({"schema": SCHEMA, **asdict(entry)}, ensure_ascii=True) for entry in self]
        write_bytes(self.directory / MANIFEST_NAME, "".join(f"{line}\n" for line in lines).encode(), overwrite=True)


def _parsed(line: bytes) -> Entry:
    if len(line) > _MAX_LINE_BYTES:
        raise ShardError("longer than any line of ours")
    if not line.endswith(b"\n"):
        raise ShardError("cut short")
    values = json.loads(line, object_pairs_hook=_without_repeats, parse_constant=_no_constant)
    if not isinstance(values, dict):
        raise ShardError("not an object")
    schema = values.pop("schema", None)
    if schema != SCHEMA:
        raise ShardError(f"schema {schema!r}; this version reads schema {SCHEMA}: update blursynth")
    if set(values) != {field.name for field in fields(Entry)}:
        raise ShardError("fields are missing or not ours")
    return Entry(**values)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ShardError("a field stands twice")
    return values


def _no_constant(text: str) -> None:
    raise ShardError(f"{text} is not a value of ours")
