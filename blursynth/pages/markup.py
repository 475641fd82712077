"""Text for HTML, and the plainest parts of a page: tables, lists of facts, numbers."""

import html
from collections.abc import Iterable, Mapping, Sequence

from blursynth.files import printable

__all__ = ["escape", "facts", "headline_numbers", "table"]


def escape(text: object) -> str:
    """Return text for HTML, safe between tags and in quoted attributes; control characters are made visible."""
    return html.escape(printable(str(text)))


def table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, caption: str, numbers: Sequence[int] = ()
) -> str:
    """Return a table; the columns counted in ``numbers`` are aligned to the right.

    Everything is escaped. The table scrolls in its own box where the screen is too narrow.
    """
    classes = [' class="number"' if column in numbers else "" for column in range(len(columns))]
    head = "".join(
        f'<th scope="col"{style}>{escape(column)}</th>' for column, style in zip(columns, classes, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(f"<td{style}>{escape(cell)}</td>" for cell, style in zip(row, classes, strict=True))
        + "</tr>\n"
        for row in rows
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}">'
        f"<table><caption>{escape(caption)}</caption>\n<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>\n"
    )


def facts(values: Mapping[str, object]) -> str:
    """Return names and values as a list, all escaped."""
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>\n" for name, value in values.items())
    return f'<dl class="facts">\n{items}</dl>\n'


def headline_numbers(values: Mapping[str, object]) -> str:
    """Return a few numbers to be seen first, by what they count."""
    items = "".join(f"<li><b>{escape(value)}</b><span>{escape(name)}</span></li>\n" for name, value in values.items())
    return f'<ul class="numbers">\n{items}</ul>\n'
