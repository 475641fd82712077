"""The manifest of a folder: one line for each shard that is whole, written after the shard itself is safe.

A line without its shard cannot happen; a shard without its line can, after a crash, and is written again. Runs that
share a folder (``make --part 2/8``) have a manifest each, ``manifest-2-of-8.jsonl``; readers take them together.
"""

import itertools
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from blursynth import recordings
from blursynth.errors import ShardError
from blursynth.files import check_regular_file, printable, sha256_of, write_bytes
from blursynth.shards.reader import Shard
from blursynth.shards.schema import SCHEMA

__all__ = ["MANIFEST_NAME", "SPLITS", "Entry", "Manifest"]

MANIFEST_NAME = "manifest.jsonl"
SPLITS = ("", *recordings.SPLITS)
_PART_NAME = re.compile(r"manifest-([1-9][0-9]{0,6})-of-([1-9][0-9]{0,6})\.jsonl")
_MAX_TOLD_PARTS = 20
_MAX_NUMBER = 10**15
_MAX_BYTES = 1 << 30
_MAX_LINE_BYTES = 1 << 16
_SHARD_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}\.h5")
_REJECTED = re.compile(r"(?:[a-z]{1,20} [0-9]{1,9}(?:, [a-z]{1,20} [0-9]{1,9}){0,20})?")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Entry:
    """One shard. ``planned`` counts the windows laid out for it, ``pairs`` those that became pairs.

    ``settings_sha256`` is of everything that decides the pairs; ``source`` is the clip's file name.
    ``split`` is ``train``, ``val`` or ``test``, or empty where nothing was said. ``recording`` names what was filmed in
    one go: clips of one recording show the same scene and belong into one split. ``rejected`` tells why windows did
    not become pairs, for example ``cut 2, ghost 5``. Without ``pairs`` there is no file: all its windows were rejected.
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
    recording: str = ""
    rejected: str = ""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if type(value) is not field.type:
                raise ShardError(f"{field.name} is {value!r}")
        if not _SHARD_NAME.fullmatch(self.shard):
            raise ShardError(f"shard name {printable(self.shard)!r} is not allowed")
        hashes = (self.sha256, self.source_sha256, self.settings_sha256)
        numbers = (self.bytes, self.pairs, self.planned, self.height, self.width)
        if max(numbers) > _MAX_NUMBER or self.planned < self.pairs:
            raise ShardError("a number is out of range")
        is_sized = (self.pairs > 0) == (self.bytes > 0) and min(self.bytes, self.pairs) >= 0
        if not is_sized or min(self.height, self.width) < 1 or not all(map(_SHA256.fullmatch, hashes)):
            raise ShardError("a number or hash is out of range")
        if self.split not in SPLITS:
            raise ShardError(f"split is {printable(self.split)!r}")
        if not _REJECTED.fullmatch(self.rejected):
            raise ShardError(f"rejected is {printable(self.rejected)!r}")

    @property
    def rejections(self) -> dict[str, int]:
        """Why how many windows did not become pairs."""
        return {reason: int(count) for reason, count in (item.split() for item in self.rejected.split(", ") if item)}

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
        """Return whether the shard is there with the bytes that were written, or belongs to no file."""
        if not self.pairs:
            return True
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
        with self.opened(directory) as shard:
            shard.pair(len(shard) - 1)

    def opened(self, directory: Path) -> Shard:
        """Open the shard, whose bytes are not checked: their number, the pairs and where they come from are.

        Raises
        ------
        ShardError
            If it is not there, or is another shard under this name.
        """
        self.check_size(directory)
        shard = Shard(self.path(directory))
        found = (len(shard), shard.size, shard.attributes.get("source_sha256", self.source_sha256))
        if found != (self.pairs, (self.height, self.width), self.source_sha256):
            shard.close()
            raise ShardError(f"{printable(shard.path)}: holds other pairs than the manifest says; make it again")
        return shard


class Manifest:
    """The entries of a folder, by shard name.

    ``part`` is (K, N) for the K-th of N runs that share the folder: what it adds goes into a file of its own.
    """

    def __init__(self, directory: Path, entries: Iterable[Entry] = (), *, part: tuple[int, int] | None = None) -> None:
        self.directory = directory
        self._part = part
        self._name = f"manifest-{part[0]}-of-{part[1]}.jsonl" if part else MANIFEST_NAME
        self._entries = {entry.shard: entry for entry in entries}
        self._of_others: dict[str, Entry] = {}

    @classmethod
    def read(cls, directory: Path, *, must_exist: bool = True, part: tuple[int, int] | None = None) -> Self:
        """Read the manifests of a folder.

        Raises
        ------
        ShardError
            If there is none (and there must be), or one is damaged, of another schema, or names files outside the
            folder.
        """
        manifest = cls(directory, part=part)
        names = {MANIFEST_NAME, *(path.name for path in directory.glob("manifest-*.jsonl"))}
        names = {name for name in names if name == MANIFEST_NAME or _PART_NAME.fullmatch(name)}
        paths = [directory / name for name in sorted(names) if (directory / name).exists()]
        if not paths and must_exist:
            raise ShardError(f"{printable(directory)}: no {MANIFEST_NAME} here; is it a folder that 'make' wrote?")
        for path in paths:
            entries = manifest._entries if path.name == manifest._name else manifest._of_others
            for shard, entry in _entries(path).items():
                if manifest._all().get(shard, entry) != entry:
                    raise ShardError(f"{printable(path)}: {shard} is listed otherwise in another manifest; remove one")
                entries[shard] = entry
        return manifest

    def _all(self) -> dict[str, Entry]:
        return {**self._of_others, **self._entries}

    def __iter__(self) -> Iterator[Entry]:
        """Give the entries that have pairs, by name."""
        return (entry for entry in self.everything() if entry.pairs)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def everything(self) -> list[Entry]:
        """Return all entries, those without pairs too, by name."""
        return sorted(self._all().values(), key=lambda entry: entry.shard)

    def get(self, shard: str) -> Entry | None:
        """Return the entry of a shard, None if it is not listed."""
        return self._all().get(shard)

    def missing_parts(self) -> tuple[str, ...]:
        """Name the shares of an array job that have no manifest here, as ``K/N``, at most twenty of them.

        They have not begun, or never will; a share that had no sources has an empty manifest.
        """
        names = (_PART_NAME.fullmatch(path.name) for path in self.directory.glob("manifest-*.jsonl"))
        parts = {(int(name[1]), int(name[2])) for name in names if name}
        missing = (f"{k}/{n}" for n in sorted({n for _, n in parts}) for k in range(1, n + 1) if (k, n) not in parts)
        return tuple(itertools.islice(missing, _MAX_TOLD_PARTS))

    def discard(self, shard: str) -> bool:
        """Forget a shard and return whether this run may: a share's manifest is its own. `write` makes it last."""
        mine = self._entries.pop(shard, None) is not None
        return mine or (self._part is None and self._of_others.pop(shard, None) is not None)

    def is_ours(self, shard: str) -> bool:
        """Return whether this run's own manifest lists a shard."""
        return shard in self._entries

    def add(self, entry: Entry) -> None:
        """List a shard that is safe on the disk, durably."""
        self._entries[entry.shard] = entry
        self.write()

    def write(self) -> None:
        """Write the entries of this run's manifest, sorted, in one step.

        A run that has the folder to itself takes the manifests of earlier shares over.
        """
        if self._part is None:
            self._entries, self._of_others = self._all(), {}
        entries = sorted(self._entries.values(), key=lambda entry: entry.shard)
        lines = [json.dumps({"schema": SCHEMA, **asdict(entry)}, ensure_ascii=True) for entry in entries]
        write_bytes(self.directory / self._name, "".join(f"{line}\n" for line in lines).encode(), overwrite=True)
        if self._part is None:
            for path in self.directory.glob("manifest-*.jsonl"):
                if _PART_NAME.fullmatch(path.name):
                    path.unlink()


def _entries(path: Path) -> dict[str, Entry]:
    if path.is_file() and path.stat().st_size == 0:
        return {}  # all was discarded, and nothing made since
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
    return entries


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
