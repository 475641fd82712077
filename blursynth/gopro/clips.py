"""The 33 clips of GOPRO_Large as a plan, integers only.

Frames are known by their file numbers in GOPRO_Large_all, taken at 240 frames/s. A clip is called GOPRxxxx_yy_zz:
xxxx is the recording, yy = N the frames of a blurry image (7, 11 or 13). Windows touch, and the middle frame of pair k
is number

    (k - 1) N + (N + 1) / 2 - zz

in every clip but GOPR0378_13_00, where 22000 is to be added. GOPRO_Large_all begins each clip with frame
(first pair - 1) N + 1, so where zz > 0 the window of the first pair begins zz frames too early: these 14 blurry
images cannot be made from what was published.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

__all__ = ["GOPRO_FRAME_RATE", "GoproClip", "GoproPair", "gopro_clips", "pairs_of"]

GOPRO_FRAME_RATE = 240  # frames/s


@dataclass(frozen=True, slots=True)
class GoproPair:
    """A pair and its window; ``first``, ``centre`` and ``last`` are file numbers in GOPRO_Large_all, all included."""

    number: int
    first: int
    centre: int
    last: int
    is_published_whole: bool
    """Whether GOPRO_Large_all holds every frame of the window."""

    @property
    def frames(self) -> range:
        """The file numbers of the window."""
        return range(self.first, self.last + 1)


@dataclass(frozen=True, slots=True)
class GoproClip:
    """A clip of GOPRO_Large: pairs ``first_pair`` to ``last_pair``, both included, are its file numbers there."""

    name: str
    split: str
    frames_per_blur: int
    first_pair: int
    last_pair: int
    first_centre_frame: int
    last_centre_frame: int

    @property
    def pairs(self) -> int:
        """How many pairs it has."""
        return self.last_pair - self.first_pair + 1

    @property
    def counter(self) -> int:
        """The zz of its name, which counts the clips of a recording and shifts the windows."""
        return int(self.name.split("_")[2])

    def centre(self, pair: int) -> int:
        """Return the file number of the sharp frame of a pair."""
        return self.first_centre_frame + (pair - self.first_pair) * self.frames_per_blur


@cache
def gopro_clips() -> tuple[GoproClip, ...]:
    """Return the 33 clips: 22 of ``train``, then 11 of ``test``."""
    text = files("blursynth.gopro").joinpath("clips.csv").read_text(encoding="utf-8")
    return tuple(_clips(line for line in text.splitlines() if not line.startswith("#")))


def _clips(lines: Iterator[str]) -> Iterator[GoproClip]:
    for row in csv.DictReader(lines):
        numbers = {name: int(value) for name, value in row.items() if name not in {"clip", "split"}}
        yield GoproClip(row["clip"], row["split"], **numbers)


def pairs_of(clip: GoproClip) -> tuple[GoproPair, ...]:
    """Return the pairs of a clip in order; no frame is in two windows."""
    half = clip.frames_per_blur // 2
    centres = ((number, clip.centre(number)) for number in range(clip.first_pair, clip.last_pair + 1))
    return tuple(
        GoproPair(number, centre - half, centre, centre + half, number > clip.first_pair or clip.counter == 0)
        for number, centre in centres
    )
