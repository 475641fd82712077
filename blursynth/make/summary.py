"""What became of the clips."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from blursynth.files import printable
from blursynth.make.folder import Folder
from blursynth.make.plan import ClipPlan
from blursynth.make.tasks import Results
from blursynth.radiometry import NoiseLevel
from blursynth.windows import WindowRule, gaps, plan_windows

__all__ = ["ClipSummary", "MakeSummary", "sum_up"]


@dataclass(frozen=True, slots=True)
class ClipSummary:
    """What became of one clip.

    ``planned`` windows, ``pairs`` made now or before, ``rejected`` windows by reason (``cut``, ``motion``, ``ghost``,
    ``sharpness``, ``damaged``), and what there is to say.
    """

    path: Path
    planned: int = 0
    pairs: int = 0
    shards: tuple[str, ...] = ()
    rejected: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    error: str | None = None
    same_as: Path | None = None
    is_cut_short: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether nothing was lost: every window became a pair or was left out for what it shows."""
        return self.error is None and not self.is_cut_short and not self.rejected.get("damaged")


@dataclass(frozen=True, slots=True)
class MakeSummary:
    """What `make_dataset` did."""

    output: Path
    clips: tuple[ClipSummary, ...]

    @property
    def pairs(self) -> int:
        """How many pairs the folder holds of these clips."""
        return sum(clip.pairs for clip in self.clips)

    @property
    def rejected(self) -> dict[str, int]:
        """How many windows of all clips did not become pairs, by reason."""
        return dict(sorted(sum((Counter(clip.rejected) for clip in self.clips), Counter()).items()))

    @property
    def is_whole(self) -> bool:
        """Whether every clip gave all its pairs."""
        return all(clip.is_whole for clip in self.clips)


def sum_up(plan: ClipPlan, folder: Folder, results: Results) -> ClipSummary:
    """Tell what became of a clip, in this run and before."""
    info = plan.info
    if plan.sha256 in results.errors:
        return ClipSummary(info.path, error=results.errors[plan.sha256])
    entries = [entry for part in plan.parts if (entry := folder.manifest.get(part.shard))]
    pairs = sum(entry.pairs for entry in entries)
    rejected = _rejected(plan, folder, results)
    if rejected.get("damaged") == plan.num_windows:
        error = f"{printable(info.path)}: every window touches damaged frames; re-encode or copy the clip again"
        return ClipSummary(info.path, error=error)
    shards = tuple(entry.shard for entry in entries if entry.pairs)
    notes = tuple(_notes(plan, rejected, results.levels.get(plan.sha256)))
    return ClipSummary(info.path, plan.num_windows, pairs, shards, rejected, notes, is_cut_short=info.is_cut_short)


def _rejected(plan: ClipPlan, folder: Folder, results: Results) -> dict[str, int]:
    """Add up why windows did not become pairs, now or in an earlier run."""
    total: Counter[str] = Counter()
    for part in plan.parts:
        entry = folder.manifest.get(part.shard)
        told = results.rejected.get(part.shard)
        if told is None and entry:
            told = entry.rejections
        total.update(told or {})
    return dict(sorted(total.items()))


def _notes(plan: ClipPlan, rejected: dict[str, int], level: NoiseLevel | None) -> list[str]:
    info, config = plan.info, plan.config
    notes = [*info.notes, *info.rate_notes]
    if info.is_cut_short:
        promised = f" of {info.num_frames_from_header}" if info.num_frames_from_header else ""
        notes.append(f"cut short: {info.num_frames}{promised} frames can be read")
    rule = config.rule()
    if (num_gaps := len(gaps(info.pts, info.step))) and isinstance(rule, WindowRule):
        unbroken = plan_windows(np.arange(info.num_frames), rule, seed=config.seed, source=plan.sha256)
        notes.append(f"{num_gaps} gap(s) in its times cost {len(unbroken) - plan.num_windows} windows")
    elif num_gaps:
        notes.append(f"{num_gaps} gap(s) in its times, which no exposure crosses")
    if level is not None:
        found = f"shot {level.shot:.2g}, read {level.read:.2g} in linear light" if level.shot or level.read else "none"
        notes.append(f"noise of a frame: {found}")
    if damaged := rejected.get("damaged"):
        notes.append(f"damaged: {damaged} of {plan.num_windows} windows dropped")
    if left_out := {reason: count for reason, count in rejected.items() if reason != "damaged"}:
        reasons = ", ".join(f"{count} for {reason}" for reason, count in left_out.items())
        notes.append(f"{sum(left_out.values())} of {plan.num_windows} windows left out: {reasons}")
    return notes
