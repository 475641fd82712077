"""The page around the parts: styles, behaviour, and a policy that lets nothing else in."""

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from blursynth.pages.markup import escape

__all__ = ["page"]


def _section(name: str, title: str, body: str) -> str:
    """Return a part of a page with a heading; ``name`` is what links point to. ``body`` is HTML."""
    name = escape(name)
    heading = f'<h2 id="{name}-title">{escape(title)}</h2>\n'
    return f'<section id="{name}" aria-labelledby="{name}-title">\n{heading}{body}</section>\n'


def page(title: str, lead: str, sections: Mapping[str, tuple[str, str]], *, footer: str = "") -> str:
    """Return a whole page that needs nothing but itself: no network, no fonts, no other file.

    Parameters
    ----------
    title, footer
        Text.
    lead
        HTML below the title.
    sections
        By the name that links point to: a title, and HTML.

    Returns
    -------
    HTML. Its policy (Content-Security-Policy) allows its own script, its styles and pictures inside it, so that even
    a name that slipped through unescaped could not run.
    """
    style, script = _part("page.css"), _part("page.js")
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    links = "".join(f'<a href="#{escape(name)}">{escape(shown)}</a>\n' for name, (shown, _) in sections.items())
    contents = f'<nav class="contents" aria-label="Contents">\n{links}</nav>\n' if len(sections) > 1 else ""
    body = "".join(_section(name, shown, content) for name, (shown, content) in sections.items())
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>{style}</style>
<noscript><style>.stage {{ height: auto; aspect-ratio: auto; }} .divider, .stage input, .zooms {{ display: none; }}
.canvas img {{ position: static; height: auto; }} .canvas .after {{ clip-path: none; }}</style></noscript>
</head>
<body>
<a class="skip" href="#content">Skip to the content</a>
<header>
<h1>{escape(title)}</h1>
{lead}{contents}</header>
<main id="content">
{body}</main>
<footer>{escape(footer)}</footer>
<script>{script}</script>
</body>
</html>
"""


@cache
def _part(name: str) -> str:
    return files("blursynth.pages").joinpath(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
