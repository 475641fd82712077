"""Find the clips that pairs were made from; shards know their names and what is in them, not where they are."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from blursynth.errors import RefusedError, VideoError
from blursynth.files import check_regular_file, printable, sha256_of
from blursynth.shards import Entry
from blursynth.video import VideoInfo, describe

__all__ = ["ClipFinder"]

_MAX_FILES = 20_000


class ClipFinder:
    """Looks for clips by name in files and folders, and makes sure of them by their SHA-256."""

    def __init__(self, places: Sequence[Path]) -> None:
        self.places = tuple(dict.fromkeys(places))
        self._by_name: dict[str, list[Path]] | None = None
        self._known: dict[tuple[str, str], VideoInfo | None] = {}

    def find(self, entry: Entry) -> VideoInfo | None:
        """Return the clip that a shard was made from, or None if it is not there or not a clip."""
        key = entry.source, entry.source_sha256
        if key not in self._known:
            self._known[key] = next(self._matches(entry), None)
        return self._known[key]

    def _matches(self, entry: Entry) -> Iterator[VideoInfo]:
        if self._by_name is None:
            self._by_name = {}
            for path in _files(self.places):
                self._by_name.setdefault(printable(path.name), []).append(path)
        for path in self._by_name.get(entry.source, []):
            try:
                check_regular_file(path, VideoError)
                if sha256_of(path) == entry.source_sha256:
                    yield describe(path)
            except (OSError, RefusedError):
                continue


def _files(places: Iterable[Path]) -> Iterator[Path]:
    """Yield the files of the places, those in a folder by name; a folder with very many is not searched to its end."""
    for place in places:
        if place.is_dir():
            try:
                inside = sorted(entry for _, entry in zip(range(_MAX_FILES), place.iterdir(), strict=False))
            except OSError:
                continue
            yield from inside
        else:
            yield place
