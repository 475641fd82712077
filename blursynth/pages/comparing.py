"""A page of pictures before and after."""

from collections.abc import Sequence

from blursynth.pages.markup import escape
from blursynth.pages.shell import page
from blursynth.pages.slider import Picture, slider

__all__ = ["compare_page"]

_MAX_PAGE_BYTES = 18_000_000  # of pictures
_MAX_PICTURE_BYTES = 3_000_000


def compare_page(title: str, pictures: Sequence[Picture]) -> str:
    """Return a page with each picture under a slider.

    All pictures together take less than 20 MB: the more there are, the smaller they are shown, each with the part
    that differs most at full size.

    Parameters
    ----------
    title
        Of the page; text.
    pictures
        In the order in which they are shown.

    Returns
    -------
    HTML, which depends on nothing but the arguments.
    """
    budget = min(_MAX_PICTURE_BYTES, _MAX_PAGE_BYTES // max(1, len(pictures)))
    items = "".join(f"<li>{slider(picture, max_bytes=budget)}</li>\n" for picture in pictures)
    lead = (
        f'<p class="lead">{len(pictures)} {escape("picture" if len(pictures) == 1 else "pictures")}. Drag the divider, '
        "or move it with the arrow keys. At 1:1 one pixel of the picture is one pixel of the screen.</p>\n"
    )
    body = f'<ol class="gallery large">\n{items}</ol>\n' if pictures else "<p>There is nothing to compare.</p>\n"
    return page(title, lead, {"pictures": ("Pictures", body)}, footer="Made by blursynth.")
