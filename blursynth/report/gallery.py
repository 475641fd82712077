"""Which pairs are shown, and how."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from blursynth.pages import Picture, escape, slider
from blursynth.pages.scales import number_text
from blursynth.report.measures import MEASURES, Sort
from blursynth.report.pairs import PairTable

__all__ = ["chosen_pairs", "gallery", "pair_link", "pair_name"]

_OWN_SHARE = 0.5  # of the pairs shown, worst by what was asked for
_OTHER_SHARE = 0.35  # worst by the other measures; the rest is spread over the folder
_PICTURE_BYTES = 13_000_000
_MAX_PICTURE_BYTES = 1_200_000


def chosen_pairs(pairs: PairTable, count: int, sort: Sort) -> list[int]:
    """Return the numbers of the pairs to show: half the worst by ``sort``, then the worst by others, then any.

    Returns
    -------
    ``count`` at most, none twice, worst by ``sort`` first.
    """
    count = min(count, pairs.rows.size)
    orders = {name: measure.worst(pairs.rows) for name, measure in MEASURES.items()}
    chosen: dict[int, None] = dict.fromkeys(orders[sort][: math.ceil(count * _OWN_SHARE)].tolist())
    others = [order for name, order in orders.items() if name != sort and order.size]
    target = count if not others else len(chosen) + int(count * _OTHER_SHARE)
    for place in range(pairs.rows.size):
        for order in others:
            if len(chosen) < target and place < order.size:
                chosen[int(order[place])] = None
        if len(chosen) >= target or not others:
            break
    spread = np.linspace(0, pairs.rows.size - 1, count).round().astype(int).tolist() if count else []
    for number in [*spread, *range(pairs.rows.size)]:
        if len(chosen) >= count:
            break
        chosen[number] = None
    return _sorted(list(chosen)[:count], orders[sort])


def _sorted(numbers: list[int], order: NDArray[np.intp]) -> list[int]:
    place = {number: k for k, number in enumerate(order.tolist())}
    return sorted(numbers, key=lambda number: (place.get(number, order.size), number))


def pair_name(pairs: PairTable, number: int) -> str:
    """Return what a pair is called: its source and frames."""
    row, entry = pairs.rows[number], pairs.entry(number)
    if int(row["num_frames"]) > 1 or int(row["last_frame"]) > int(row["first_frame"]):
        return f"{entry.source}, frames {row['first_frame']}–{row['last_frame']}"
    return f"{entry.source}, pair {int(row['number'])}"


def pair_link(pairs: PairTable, number: int) -> str:
    """Return the name that links to a pair in the page point to."""
    return f"pair-{int(pairs.entry_of[number])}-{int(pairs.index_of[number])}"


def gallery(pairs: PairTable, numbers: Sequence[int], sort: Sort) -> str:
    """Return HTML: the pairs, each under a slider with its measures, and a choice of what sorts them."""
    if not numbers:
        return "<p>There are no pairs.</p>\n"
    values = {name: measure.of(pairs.rows) for name, measure in MEASURES.items()}
    shown = [name for name in MEASURES if np.isfinite(values[name][list(numbers)]).any()]
    options = "".join(
        f'<option value="{name}" data-order="{"most" if MEASURES[name].is_worst_most else "least"}"'
        f"{' selected' if name == sort else ''}>{escape(MEASURES[name].worst_first)} first</option>\n"
        for name in dict.fromkeys([sort, *shown])
    )
    tools = (
        '<div class="bar-of-tools"><label for="sort">Sort by</label>\n'
        f'<select id="sort" data-sorts="pairs-shown" data-status="sort-status">\n{options}</select>\n'
        '<span id="sort-status" class="visually-hidden" role="status"></span></div>\n'
    )
    max_bytes = min(_MAX_PICTURE_BYTES, _PICTURE_BYTES // len(numbers))
    items = []
    for rank, number in enumerate(numbers):
        here = {name: float(values[name][number]) for name in shown}
        items.append(_item(pairs, number, rank, here, max_bytes))
    return f'{tools}<ol class="gallery" id="pairs-shown">\n{"".join(items)}</ol>\n'


def _item(pairs: PairTable, number: int, rank: int, values: dict[str, float], max_bytes: int) -> str:
    blurry, sharp = pairs.images(number)
    entry = pairs.entry(number)
    caption = f"{entry.shard}, pair {int(pairs.index_of[number])}" + (f", {entry.split}" if entry.split else "")
    picture = Picture(pair_name(pairs, number), blurry, sharp, caption, "blurry", "sharp")
    known = {name: value for name, value in values.items() if np.isfinite(value)}
    data = "".join(f' data-{name}="{value:.9g}"' for name, value in known.items())
    measures = "".join(
        f"<li>{escape(MEASURES[name].title)} <b>{number_text(value)}{escape(_unit(name))}</b></li>\n"
        for name, value in known.items()
    )
    return (
        f'<li id="{pair_link(pairs, number)}" data-rank="{rank}"{data}>\n{slider(picture, max_bytes=max_bytes)}'
        f'<ul class="measures">\n{measures}</ul>\n</li>\n'
    )


def _unit(name: str) -> str:
    unit = MEASURES[name].unit
    return f" {unit}" if unit else ""
