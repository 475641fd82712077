"""Two pictures under one slider, whole or enlarged."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blursynth.errors import PhotoError
from blursynth.files import printable
from blursynth.pages.images import busiest_window, data_uri, encode, reduced
from blursynth.pages.markup import escape

__all__ = ["Picture", "slider"]

_STEPS = (
    (2048, 92),
    (1600, 90),
    (1280, 88),
    (1024, 86),
    (800, 82),
    (640, 78),
    (480, 70),
    (320, 60),
    (160, 50),
    (96, 40),
)
_DETAILS_PX = (640, 480, 360, 256, 160, 96)
_DETAIL_SHARE = 0.5  # of the bytes of a picture that is shown both ways
_LEAST_STAGE_PX = 320


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """Two (H, W, 3) uint8 images of one size, in display codes, to be compared.

    ``caption`` stands below them; the labels say what the left and the right one are.

    Raises
    ------
    PhotoError
        If the images are none, or of different sizes.
    """

    name: str
    before: NDArray[np.uint8]
    after: NDArray[np.uint8]
    caption: str = ""
    before_label: str = "before"
    after_label: str = "after"

    def __post_init__(self) -> None:
        for image in (self.before, self.after):
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
                raise PhotoError(f"{printable(self.name)}: {image.shape} {image.dtype} is no (H, W, 3) uint8 image")
        if self.before.shape != self.after.shape:
            raise PhotoError(f"{printable(self.name)}: {self.before.shape} and {self.after.shape} cannot be compared")


def slider(picture: Picture, *, max_bytes: int = 1_500_000, heading: int = 3) -> str:
    """Return a figure with both images under a slider, and buttons for whole and enlarged views.

    What is too large for ``max_bytes`` is shown smaller as a whole, with the part that differs most at full size.
    The title is an HTML heading of level ``heading``.
    """
    height, width = picture.before.shape[:2]
    overview, detail = _encoded(picture, max_bytes)
    names = (picture.before_label, picture.after_label)
    label = f"{picture.name}: divider between {names[0]} and {names[1]}"
    canvases = _canvas("overview", (width, height), overview, picture)
    remark = ""
    if detail:
        rows, columns, images = detail
        size = columns.stop - columns.start, rows.stop - rows.start
        canvases += _canvas("detail", size, images, picture)
        remark = (
            f'<span class="muted">enlarged: the {size[0]} × {size[1]} px at ({columns.start}, {rows.start}) '
            f"that differ most, of {width} × {height}</span>"
        )
    zooms = "".join(
        f'<button type="button" data-zoom="{zoom}" aria-pressed="{str(not zoom).lower()}">{text}</button>\n'
        for zoom, text in ((0, "Fit"), (1, "1:1"), (2, "2:1"), (4, "4:1"))
    )
    caption = f'<figcaption class="muted small">{escape(picture.caption)}</figcaption>\n' if picture.caption else ""
    # A portrait would fill more than a screen.
    stage_px = max(_LEAST_STAGE_PX, round(min(width, 760 * width / height)))
    shape = f"aspect-ratio: {width} / {height}; max-width: {stage_px}px"
    return f"""<figure class="compare" aria-label="{escape(picture.name)}">
<h{heading}>{escape(picture.name)}</h{heading}>
<div class="stage" data-zoom="0" data-before="{escape(names[0])}" style="{shape}">
<div class="view" role="group" aria-label="{escape(picture.name)}, pictures" tabindex="-1">
{canvases}</div>
<span class="tag left" aria-hidden="true">{escape(names[0])}</span>
<span class="tag right" aria-hidden="true">{escape(names[1])}</span>
<span class="divider" aria-hidden="true"></span>
<input type="range" min="0" max="100" step="0.25" value="50" aria-label="{escape(label)}">
</div>
<div class="zooms" role="group" aria-label="Zoom of {escape(picture.name)}">
{zooms}{remark}</div>
{caption}</figure>
"""


_TwoImages = tuple[bytes, bytes]
_Detail = tuple[slice, slice, _TwoImages]


def _canvas(kind: str, size: tuple[int, int], images: _TwoImages, picture: Picture) -> str:
    hidden = " hidden" if kind == "detail" else ""
    what = "" if kind == "overview" else ", detail"
    shown = "".join(
        f'<img class="{side}" src="{data_uri(data)}" alt="{escape(picture.name)}, {escape(label)}{what}" '
        'decoding="async" draggable="false">\n'
        for side, data, label in zip(
            ("before", "after"), images, (picture.before_label, picture.after_label), strict=True
        )
    )
    return f'<div class="canvas {kind}" data-width="{size[0]}" data-height="{size[1]}"{hidden}>\n{shown}</div>\n'


def _encoded(picture: Picture, max_bytes: int) -> tuple[_TwoImages, _Detail | None]:
    """Return the whole images and, where those had to be made smaller, a part at full size."""
    whole: _TwoImages = (b"", b"")
    is_reduced = False
    for max_side_px, quality in _STEPS:
        is_reduced = max_side_px < max(picture.before.shape)
        whole = _both(reduced(picture.before, max_side_px), reduced(picture.after, max_side_px), quality)
        if _text_bytes(whole) <= max_bytes * (_DETAIL_SHARE if is_reduced else 1):
            break
    if not is_reduced:
        return whole, None
    return whole, _detail(picture, max_bytes - _text_bytes(whole))


def _detail(picture: Picture, max_bytes: int) -> _Detail | None:
    """Return the largest part that fits, if any does."""
    for side_px in _DETAILS_PX:
        rows, columns = busiest_window(picture.before, picture.after, side_px)
        images = _both(picture.before[rows, columns], picture.after[rows, columns], 92)
        if _text_bytes(images) <= max_bytes:
            return rows, columns, images
    return None


def _both(before: NDArray[np.uint8], after: NDArray[np.uint8], quality: int) -> _TwoImages:
    return encode(before, quality=quality), encode(after, quality=quality)


def _text_bytes(images: _TwoImages) -> int:
    return sum(-(-len(data) // 3) * 4 for data in images)
