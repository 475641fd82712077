"""Panels with titles side by side, lines and bars as SVG, and writing them."""

import html
import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
_TITLE, _GAP = 30, 6
INK, FAINT, COLOURS = "#37474f", "#cfd8dc", ("#d84315", "#1565c0", "#2e7d32", "#6a1b9a", "#8d6e63")


def write(path: Path, figure: Pixels | str) -> str:
    """Write a picture (JPEG of high quality or PNG, by the name) or a drawing (SVG); tell what was written."""
    if isinstance(figure, str):
        data = figure.encode()
    else:
        buffer = io.BytesIO()
        options = {"quality": 88, "subsampling": 0} if path.suffix == ".jpg" else {"optimize": True}
        Image.fromarray(figure).save(buffer, "JPEG" if path.suffix == ".jpg" else "PNG", **options)
        data = buffer.getvalue()
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return f"{path.name}: {len(data) / 1024:.0f} kB"


def enlarged(pixels: Pixels, factor: int) -> Pixels:
    """Repeat each pixel, so that it is seen as it is."""
    return pixels.repeat(factor, 0).repeat(factor, 1)


def panels(images: Sequence[Pixels], titles: Sequence[str], *, columns: int = 0) -> Pixels:
    """Lay images of one size out in rows, each under its title."""
    columns = columns or len(images)
    cells = [np.concatenate([_titled(t, i.shape[1]), i]) for i, t in zip(images, titles, strict=True)]
    cells += [np.full_like(cells[0], 255)] * (-len(cells) % columns)
    rows = [_joined(cells[first : first + columns], 1) for first in range(0, len(cells), columns)]
    return _joined(rows, 0)


def _joined(images: Sequence[Pixels], axis: int) -> Pixels:
    gap = list(images[0].shape)
    gap[axis] = _GAP
    parts = [part for image in images for part in (np.full(gap, 255, np.uint8), image)][1:]
    return np.concatenate(parts, axis)


def _titled(title: str, width: int) -> Pixels:
    strip = np.full((_TITLE, width, 3), 255, np.uint8)
    cv2.putText(strip, title, (2, _TITLE - 10), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (55, 71, 79), 1, cv2.LINE_AA)
    return strip


class Drawing:
    """An SVG of lines, boxes and words."""

    def __init__(self, width: int, height: int, description: str) -> None:
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
            'font-family="sans-serif" font-size="13">'
        )
        ground = f'<rect width="{width}" height="{height}" fill="#fff"/>'
        self._parts = [head, f"<title>{html.escape(description)}</title>", ground]

    def line(
        self, points: Sequence[tuple[float, float]], colour: str = INK, width: float = 1.5, dash: str = ""
    ) -> None:
        """Draw a line through points."""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        self._parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"{dashes}/>')

    def box(self, x: float, y: float, width: float, height: float, colour: str, opacity: float = 1) -> None:
        """Fill a rectangle."""
        self._parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}" '
            f'fill-opacity="{opacity:g}"/>'
        )

    def text(self, x: float, y: float, words: str, colour: str = INK, anchor: str = "start", size: int = 13) -> None:
        """Write words; ``anchor`` is start, middle or end."""
        self._parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}" font-size="{size}">'
            f"{html.escape(words)}</text>"
        )

    def svg(self) -> str:
        """Return the whole."""
        return "\n".join([*self._parts, "</svg>\n"])
