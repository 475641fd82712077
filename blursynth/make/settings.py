"""What decides the pairs."""

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

from blursynth.crf import response_curve
from blursynth.errors import SettingsError
from blursynth.shards import CODECS, SCHEMA, Codec
from blursynth.windows import WindowRule

__all__ = ["MakeConfig"]


@dataclass(frozen=True, slots=True)
class MakeConfig:
    """What decides the pairs; stored in every shard.

    Parameters
    ----------
    window
        Frames a blurry image is the mean of: an odd number, or a range of which odd lengths are drawn, ``7-13``.
    stride
        Frames from one window's start to the next one's; None lets them touch.
    crf
        Camera response function, see `blursynth.crf`.
    resize
        (width, height) of the pairs, smaller than the clip and of its shape; None keeps its size.
    source_fps
        The true rate of a clip whose time stamps say another, frames per second.
    codec
        How shards are stored: ``raw`` or ``zstd``.
    seed
        Of every random draw.
    """

    window: str = "7"
    stride: int | None = None
    crf: str = "gamma:2.2"
    resize: tuple[int, int] | None = None
    source_fps: str | None = None
    codec: Codec = "raw"
    seed: int = 0

    def __post_init__(self) -> None:
        # One way to write each value, since the text decides whether settings are the same.
        object.__setattr__(self, "window", str(self.rule()))
        object.__setattr__(self, "crf", response_curve(self.crf).name)
        self.true_frame_rate()
        if self.codec not in CODECS:
            raise SettingsError(f"codec {self.codec!r} is unknown; choose one of {', '.join(CODECS)}")
        if self.resize is not None and min(self.resize) < 16:
            raise SettingsError(f"resize {self.resize[0]}x{self.resize[1]}: 16 pixels a side at least")

    def rule(self) -> WindowRule:
        """Return how windows are laid."""
        return WindowRule.parse(self.window, self.stride)

    def true_frame_rate(self) -> Fraction | None:
        """Return ``source_fps`` as a number."""
        if self.source_fps is None:
            return None
        try:
            if not re.fullmatch(r"[0-9]{1,9}([./][0-9]{1,9})?", self.source_fps):
                raise ValueError("not a plain number")  # an exponent could ask for a billion digits
            rate = Fraction(self.source_fps)
        except (ValueError, ZeroDivisionError, OverflowError) as error:
            raise SettingsError(f"source fps {self.source_fps!r}: write a number such as 240 or 240000/1001") from error
        if not 1 <= rate <= 1_000_000:
            raise SettingsError(f"source fps {self.source_fps}: must be from 1 to 1000000")
        return rate

    def settings(self) -> dict[str, Any]:
        """Return the settings as plain values, for JSON."""
        return asdict(self)

    def sha256(self) -> str:
        """Return a hash of the settings."""
        return hashlib.sha256(json.dumps([SCHEMA, self.settings()], sort_keys=True).encode()).hexdigest()
