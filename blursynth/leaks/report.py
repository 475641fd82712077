"""What an audit found."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from blursynth.files import printable

__all__ = ["AuditReport", "LookAlike", "NearInTime", "SameContent", "SharedRecording", "Side"]

_MAX_LINES = 20  # of one kind of finding, for a person to read
TwoClips: TypeAlias = tuple[tuple[str, str], tuple[str, str]]  # split and name of each


@dataclass(frozen=True, slots=True)
class SharedRecording:
    """A recording that supplies several sides; ``clips`` are its clips by side."""

    key: str
    clips: Mapping[str, tuple[str, ...]]

    def __str__(self) -> str:
        return f"{self.key}: {_by_side(self.clips)}"


@dataclass(frozen=True, slots=True)
class SameContent:
    """A source file, known by its SHA-256, that supplies several sides."""

    key: str
    clips: Mapping[str, tuple[str, ...]]

    def __str__(self) -> str:
        return f"{self.key[:12]}…: {_by_side(self.clips)}"


@dataclass(frozen=True, slots=True)
class NearInTime:
    """Two clips of one recording on two sides, and the time between their nearest pairs."""

    recording: str
    clips: TwoClips
    gap_seconds: float

    def __str__(self) -> str:
        return f"{self.gap_seconds:.1f} s between {_two(self.clips)}"


@dataclass(frozen=True, slots=True)
class LookAlike:
    """Two clips on two sides with images that look the same.

    ``images`` are the two that are most alike, ``distance_bits`` the distance of their hashes, ``count`` how many
    pairs of images look the same.
    """

    clips: TwoClips
    count: int
    images: tuple[str, str]
    distance_bits: int

    def __str__(self) -> str:
        return f"{_two(self.clips)}: {self.count}, nearest {self.images[0]} and {self.images[1]}"


@dataclass(frozen=True, slots=True)
class Side:
    """A side of the split; what leaks is known to another side by recording, file or looks."""

    split: str
    recordings: int
    clips: int
    pairs: int
    leaking_clips: int
    leaking_pairs: int

    def __str__(self) -> str:
        pairs = f" ({self.leaking_pairs} of {self.pairs} pairs)" if self.pairs else ""
        return (
            f"{self.split}: {self.recordings} recordings; "
            f"{self.leaking_clips} of {self.clips} clips{pairs} are known to another side"
        )


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What an audit found, and how much it looked at."""

    sides: tuple[Side, ...]
    min_gap_seconds: float
    recordings: tuple[SharedRecording, ...]
    near_in_time: tuple[NearInTime, ...]
    same_content: tuple[SameContent, ...]
    look_alikes: tuple[LookAlike, ...]
    images: int
    flat_images: int
    """Images too flat to tell from one another; they were not compared."""

    @property
    def has_leaks(self) -> bool:
        """Whether a side knows anything of another."""
        return any(side.leaking_clips for side in self.sides)

    def values(self) -> dict[str, Any]:
        """Return the report as plain values, for JSON."""
        return {"has_leaks": self.has_leaks, **asdict(self)}

    def text(self) -> str:
        """Return the report for a person to read."""
        lines = [str(side) for side in self.sides]
        for title, findings in (
            ("recordings on several sides", self.recordings),
            (f"clips of one recording less than {self.min_gap_seconds:g} s apart", self.near_in_time),
            ("files on several sides", self.same_content),
            ("clips with images that look the same", self.look_alikes),
        ):
            lines.append(f"{title}: {len(findings) or 'none'}")
            lines += [f"  {finding}" for finding in findings[:_MAX_LINES]]
            if len(findings) > _MAX_LINES:
                lines.append(f"  and {len(findings) - _MAX_LINES} more (--json lists all)")
        flat = f", {self.flat_images} too flat to tell" if self.flat_images else ""
        lines.append(f"images compared: {self.images - self.flat_images}{flat}")
        return "\n".join(printable(line) for line in lines)


def _by_side(clips: Mapping[str, tuple[str, ...]]) -> str:
    return "; ".join(f"{side} {', '.join(names)}" for side, names in clips.items())


def _two(clips: TwoClips) -> str:
    return " and ".join(f"{split}/{name}" for split, name in clips)
