"""Scores of images as they are finished, line by line, so that a killed evaluation goes on where it was."""

import hashlib
import json
import math
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import blursynth
from blursynth.errors import OutputError
from blursynth.files import append_line, as_output_error, printable, write_bytes

from .results import RESULTS_SCHEMA, ImageScore

__all__ = ["ScoreLog", "key_of"]

_NAME = "scores-so-far.jsonl"
_MAX_BYTES = 1 << 30


def key_of(checkpoint_sha256: str, definitions: Collection[str], settings: Mapping[str, Any]) -> str:
    """Return a hash of everything beside the pixels that decides the scores of an image."""
    decisive = [RESULTS_SCHEMA, blursynth.__version__, checkpoint_sha256, list(definitions), dict(settings)]
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


class ScoreLog:
    """Keeps scores by (key, hash of the pair): what no longer fits is never found, and dropped from the file.

    Parameters
    ----------
    directory
        Where the log is; None keeps nothing.
    keys
        Of this run, each with its number of metrics; lines of other runs are dropped.
    """

    def __init__(self, directory: Path | None, keys: Mapping[str, int]) -> None:
        self._path = directory / _NAME if directory else None
        self._scores: dict[tuple[str, str], ImageScore] = {}
        self.was_there = self._path is not None and self._path.exists()
        if self._path and self.was_there:
            self._read(self._path, keys)

    def _read(self, path: Path, keys: Mapping[str, int]) -> None:
        if not path.is_file() or path.stat().st_size > _MAX_BYTES:
            raise OutputError(f"{printable(path)}: not the log of an evaluation; choose another output")
        kept = []
        with as_output_error(path):
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        for line in lines:
            read = _read_line(line, keys)
            if read:
                self._scores[read[0], read[1].sha256] = read[1]
                kept.append(f"{line}\n")
        write_bytes(path, "".join(kept).encode(), overwrite=True)  # its last line may have been cut short

    def __len__(self) -> int:
        return len(self._scores)

    def find(self, key: str, sha256: str) -> ImageScore | None:
        """Return the score of a pair from before; its name may have changed since."""
        return self._scores.get((key, sha256))

    def add(self, key: str, score: ImageScore) -> None:
        """Note a score."""
        if self._path:
            append_line(self._path, json.dumps({"key": key, **asdict(score)}, allow_nan=False))

    def remove(self) -> None:
        """Remove the file; the results stand elsewhere."""
        if self._path:
            with as_output_error(self._path):
                self._path.unlink(missing_ok=True)


def _read_line(line: str, keys: Mapping[str, int]) -> tuple[str, ImageScore] | None:
    """Return key and score of a line; None if it is of another run, or damaged."""
    try:
        values = json.loads(line)
        key = values.pop("key")
        score = ImageScore(**values | {"values": tuple(map(float, values["values"]))})
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError):
        return None
    is_sound = all(isinstance(text, str) for text in (key, score.name, score.sequence, score.sha256))
    is_sound = is_sound and isinstance(score.seconds, float | None) and isinstance(score.peak_bytes, int | None)
    is_sound = is_sound and isinstance(score.kept_tiles, int) and all(map(math.isfinite, score.values))
    return (key, score) if is_sound and keys.get(key) == len(score.values) else None
