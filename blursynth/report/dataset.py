"""The page of a folder of shards."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

import blursynth
from blursynth.errors import RefusedError, SettingsError
from blursynth.pages import escape, histogram, page
from blursynth.progress import SILENT, Progress
from blursynth.report.gallery import chosen_pairs, gallery, pair_link, pair_name
from blursynth.report.measures import MEASURES, Sort, check_sort
from blursynth.report.pairs import PairTable, read_pairs
from blursynth.report.recipe import settings_of
from blursynth.report.slices import cut_slice, slice_figure
from blursynth.report.sources import ClipFinder
from blursynth.report.splits import split_section
from blursynth.report.summary import headline, summary
from blursynth.shards import Manifest

__all__ = ["MAX_PAIRS_SHOWN", "data_report"]

MAX_PAIRS_SHOWN = 200
_MAX_SLICES = 6
_SUSPICIOUS_GHOST = 4.0  # codes; see docs/motion.md


def data_report(
    directory: Path,
    *,
    pairs: int = 24,
    sort: Sort = "ghost",
    clips: Sequence[Path] = (),
    progress: Progress = SILENT,
) -> str:
    """Return a page about a folder of shards.

    Of large folders it reads the tables of about 200 000 pairs and says so; it takes less than 20 MB in any case.

    Parameters
    ----------
    directory
        With a manifest.
    pairs
        How many are shown, from 1 to 200.
    sort
        What half of them are the worst by, and what they are sorted by at first.
    clips
        Files and folders to look for the clips in, for slices through time; the folder, the one above it and the
        working directory are searched too.

    Returns
    -------
    HTML, which depends on the folder, the arguments and the clips alone.

    Raises
    ------
    SettingsError
        If ``pairs`` or ``sort`` make no sense.
    ShardError
        If the folder has no manifest, or a shard is damaged or not there.
    """
    if not 1 <= pairs <= MAX_PAIRS_SHOWN:
        raise SettingsError(f"pairs {pairs}: must be from 1 to {MAX_PAIRS_SHOWN}")
    check_sort(sort)
    manifest = Manifest.read(directory)
    entries = manifest.everything()
    table = read_pairs(directory, list(manifest), progress=progress)
    numbers = chosen_pairs(table, pairs, sort)
    finder = ClipFinder([*clips, directory, directory.resolve().parent, Path.cwd()])
    sections = {
        "summary": ("Summary", summary(entries, table)),
        "distributions": ("Distributions", _distributions(table)),
        "pairs": ("Pairs", _introduction(table, numbers, sort) + gallery(table, numbers, sort)),
        "slices": ("Slices through time", _slices(table, numbers, finder, progress)),
        "split": ("Leaks between the sides", split_section(directory, list(manifest), progress=progress)),
    }
    title = f"Data set {directory.resolve().name}"
    return page(title, headline(entries), sections, footer=f"Made by blursynth {blursynth.__version__}.")


def _distributions(pairs: PairTable) -> str:
    of_all = "" if pairs.is_whole else f", a sample spread over all {pairs.num_pairs:,}"
    charts = "".join(
        histogram(measure.title, measure.of(pairs.rows), unit=measure.unit, what=measure.what, missing=measure.missing)
        for measure in MEASURES.values()
    )
    return f'<p class="muted">Of {pairs.rows.size:,} pairs{of_all}.</p>\n<div class="charts">\n{charts}</div>\n'


def _introduction(pairs: PairTable, numbers: Sequence[int], sort: Sort) -> str:
    if len(numbers) == pairs.num_pairs:
        which = "All pairs"
    else:
        of = "the folder" if pairs.is_whole else "the sample"
        which = (
            f"{len(numbers)} of {pairs.num_pairs:,} pairs: half of them those with the {MEASURES[sort].worst_first} of "
            f"{of}, the others the worst by the other measures and some spread over it"
        )
    return (
        f"<p>{escape(which)}. Drag the divider, or move it with the arrow keys (by more with Shift). At 1:1 one pixel "
        "of the picture is one pixel of the screen; drag to look around.</p>\n"
    )


def _slices(pairs: PairTable, numbers: Sequence[int], finder: ClipFinder, progress: Progress) -> str:
    if "per_photo" in settings_of(pairs.attributes):
        return "<p>The pairs were made of photographs: there are no frames to look at.</p>\n"
    suspects = _suspects(pairs, numbers)
    figures, lost = [], {}
    with progress.task("slices", len(suspects), "pairs") as advance:
        for number in suspects:
            name = pair_name(pairs, number)
            try:
                figure = _figure(pairs, number, finder)
            except (RefusedError, OSError) as error:
                figure, lost[name] = "", str(error)
            figures.append(figure)
            if not figure:
                lost.setdefault(name, "its clip was not found, or is not the one that it was made from")
            advance(1, name)
    by_reason: dict[str, list[str]] = {}
    for name, why in lost.items():
        by_reason.setdefault(why, []).append(name)
    notes = "".join(f"<li>{escape('; '.join(names))}: {escape(why)}</li>\n" for why, names in by_reason.items())
    missing = (
        f'<div class="notice"><p>No slice of {len(lost)} of {len(suspects)} pairs. Shards know the name of a clip and '
        "its SHA-256, not where it is: <code>--clips FOLDER</code> says where to look.</p>\n"
        f'<ul class="small">\n{notes}</ul></div>\n'
        if lost
        else ""
    )
    return f'{_HOW_TO_READ}{missing}<div class="charts wide">\n{"".join(figures)}</div>\n'


_HOW_TO_READ = (
    "<p>One line of the picture, along the motion and through the fastest point, frame below frame. Even motion draws "
    "slanted stripes. Where they break into steps or dots, the frames are too far apart, and the blurry line below "
    "shows an edge several times. A cut tears them from side to side.</p>\n"
)


def _suspects(pairs: PairTable, numbers: Sequence[int]) -> list[int]:
    """Return the pairs shown that look worst by ghosting or repeat frames; the one with most ghosting in any case."""
    rows = pairs.rows[list(numbers)]
    ghost = np.nan_to_num(rows["ghost_score"].astype(float), nan=-1)
    order = np.argsort(-ghost, kind="stable").tolist()
    suspects = [k for k in order if ghost[k] >= _SUSPICIOUS_GHOST]
    suspects += [k for k in order if k not in suspects and (rows["is_frozen"][k] or rows["num_duplicates"][k])]
    return [numbers[k] for k in (suspects or order[:1])[:_MAX_SLICES]]


def _figure(pairs: PairTable, number: int, finder: ClipFinder) -> str:
    info = finder.find(pairs.entry(number))
    row = pairs.rows[number]
    found = info and cut_slice(info, row, pairs.images(number))
    if not found:
        return ""
    ghost = f"Ghost score {row['ghost_score']:.3g} codes." if np.isfinite(row["ghost_score"]) else ""
    if row["num_sub_frames"]:
        ghost += f" {row['num_sub_frames']} sub-frames were interpolated between these frames for the blurry image."
    return slice_figure(found, pair_name(pairs, number), pair_link(pairs, number), ghost.strip())
