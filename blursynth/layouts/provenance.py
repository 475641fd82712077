"""What an imported shard says of where its pictures came from, and what it says of GOPRO's frames."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from blursynth.gopro import GOPRO_FRAME_RATE, GoproPair, gopro_clips, pairs_of
from blursynth.radiometry import OFF
from blursynth.shards import Shard

__all__ = ["Origin", "gopro_pairs", "recording_key", "row_of"]

_NUMBERED = re.compile(r"(\d{1,15})(?:_s\d{3,})?")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a pair came from: its name in the tree, its name within the sequence, SHA-256 of both files."""

    name: str
    frame: str
    blurry_sha256: str = ""
    sharp_sha256: str = ""

    @staticmethod
    def attributes(origins: Sequence["Origin"]) -> dict[str, Any]:
        """Return arrays of bytes, one value to a pair, as a shard stores them."""
        rows = [asdict(origin) for origin in origins]
        return {f"origin_{field}": np.array([_encoded(row[field]) for row in rows], "S") for field in Origin.__slots__}

    @classmethod
    def of_shard(cls, shard: Shard) -> list[Self] | None:
        """Return the origins of a shard's pairs; None if it was not imported."""
        columns = [shard.attributes.get(f"origin_{field}") for field in ("name", "frame")]
        if not all(
            isinstance(column, np.ndarray) and column.shape == (len(shard),) and column.dtype.kind == "S"
            for column in columns
        ):
            return None
        names, frames = ([_decoded(value) for value in column.tolist()] for column in columns if column is not None)
        return [cls(name, frame) for name, frame in zip(names, frames, strict=True)]

    @property
    def num_bytes(self) -> int:
        """How long its longest value is in a shard."""
        return max(64, len(_encoded(self.name)), len(_encoded(self.frame)))


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _decoded(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def gopro_pairs(sequence: str) -> Mapping[str, GoproPair]:
    """Return the pairs of a clip of GOPRO_Large by their file names' numbers; none of any other sequence."""
    clip = next((clip for clip in gopro_clips() if clip.name == sequence), None)
    return {f"{pair.number:06}": pair for pair in pairs_of(clip)} if clip else {}


def recording_key(sequence: str, split: str, recording: str) -> str:
    """Return a recording's key; one that is a bare number says nothing beyond its own side of the split."""
    return f"{split} {sequence}".strip() if recording.isdecimal() else recording


def row_of(position: int, frame: str, known: Mapping[str, GoproPair], saturated: float) -> dict[str, int | float]:
    """Return the fields of PAIR_DTYPE that are known of an imported pair.

    Parameters
    ----------
    position
        Of the pair in its sequence.
    frame
        Its name there; a number is the centre frame.
    known
        What is known of the frames of GOPRO, from `gopro_pairs`.
    saturated
        The share of the highest code in its sharp image.
    """
    light = asdict(OFF)
    row: dict[str, int | float] = {
        "number": position,
        "noise_key": light.pop("key"),
        **light,
        "output_crf": -1,
        "saturated_fraction": saturated,
    }
    match = _NUMBERED.fullmatch(frame)
    if match and (pair := known.get(match[1])):
        count = len(pair.frames)
        frames = {"first": pair.first, "centre": pair.centre, "last": pair.last}
        row |= {f"{name}_frame": number for name, number in frames.items()}
        row |= {f"{name}_pts": number for name, number in frames.items()}
        return row | {
            "num_frames": count,
            "exposure_seconds": count / GOPRO_FRAME_RATE,
            "effective_frames": float(count),
        }
    number = int(match[1]) if match else position
    return row | {"first_frame": number, "centre_frame": number, "last_frame": number}
