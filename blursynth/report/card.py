"""A model card in Markdown as HTML: headings, tables, lists, paragraphs and code; anything else stays text."""

import re
from collections.abc import Iterator
from itertools import groupby

from blursynth.pages import escape, facts, table

__all__ = ["card_html"]

_HEADING = re.compile(r"(#{1,6})\s+(.*)")
_RULE = re.compile(r"\|?\s*:?-{3,}:?\s*(\|\s*:?-{3,}:?\s*)*\|?\s*")
_CODE = re.compile(r"`([^`]+)`")


def card_html(markdown: str) -> str:
    """Return the HTML of a card; everything in it is escaped, links and HTML in it stay as they are written."""
    parts: list[str] = []
    for kind, lines in _blocks(markdown):
        if kind == "heading":
            parts += [f"<h3>{_inline(match[2])}</h3>\n" for line in lines if (match := _HEADING.match(line))]
        elif kind == "table":
            parts.append(_table(lines))
        elif kind == "list":
            items = "".join(f"<li>{_inline(line.strip()[2:])}</li>\n" for line in lines)
            parts.append(f"<ul>\n{items}</ul>\n")
        elif kind == "code":
            parts.append(f"<pre>{chr(10).join(map(_code_line, lines))}</pre>\n")
        elif kind == "text":
            parts.append(f"<p>{_inline(' '.join(lines))}</p>\n")
    return f'<div class="text">\n{"".join(parts)}</div>\n'


def _blocks(markdown: str) -> Iterator[tuple[str, list[str]]]:
    kinds = []
    is_code = False
    for line in markdown.splitlines():
        if line.startswith("```"):
            is_code = not is_code
            kinds.append(("fence", line))
        else:
            kinds.append(("code" if is_code else _kind(line), line))
    for kind, lines in groupby(kinds, key=lambda item: item[0]):
        yield kind, [line for _, line in lines]


def _kind(line: str) -> str:
    stripped = line.strip()
    if not stripped:
        return "blank"
    if _HEADING.match(line):
        return "heading"
    if stripped.startswith("|"):
        return "table"
    return "list" if stripped.startswith(("- ", "* ")) else "text"


def _table(lines: list[str]) -> str:
    rows = [
        [cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines if not _RULE.fullmatch(line)
    ]
    if not rows:
        return ""
    head, *body = rows
    if len(head) == 2 and not any(head):
        return facts({row[0]: "|".join(row[1:]) for row in body})
    width = len(head)
    return table(head, [[*row, *[""] * width][:width] for row in body], caption="Table")


def _inline(text: str) -> str:
    return _CODE.sub(r"<code>\1</code>", escape(text))


def _code_line(line: str) -> str:
    return escape(line)
