"""What a rebuilding did and found."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from itertools import chain
from typing import Any

from blursynth.files import printable

__all__ = ["ClipReport", "Comparison", "RebuildReport"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """How many rebuilt images of one kind are the published ones, bit for bit."""

    compared: int = 0
    exact: int = 0
    max_difference: int = 0
    """The largest difference of a code in any of them; 255 where the size differs."""
    not_published: int = 0
    """Rebuilt, but with nothing readable to compare with."""

    @classmethod
    def of(cls, differences: Iterable[int | None]) -> "Comparison":
        """Count largest differences, one an image; None stands for an image that was not published."""
        found = list(differences)
        known = [difference for difference in found if difference is not None]
        return cls(len(known), known.count(0), max(known, default=0), len(found) - len(known))

    def __add__(self, other: "Comparison") -> "Comparison":
        return Comparison(
            self.compared + other.compared,
            self.exact + other.exact,
            max(self.max_difference, other.max_difference),
            self.not_published + other.not_published,
        )

    def __str__(self) -> str:
        rest = f"; {self.not_published} have none to compare with" if self.not_published else ""
        return f"{self.exact} of {self.compared} bit-exact, largest difference {self.max_difference}{rest}"


@dataclass(frozen=True, slots=True)
class ClipReport:
    """What became of a clip's pairs, which are known by their numbers in GOPRO_Large."""

    clip: str
    split: str
    pairs: int
    made: int = 0
    kept: int = 0
    """There already, from an earlier run."""
    impossible: tuple[int, ...] = ()
    """Pairs whose window begins before the first published frame."""
    not_made: tuple[int, ...] = ()
    """Pairs that lack a frame, or have a damaged one."""
    missing_frames: tuple[int, ...] = ()
    """The file numbers in GOPRO_Large_all that ``not_made`` lacks."""
    damaged: tuple[str, ...] = ()
    """What is wrong with files that are there."""
    comparisons: Mapping[str, Comparison] = field(default_factory=dict)
    """By kind: ``blur``, ``sharp``, ``blur_gamma``."""

    @property
    def path(self) -> str:
        """Where it is in the data set."""
        return f"{self.split}/{self.clip}"


@dataclass(frozen=True, slots=True)
class RebuildReport:
    """What became of all clips."""

    clips: tuple[ClipReport, ...]

    @property
    def pairs(self) -> int:
        """Pairs that were planned."""
        return sum(clip.pairs for clip in self.clips)

    @property
    def rebuilt(self) -> int:
        """Pairs that were made, now or in an earlier run."""
        return sum(clip.made + clip.kept for clip in self.clips)

    @property
    def impossible(self) -> tuple[str, ...]:
        """The pairs that cannot be made from GOPRO_Large_all, such as ``test/GOPR0384_11_05/004001``."""
        return tuple(f"{clip.path}/{number:06}" for clip in self.clips for number in clip.impossible)

    @property
    def not_made(self) -> int:
        """How many pairs failed for want of a good frame."""
        return sum(len(clip.not_made) for clip in self.clips)

    @property
    def comparisons(self) -> dict[str, Comparison]:
        """The comparisons of all clips together, by kind."""
        kinds = dict.fromkeys(chain.from_iterable(clip.comparisons for clip in self.clips))
        none = Comparison()
        return {kind: sum((clip.comparisons.get(kind, none) for clip in self.clips), none) for kind in kinds}

    @property
    def differing(self) -> int:
        """How many rebuilt images of ``blur`` and ``sharp`` are not the published ones."""
        exact_kinds = (found for kind, found in self.comparisons.items() if kind != "blur_gamma")
        return sum(found.compared - found.exact for found in exact_kinds)

    def values(self) -> dict[str, Any]:
        """Return the report as plain values, for JSON."""
        return {
            "pairs": self.pairs,
            "rebuilt": self.rebuilt,
            "impossible": list(self.impossible),
            "not_made": self.not_made,
            "comparisons": {kind: asdict(found) for kind, found in self.comparisons.items()},
            "clips": [asdict(clip) for clip in self.clips],
        }

    def text(self) -> str:
        """Return the report for a person to read."""
        lines = [f"{self.rebuilt} of {self.pairs} pairs rebuilt"]
        if self.impossible:
            lines.append(f"{len(self.impossible)} cannot be: their windows begin before the first published frame")
            lines += [f"  {name}" for name in self.impossible]
        if self.not_made:
            lines.append(f"{self.not_made} lack frames:")
            lines += [f"  {line}" for clip in self.clips for line in _wants(clip)]
        for kind, found in self.comparisons.items():
            lines.append(f"{kind}: {found}")
            parts = [(clip.path, clip.comparisons.get(kind, Comparison())) for clip in self.clips]
            lines += [f"  {path}: {part}" for path, part in parts if part.exact < part.compared]
        return "\n".join(lines)


def _wants(clip: ClipReport) -> list[str]:
    missing = [f"{clip.path}: no frames {_ranges(clip.missing_frames)}"] if clip.missing_frames else []
    return missing + [printable(line) for line in clip.damaged]


def _ranges(numbers: Iterable[int]) -> str:
    """Write ``000001-000011, 000020``."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(f"{first:06}" if first == last else f"{first:06}-{last:06}" for first, last in runs)
