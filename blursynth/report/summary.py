"""What a folder of shards holds and how it came about."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from blursynth.pages import escape, facts, headline_numbers, table
from blursynth.report.pairs import PairTable
from blursynth.report.recipe import command_of, settings_of
from blursynth.shards import Entry

__all__ = ["headline", "summary"]

_MAX_SOURCES = 40
_REASONS = {
    "cut": "a cut lies inside: the mean would show two scenes",
    "damaged": "it touches frames that cannot be decoded",
    "ghost": "more ghosting than --max-ghost",
    "motion": "less motion than --min-motion",
    "sharpness": "less sharp than --min-sharpness",
}


def headline(entries: Sequence[Entry]) -> str:
    """Return the numbers to be seen first, as HTML; of all entries, those without pairs too."""
    pairs = sum(entry.pairs for entry in entries)
    planned = sum(entry.planned for entry in entries)
    values = {
        "pairs": f"{pairs:,}",
        "sources": f"{len({entry.source_sha256 for entry in entries}):,}",
        "windows left out": f"{planned - pairs:,}",
        "of image data": _bytes(sum(entry.bytes for entry in entries)),
    }
    return headline_numbers(values)


def summary(entries: Sequence[Entry], pairs: PairTable) -> str:
    """Return HTML: where the pairs come from, what was left out and why, settings, and how to make them again."""
    settings = settings_of(pairs.attributes)
    sources = list(dict.fromkeys(entry.source for entry in entries))
    parts = [_facts(entries, pairs), _sources(entries), _rejected(entries)]
    if len({entry.settings_sha256 for entry in entries}) > 1:
        parts.append(
            '<p class="notice">The shards were not all made with the same settings; these are one shard\'s.</p>\n'
        )
    if command := command_of(settings, sources, pairs.directory.resolve().name):
        parts.append(
            '<h3>Make it again</h3>\n<p class="small muted">With the same sources, known by their SHA-256, this gives '
            f"the same bytes.</p>\n<pre>{escape(command)}</pre>\n"
        )
    if settings:
        shown = {name: "none" if value is None else value for name, value in settings.items()}
        parts.append(f"<details>\n<summary>All settings</summary>\n{facts(shown)}</details>\n")
    return "".join(parts)


def _facts(entries: Sequence[Entry], pairs: PairTable) -> str:
    sizes = Counter(f"{entry.width} × {entry.height} px" for entry in entries if entry.pairs)
    splits: Counter[str] = Counter()
    for entry in entries:
        splits[entry.split or "no split"] += entry.pairs
    values = {
        "Shards": f"{sum(1 for entry in entries if entry.pairs):,}",
        "Size of the pairs": ", ".join(size for size, _ in sizes.most_common(8)) or "none",
        "Recordings": f"{len({entry.recording or entry.source_sha256 for entry in entries}):,}",
        "Sides": ", ".join(f"{split} {count:,}" for split, count in sorted(splits.items()) if count) or "none",
        "Response curve": pairs.attributes.get("crf", "unknown"),
        "Made by": f"blursynth {pairs.attributes.get('blursynth_version', 'unknown')}",
    }
    return facts(values)


def _sources(entries: Sequence[Entry]) -> str:
    found: defaultdict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
    for entry in entries:
        counts = found[entry.source, entry.source_sha256, entry.split]
        counts["pairs"] += entry.pairs
        counts["left out"] += entry.planned - entry.pairs
    order = sorted(found.items(), key=lambda item: (-item[1]["pairs"], item[0]))
    rows = [
        (name, split or "–", f"{counts['pairs']:,}", f"{counts['left out']:,}", sha256[:12])
        for (name, sha256, split), counts in order[:_MAX_SOURCES]
    ]
    more = f"; {len(order) - _MAX_SOURCES:,} more are not shown" if len(order) > _MAX_SOURCES else ""
    columns = ("Source", "Side", "Pairs", "Left out", "SHA-256")
    return table(columns, rows, caption=f"Sources, by their pairs{more}", numbers=(2, 3))


def _rejected(entries: Sequence[Entry]) -> str:
    reasons: Counter[str] = Counter()
    for entry in entries:
        reasons.update(entry.rejections)
    if not reasons:
        return '<p class="small">No window was left out.</p>\n'
    rows = [(reason, f"{count:,}", _REASONS.get(reason, "")) for reason, count in reasons.most_common()]
    return table(
        ("Reason", "Windows", "What it means"), rows, caption="Windows that did not become pairs", numbers=(1,)
    )


def _bytes(count: int) -> str:
    for unit, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 1000:.3g} kB"
