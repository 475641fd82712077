"""What training would already know of what it is tested on: the audit of the folder's own split."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from blursynth.leaks import AuditedClip, AuditReport, audit, read_clips
from blursynth.pages import escape, table
from blursynth.progress import SILENT, Progress
from blursynth.shards import Entry

__all__ = ["split_section"]

_MAX_SHARDS = 2_000
_MAX_IMAGES = 2_000
_MAX_FINDINGS = 12
_NOT_SPLIT = (
    "<p>No split was made (<code>--split train:0.8,val:0.1,test:0.1</code>), so there are no sides that could know of "
    "one another. To audit this folder against another: <code>blursynth audit train=HERE test=THERE</code>.</p>\n"
)


def split_section(directory: Path, entries: Sequence[Entry], *, progress: Progress = SILENT) -> str:
    """Return HTML: what the sides of a folder's split have in common, looking at 2000 images at most.

    Raises
    ------
    RefusedError
        If a shard cannot be read.
    """
    sides = {entry.split for entry in entries if entry.pairs}
    if sides <= {""}:
        return _NOT_SPLIT
    if len(sides) < 2 or "" in sides:
        shown = ", ".join(sorted(side or "no side" for side in sides))
        return f"<p>The shards are on {escape(shown)}: there is nothing to compare.</p>\n"
    if len(entries) > _MAX_SHARDS:
        return f"<p>{len(entries):,} shards are too many to audit here: <code>blursynth audit</code> does it.</p>\n"
    pairs_of = {entry.shard: entry.pairs for entry in entries}
    clips = read_clips([str(directory)])
    bounded = _bounded(clips, pairs_of)
    report = audit(bounded, progress=progress)
    return _told(report, sum(clip.pairs for clip in clips))


def _bounded(clips: Sequence[AuditedClip], pairs_of: Mapping[str, int]) -> list[AuditedClip]:
    """Return the clips with as many of their shards as show about 2000 images together, taken from all in turn."""
    left = _MAX_IMAGES
    kept: list[list[Path]] = [[] for _ in clips]
    for turn in range(max((len(clip.images) for clip in clips), default=0)):
        for number, clip in enumerate(clips):
            if left > 0 and turn < len(clip.images):
                kept[number].append(clip.images[turn])
                left -= pairs_of.get(clip.images[turn].name, 0)
    return [dataclasses.replace(clip, images=tuple(images)) for clip, images in zip(clips, kept, strict=True)]


def _told(report: AuditReport, num_pairs: int) -> str:
    rows = [
        (side.split, side.recordings, side.clips, f"{side.pairs:,}", side.leaking_clips, f"{side.leaking_pairs:,}")
        for side in report.sides
    ]
    columns = ("Side", "Recordings", "Clips", "Pairs", "Clips known elsewhere", "Pairs known elsewhere")
    verdict = (
        '<p class="notice">The split leaks: what is tested on is partly known from training.</p>\n'
        if report.has_leaks
        else "<p>Nothing of one side was found on another.</p>\n"
    )
    looked = f"{report.images:,} of {num_pairs:,} sharp images were compared"
    flat = f", {report.flat_images:,} of them too flat to tell" if report.flat_images else ""
    findings = "".join(
        _list(title, found)
        for title, found in (
            ("Recordings on several sides", report.recordings),
            ("The same file on several sides", report.same_content),
            (f"Clips of one recording less than {report.min_gap_seconds:g} s apart", report.near_in_time),
            ("Clips with images that look the same", report.look_alikes),
        )
    )
    return verdict + table(columns, rows, caption=f"{looked}{flat}", numbers=(1, 2, 3, 4, 5)) + findings


def _list(title: str, findings: Sequence[object]) -> str:
    if not findings:
        return ""
    items = "".join(f"<li>{escape(found)}</li>\n" for found in findings[:_MAX_FINDINGS])
    more = f"<li>and {len(findings) - _MAX_FINDINGS} more</li>\n" if len(findings) > _MAX_FINDINGS else ""
    return f'<h3>{escape(title)}: {len(findings)}</h3>\n<ul class="small">\n{items}{more}</ul>\n'
