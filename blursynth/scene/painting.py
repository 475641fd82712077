"""The notation of drawings, and how they are painted.

A drawing is a text: shape after shape, each painted over those before it. ::

    drawing = shape {";" shape}
    shape   = [repeat] colour kind number... [words]
    repeat  = times ("x" | "y") step      so often, each so far to the right (x) or down (y) of the one before
    colour  = a name of the palette       where it has several codes, every shape draws one of them
            | "paint"                     the colour that the caller gives
            | "-"                         none, for kinds that bring their own

Numbers are units: x to the right and y down from the painting's point (0, 0). The kinds and their numbers:

==========================  ==========================================================================================
box x y width height        a rectangle
oval x y a b                an ellipse about (x, y) with the half axes a and b
shape x y x y x y ...       a polygon
round x y x y x y ...       a polygon with its corners rounded off
bold x y width height       a line of words in the middle of a box, as large as fits; also: plain, script
haze x y a b                the shadow on the ground, an oval; it comes first, since what is there is blurred with it
light x y width height t b  no colour: multiplies what is there by t at the top of a box, fading to b at the bottom
brick x y width height l h  no colour: courses of bricks, each l long and h high, with what the rain has left on them
sky x y width height        no colour: the sky and its clouds as a pane reflects them
land x y width height       hills that rise from the bottom of a box
dots x y width height       eighty flowers, each of a colour of its own
leaves x y a b              no colour: thousands of leaves in clumps, which deviate from (x, y) by a and b
poster x y zoom             no colour: a drawing of its own, 54 wide and 80 high, its corner at (x, y)
==========================  ==========================================================================================

Words stand as they are, but NAME is what the caller gives, and SHOP, HEAD, PRINT and LONG are each one of several.

So ``red oval 0 0 9 9; 3x4 ink box -5 -1 2 2; paper bold -8 2 16 4 NAME`` is a red disc with three small black squares
in a row, four units apart, and below these a word in white.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, TypeVar

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from blursynth.scene.texture import Pixels, cloud, light, masonry

__all__ = ["PALETTE", "Colour", "Painting", "Point", "pick"]

Colour: TypeAlias = tuple[int, ...]
Point: TypeAlias = tuple[float, float]
_T = TypeVar("_T")

_CODES = {
    "amber": "ffbe3c",
    "bark": "4a3a2e",
    "denim": "282e48",
    "flowers": "284e1a 426e24 649030 ba1e24 f0aabe",
    "glass": "546a82",
    "glow": "ffe296",
    "hairs": "34241a 141212 966e3c",
    "ink": "18181e",
    "joint": "7a746e",
    "kerb": "d8d2c8",
    "lamp": "fffffa",
    "leaves": "163012 284e1a 426e24 649030 96b44c",  # from the shade to the sun
    "night": "1c242e",
    "paints": "ba1e24 185496 e8b01e 1e6e4e d66024 6e2c6e 3c8ca0",
    "paper": "f0eadc",
    "red": "c8181e",
    "road": "646364",
    "shine": "ced0d4",
    "skins": "e0b092 be8664 78543a",
    "steel": "8c8e92",
    "stones": "9e5442 c4aa84 7c3e38 a8a096 cebca0 6e7a80",
    "trims": "e8e2d4 605850 d6c6aa",
    "walk": "b8b0a4",
    "wood": "56402e",
}
PALETTE: dict[str, list[Colour]] = {
    name: [tuple(bytes.fromhex(code)) for code in codes.split()] for name, codes in _CODES.items()
}
_WORDS = {
    "SHOP": ("BAKERY", "BOOKS & MAPS", "Cafe Lumen", "PHOTO 24", "FLOWERS", "Tea House", "RECORDS", "HOTEL NORD"),
    "HEAD": ("LIGHT", "240 FPS", "Summer Jazz", "NIGHT TRAIN", "GRAND SALE", "Opera", "RIVER WALK", "No. 1000"),
    "PRINT": ("Doors open at seven", "Tickets 12.50 / 9.00", "Lines 3, 7 and 14", "The quick brown fox"),
    "LONG": ("Every evening at half past eight, doors open at seven", "Lines 3, 7 and 14 to Market Square and back"),
}
_POSTER = (
    "paper box 0 0 54 80; paints box 3 3 48 44; paints land 3 3 48 44; paints oval 36 15 6 6; lamp oval 16 13 4 4;"
    "ink bold 3 49 48 11 HEAD; 3y6 ink plain 3 62 48 4 PRINT"
)
_REPEAT = re.compile(r"(\d+)([xy])([\d.]+)")
_FONTS = {"bold": cv2.FONT_HERSHEY_DUPLEX, "plain": cv2.FONT_HERSHEY_SIMPLEX, "script": cv2.FONT_HERSHEY_SCRIPT_COMPLEX}
_NUM_LEAVES, _NUM_CLUMPS, _NUM_FLOWERS = 8000, 30, 80
_HAZE_ALPHA = 190  # of 255
_LENS_SIGMA = 0.8  # px of the painting: enough against aliasing, little enough for a sharp picture


@dataclass(frozen=True, slots=True, eq=False)
class Painting:
    """Pixels to draw on."""

    pixels: Pixels
    """(H, W, 4) uint8, RGB and alpha, premultiplied; drawn on in place."""
    scale: float
    """Pixels in a unit."""
    origin: Point
    """Where the point (0, 0) is: units from the left and from the top."""
    rng: Generator
    """Chooses what a drawing leaves open."""

    @classmethod
    def blank(cls, left: float, top: float, size: Point, scale: float, rng: Generator) -> "Painting":
        """Return a transparent painting of ``size`` (width, height) whose corner is the point (left, top)."""
        pixels = np.zeros((round(size[1] * scale), round(size[0] * scale), 4), np.uint8)
        return cls(pixels, scale, (-left, -top), rng)

    def moved(self, x: float, y: float, zoom: float = 1.0) -> "Painting":
        """Return the same pixels with (0, 0) at (x, y) and larger units."""
        origin = ((self.origin[0] + x) / zoom, (self.origin[1] + y) / zoom)
        return replace(self, scale=self.scale * zoom, origin=origin)

    def draw(self, drawing: str, paint: Colour = (), name: str = "") -> None:
        """Draw shape after shape.

        Parameters
        ----------
        drawing
            In the notation above.
        paint
            The colour that the drawing calls so.
        name
            The words that the drawing calls NAME.
        """
        given = {"paint": paint, "-": ()}
        for shape in drawing.split(";"):
            first, *rest = shape.split()
            times, across, down = 1, 0.0, 0.0
            if repeat := _REPEAT.fullmatch(first):
                step = float(repeat[3])
                times, across, down = int(repeat[1]), step * (repeat[2] == "x"), step * (repeat[2] == "y")
                first, *rest = rest
            kind, *rest = rest
            for n in range(times):
                colour = given[first] if first in given else pick(PALETTE[first], self.rng)
                self.moved(n * across, n * down)._mark(kind, rest, colour, name)

    def finish(self, sun: float = 0.12) -> "Painting":
        """Weather the painting, light it from above and see it through the lens."""
        slope = np.linspace(sun, -sun, len(self.pixels), dtype=np.float32)[:, None, None]
        light(self.pixels, 1 + 0.04 * cloud(self.pixels.shape, self.rng) + slope)
        cv2.GaussianBlur(self.pixels, (0, 0), _LENS_SIGMA, dst=self.pixels)
        return self

    def _mark(self, kind: str, rest: list[str], colour: Colour, name: str) -> None:
        """Draw one shape."""
        if kind in _FONTS:
            words = " ".join(rest[4:])
            words = name if words == "NAME" else pick(_WORDS.get(words, (words,)), self.rng)
            self._write(words, [float(number) for number in rest[:4]], colour, _FONTS[kind])
            return
        numbers = [float(number) for number in rest]
        if kind == "poster":
            self.moved(*numbers).draw(_POSTER)
        elif kind == "leaves":
            self._grow(*numbers)
        elif kind == "dots":
            for x, y in self.rng.uniform(0, numbers[2:], (_NUM_FLOWERS, 2)) + numbers[:2]:
                self._fill(_outline("oval", [x, y, 1.9, 1.6]), pick(PALETTE["flowers"], self.rng))
        elif kind == "haze":
            self._fill(_outline("oval", numbers), colour, alpha=_HAZE_ALPHA)
            cv2.GaussianBlur(self.pixels, (0, 0), 5 * self.scale, dst=self.pixels)
        elif kind in {"box", "oval", "shape", "round"}:
            self._fill(_outline(kind, numbers), colour)
        else:
            self._shade(kind, numbers, colour)

    def _fill(self, corners: ArrayLike, colour: Colour, alpha: int = 255) -> None:
        sixteenths = np.rint((np.asarray(corners) + self.origin) * (self.scale * 16)).astype(np.int32)
        premultiplied = (*(value * alpha / 255 for value in colour), alpha)
        cv2.fillPoly(self.pixels, [sixteenths], premultiplied, cv2.LINE_AA, shift=4)

    def _write(self, words: str, box: Sequence[float], colour: Colour, font: int) -> None:
        """Write one line, as large as fits, in the middle of (x, y, width, height)."""
        heavy = font != _FONTS["plain"]
        (wide, high), _ = cv2.getTextSize(words, font, 4, 10 if heavy else 1)
        size = min(box[2] / wide, box[3] / high) * self.scale
        x = round((self.origin[0] + box[0] + box[2] / 2) * self.scale - wide * size / 2)
        y = round((self.origin[1] + box[1] + box[3] / 2) * self.scale + high * size / 2)
        left, top = max(x - 4, 0), max(y - round(2 * high * size), 0)
        part = self.pixels[top : max(y + round(high * size), 0), left : max(x + round(wide * size) + 5, 0)]
        if not part.size:
            return
        ink = np.zeros(part.shape[:2], np.uint8)  # a mask, since not every OpenCV writes alpha
        weight = 1 + round(10 * size * heavy)
        cv2.putText(ink, words, (x - left, y - top), font, 4 * size, 255, weight, cv2.LINE_AA)
        cover = ink[..., None] / np.float32(255)
        part[:] = part * (1 - cover) + cover * np.array((*colour, 255), np.float32)

    def _shade(self, kind: str, numbers: list[float], colour: Colour) -> None:
        """Light the box (x, y, width, height), cut where the painting ends; further numbers are the light's."""
        left, top = round((numbers[0] + self.origin[0]) * self.scale), round((numbers[1] + self.origin[1]) * self.scale)
        right, bottom = left + round(numbers[2] * self.scale), top + round(numbers[3] * self.scale)
        part = self.pixels[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
        if not part.size:
            return
        slope = np.linspace(1, -1, len(part), dtype=np.float32)[:, None, None]
        if kind == "light":
            light(part, (numbers[4] + numbers[5]) / 2 + slope * ((numbers[4] - numbers[5]) / 2))
        elif kind == "land":
            land = np.clip(2 * cloud(part.shape, self.rng, finest=2) - 2 * slope, 0, 1)
            part[..., :3] = land * np.array(colour, np.float32) + (1 - land) * part[..., :3]
        elif kind == "sky":
            light(part, 0.4 + 1.2 * np.clip(0.6 * cloud(part.shape, self.rng, finest=3) + slope, 0, 1))
        elif kind == "brick":
            light(part, masonry(part.shape, self.scale, (numbers[4], numbers[5]), self.rng))
            light(part, 1 + 0.09 * cloud(part.shape, self.rng, finest=1, stretch=3))  # what the rain has left
        else:
            raise ValueError(f"no kind of shape is called {kind}")

    def _grow(self, *numbers: float) -> None:
        """Put leaves in clumps about (x, y), deviating by two more numbers: the later, the nearer and the sunnier."""
        clumps = self.rng.normal(numbers[:2], numbers[2:], (_NUM_CLUMPS, 2))
        from_clump = self.rng.normal(0, 19, (_NUM_LEAVES, 2))
        turns = self.rng.uniform(0, np.pi, _NUM_LEAVES)
        places = clumps[self.rng.integers(0, _NUM_CLUMPS, _NUM_LEAVES)] + from_clump
        tones = self.rng.normal(0.4, 0.7, _NUM_LEAVES) + np.arange(_NUM_LEAVES) / 3000 - from_clump.sum(axis=1) / 26
        tones = np.clip(tones + (numbers[1] - places[:, 1]) / 120, 0, 4).astype(int)
        along = np.stack([np.cos(turns), np.sin(turns)], -1) * self.rng.uniform(1.8, 4.2, (_NUM_LEAVES, 1))
        across = along[:, ::-1] * (-0.5, 0.5)
        for leaf, tone in zip(places[:, None] + np.stack([along, across, -along, -across], 1), tones, strict=True):
            self._fill(leaf, PALETTE["leaves"][tone])


def pick(things: Sequence[_T], rng: Generator) -> _T:
    """Return one of them, each as likely as the others."""
    return things[int(rng.integers(len(things)))]


def _outline(kind: str, numbers: list[float]) -> NDArray[np.float64]:
    """Return the (n, 2) corners of a box (x, y, width, height), an oval (x, y, radii), or a polygon, rounded or not."""
    if kind == "box":
        x, y, width, height = numbers
        return np.array([(x, y), (x + width, y), (x + width, y + height), (x, y + height)])
    if kind == "oval":
        turn = np.linspace(0, 2 * np.pi, 32, endpoint=False)
        return np.stack([np.cos(turn), np.sin(turn)], -1) * numbers[2:] + numbers[:2]
    corners = np.reshape(numbers, (-1, 2))
    for _ in range(3 if kind == "round" else 0):  # cut the corners: Chaikin, 1974
        after = np.roll(corners, -1, axis=0)
        corners = np.stack([0.75 * corners + 0.25 * after, 0.25 * corners + 0.75 * after], 1).reshape(-1, 2)
    return corners
