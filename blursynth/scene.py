"""A street before a hand-held high-speed camera: the clip of ``blursynth demo``, drawn and never downloaded.

Every frame is an instant, without any motion blur. The street is painted once, finer than the picture; each frame then
lays its layers over one another, the farthest first, where their own movement and the camera's shake have brought them.
Lengths are in units of 1/720 of the picture's height, so that every size shows the same street.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import cv2
import imageio_ffmpeg
import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from blursynth.errors import DeviceError, OutputError, SettingsError
from blursynth.files import printable, replacing

__all__ = ["render_frames", "write_clip"]

_T = TypeVar("_T")
_Pixels: TypeAlias = NDArray[np.uint8]
_Colour: TypeAlias = tuple[int, ...]
_Point: TypeAlias = tuple[float, float]

_HEIGHT = 720.0
_FINER = 2  # pixels of a painting for one of the picture: moving by half a pixel then costs no sharpness
_LENS_SIGMA = 0.8  # px of the painting: enough against aliasing, little enough for a sharp picture
_NOISE_SIGMA = 1.0  # codes
_MIN_SIZE = 64  # px
_H264 = (
    "-preset veryfast -crf 15 -threads 4 -movflags +faststart -f mp4"
    " -vf scale=out_color_matrix=bt709:out_range=tv:flags=accurate_rnd+full_chroma_int+bicubic,"
    "setparams=color_primaries=bt709:color_trc=bt709"
    " -color_primaries bt709 -color_trc bt709 -colorspace bt709 -color_range tv"
)
_FONTS = {"bold": cv2.FONT_HERSHEY_DUPLEX, "plain": cv2.FONT_HERSHEY_SIMPLEX, "script": cv2.FONT_HERSHEY_SCRIPT_COMPLEX}
_CODES = """paints ba1e24 185496 e8b01e 1e6e4e d66024 6e2c6e 3c8ca0; leaves 163012 284e1a 426e24 649030 96b44c;
    stones 9e5442 c4aa84 7c3e38 a8a096 cebca0 6e7a80; trims e8e2d4 605850 d6c6aa; skins e0b092 be8664 78543a;
    flowers 284e1a 426e24 649030 ba1e24 f0aabe; hairs 34241a 141212 966e3c; amber ffbe3c; bark 4a3a2e; denim 282e48;
    glass 546a82; glow ffe296; ink 18181e; joint 7a746e; kerb d8d2c8; lamp fffffa; night 1c242e; paper f0eadc;
    red c8181e; road 646364; shine ced0d4; steel 8c8e92; walk b8b0a4; wood 56402e"""
_PALETTE: dict[str, list[_Colour]] = {  # where there are several, each shape draws one
    name: [tuple(bytes.fromhex(code)) for code in codes] for name, *codes in map(str.split, _CODES.split(";"))
}
_WORDS = {
    "SHOP": ("BAKERY", "BOOKS & MAPS", "Cafe Lumen", "PHOTO 24", "FLOWERS", "Tea House", "RECORDS", "HOTEL NORD"),
    "HEAD": ("LIGHT", "240 FPS", "Summer Jazz", "NIGHT TRAIN", "GRAND SALE", "Opera", "RIVER WALK", "No. 1000"),
    "PRINT": ("Doors open at seven", "Tickets 12.50 / 9.00", "Lines 3, 7 and 14", "The quick brown fox"),
    "LONG": ("Every evening at half past eight, doors open at seven", "Lines 3, 7 and 14 to Market Square and back"),
}
# A drawing is shape after shape: colour, kind, numbers, words; before these, how often and how many units apart to the
# right (x) or down (y). The kinds are explained where they are drawn.
_POSTER = """paper box 0 0 54 80; paints box 3 3 48 44; paints land 3 3 48 44; paints oval 36 15 6 6;
    lamp oval 16 13 4 4; ink bold 3 49 48 11 HEAD; 3y6 ink plain 3 62 48 4 PRINT"""
_WINDOW = """paint box -5 -6 46 68; paint box -8 60 52 5; ink light -8 65 52 9 .5 .9; glass box 0 0 36 58;
    ink sky 0 0 36 58; {}; paint box 16.5 0 3 58; paint box 0 24 36 2.6; ink light 0 0 36 14 .4 1"""
_CURTAINS = (
    "9y3 walk box 0 0 36 1.8",
    "16y3 walk box 0 0 36 1.8",
    "4x3.2 paper box 0 0 2 58; 3x3.2 paper box 28 0 2 58",
    "2x3.2 walk box 0 0 2 58; 2x3.2 walk box 31 0 2 58; flowers dots -2 48 40 12",
    "glow box 0 0 36 58; lamp oval 18 18 5 5; 4x3.2 paper box 0 0 2 58; flowers dots -2 50 40 10",
)
_SHOP = """paint box 0 0 {wide} {high}; ink light 0 0 {wide} {high} .5 .5; wood box 8 60 {inside} 104;
    ink light 8 60 {inside} 104 1.7 .5; {n}x24 paints box 14 98 7 24; {n}x24 paints box 22 104 4 18;
    {n}x24 paints box 28 94 9 28; {n}x24 paints box 12 144 5 20; {n}x24 paints box 19 146 8 18;
    {n}x24 trims box 29 140 4 24; {n}x24 lamp oval 24 76 3 3; ink poster 18 76 1; wood box {door} 58 48 130;
    glass box {door} 66 34 62; paper bold {door} 84 30 8 OPEN 7-22; ink light 0 62 {wide} 34 .3 1;
    {n}x24 paint box 0 40 12 24; {n}x24 paper box 12 40 12 24; {n}x24 paint oval 6 64 6 5; {n}x24 paper oval 18 64 6 5;
    ink light 0 40 {wide} 30 1.1 .8; paint box 4 4 {inside} 34; paper {font} 16 10 {inside} 22 SHOP;
    {n}x24 lamp oval 12 3 3.2 3.2"""
_GROUND = """walk box 0 488 {long} 60; 3y14 joint box 0 494 {long} 1.3; {n}x44 joint shape 20 488 21.5 488 2 538 -1 538;
    ink light 0 488 {long} 10 .45 1; kerb box 0 538 {long} 8; road box 0 546 {long} 400;
    {n}x130 kerb shape 8 636 82 636 76 646 0 646; ink light 0 546 {long} 14 .6 1"""
_THINGS = {  # left, top, width, height; and the drawing
    "bus": """-24 -226 608 250; ink haze 280 -3 286 12;
        paint round 0 -18 0 -120 4 -216 40 -220 550 -220 560 -210 560 -18; paper box 12 -210 540 3;
        night box 10 -190 544 72; 8x64 glass shape 44 -190 62 -190 40 -118 22 -118; 7x64 skins oval 96 -134 8 11;
        7x64 paints round 80 -118 80 -130 114 -130 114 -118; 9x64 ink box 10 -192 4 76; 7x64 ink box 72 -112 1 90;
        ink box 60 -206 150 18; amber bold 64 -204 142 13 14 MARKET SQUARE; paper bold 156 -106 250 42 NAME;
        paper plain 156 -54 250 9 LONG; night box 26 -186 46 160; glass shape 34 -180 48 -180 42 -34 30 -34;
        paint box 47 -186 3 160; ink box 0 -24 560 5; ink light 0 -116 560 100 1.15 .6; ink poster 488 -112 1.1;
        2x338 ink oval 110 -30 38 38; lamp oval 14 -50 9 10; red box 554 -70 6 26""",
    "taxi": """-24 -128 384 152; ink haze 168 -3 172 12;
        paint round 0 -18 2 -62 26 -78 74 -84 116 -120 214 -122 258 -84 326 -70 338 -44 336 -18;
        night round 84 -82 120 -117 210 -119 250 -82; glass shape 124 -110 146 -112 122 -86 102 -86;
        paint box 164 -119 6 37; glass shape 188 -112 204 -112 224 -86 204 -86; 3x76 ink box 92 -80 1.4 54;
        ink bold 104 -64 62 18 NAME; ink plain 104 -42 62 9 call 555-0199; paper box 176 -68 14 3;
        ink light 0 -80 340 62 1.3 .5; lamp box 22 -74 296 1.6; 2x204 ink oval 68 -27 33 33; lamp oval 326 -58 9 6;
        red box 3 -62 8 14; amber box 150 -127 34 8""",
    "wheel": """-32 -32 64 64; ink oval 0 0 30 30; steel oval 0 0 21 21; ink oval 0 0 19 19; steel oval 0 0 5 5;
        shine shape 0 -3 -20 -4 -20 4 0 3 20 4 20 -4; shine shape -3 0 -4 -20 4 -20 3 0 4 20 -4 20""",
    "walker": """-42 -180 84 132; paints round -25 -56 -31 -120 -18 -142 18 -142 31 -120 25 -56;
        skins oval 0 -154 10 13; hairs round -13 -148 -14 -170 0 -176 14 -170 13 -148 9 -160 -9 -160;
        2x8 ink oval -4 -155 1.3 1.6; ink poster -27 -134 1""",
    "leg": "-30 -10 60 80; denim round -9 -8 10 -8 7 30 5 58 -6 58 -7 30; ink round -8 54 8 54 9 67 -9 67",
    "balloon": """-44 -56 88 190; paper box -.6 46 1.2 80; paint shape 0 40 6 54 -6 54;
        paint round 0 50 -34 24 -46 -20 -24 -54 24 -54 46 -20 34 24; paper bold -26 -16 52 22 NAME;
        lamp oval -17 -33 4 7""",
    "sign": """-60 -420 120 640; steel box -6 -400 12 620; shine box -6 -400 3 620; red oval 0 -360 52 52;
        paper oval 0 -360 42 42; ink bold -30 -384 60 46 30; ink poster -46 -296 1.7""",
    "tree": """-170 -360 340 372; bark shape -11 6 -7 -150 -40 -250 -30 -252 0 -180 34 -260 42 -256 8 -150 12 6;
        6x3 ink box -8 -150 1 154; ink leaves 0 -236 60 46""",
    "lamp": """-30 -270 60 280; night shape -5 6 -2 -228 2 -228 5 6; night box -9 -24 18 30;
        lamp shape -13 -252 13 -252 8 -224 -8 -224; night shape -17 -252 0 -266 17 -252; paints box -24 -190 48 22;
        paper bold -21 -188 42 9 Market Sq; paper plain -21 -176 42 6 Lines 3 7 14""",
}


@dataclass(frozen=True, slots=True, eq=False)
class _Painting:
    """Pixels to draw on, how many of them make a unit, and where the point (0, 0) is."""

    pixels: _Pixels  # (H, W, 4), premultiplied
    scale: float
    origin: _Point  # units from the left and from the top
    rng: Generator  # chooses what a drawing leaves open

    @classmethod
    def blank(cls, left: float, top: float, size: _Point, scale: float, rng: Generator) -> "_Painting":
        pixels = np.zeros((round(size[1] * scale), round(size[0] * scale), 4), np.uint8)
        return cls(pixels, scale, (-left, -top), rng)

    def moved(self, x: float, y: float, zoom: float = 1.0) -> "_Painting":
        """Return the same pixels with (0, 0) at (x, y) and larger units."""
        origin = ((self.origin[0] + x) / zoom, (self.origin[1] + y) / zoom)
        return replace(self, scale=self.scale * zoom, origin=origin)

    def draw(self, drawing: str, paint: _Colour = (), name: str = "") -> None:
        """Draw shape after shape; the drawing leaves the colour ``paint`` and the word NAME to the caller."""
        for shape in drawing.split(";"):
            first, *rest = shape.split()
            times, across, down = "1", 0.0, 0.0
            if first[0].isdigit():
                times, step = first.replace("y", "x").split("x")
                across, down = float(step) * ("x" in first), float(step) * ("y" in first)
                first, *rest = rest
            for n in range(int(times)):
                colour = paint if first == "paint" else _pick(_PALETTE[first], self.rng)
                self.moved(n * across, n * down)._mark(rest[0], rest[1:], colour, name)

    def _mark(self, kind: str, rest: list[str], colour: _Colour, name: str) -> None:
        """Draw one shape: words, a poster, leaves, flowers, a shadow on the ground, an outline, or a light."""
        if kind in _FONTS:
            words = " ".join(rest[4:])
            line = name if words == "NAME" else _pick(_WORDS.get(words, (words,)), self.rng)
            return self._write(line, [float(number) for number in rest[:4]], colour, _FONTS[kind])
        numbers = [float(number) for number in rest]
        if kind == "poster":
            self.moved(*numbers).draw(_POSTER)
        elif kind == "leaves":
            self._grow(*numbers)
        elif kind == "dots":
            for x, y in self.rng.uniform(0, numbers[2:], (80, 2)) + numbers[:2]:
                self._fill(_outline("oval", [x, y, 1.9, 1.6]), _pick(_PALETTE["flowers"], self.rng))
        elif kind == "haze":
            self._fill(_outline("oval", numbers), colour, alpha=190)
            cv2.GaussianBlur(self.pixels, (0, 0), 5 * self.scale, dst=self.pixels)
        elif kind in {"box", "oval", "shape", "round"}:
            self._fill(_outline(kind, numbers), colour)
        else:
            self._shade(kind, numbers, colour)
        return None

    def _fill(self, corners: ArrayLike, colour: _Colour, alpha: int = 255) -> None:
        sixteenths = np.rint((np.asarray(corners) + self.origin) * (self.scale * 16)).astype(np.int32)
        premultiplied = (*(value * alpha / 255 for value in colour), alpha)
        cv2.fillPoly(self.pixels, [sixteenths], premultiplied, cv2.LINE_AA, shift=4)

    def _write(self, words: str, box: Sequence[float], colour: _Colour, font: int) -> None:
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

    def _shade(self, kind: str, numbers: list[float], colour: _Colour) -> None:
        """Light the box (x, y, width, height), cut where the painting ends; further numbers are the light's."""
        left, top = round((numbers[0] + self.origin[0]) * self.scale), round((numbers[1] + self.origin[1]) * self.scale)
        right, bottom = left + round(numbers[2] * self.scale), top + round(numbers[3] * self.scale)
        part = self.pixels[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
        if not part.size:
            return
        slope = np.linspace(1, -1, len(part), dtype=np.float32)[:, None, None]
        if kind == "light":
            _light(part, (numbers[4] + numbers[5]) / 2 + slope * ((numbers[4] - numbers[5]) / 2))
        elif kind == "land":
            land = np.clip(2 * _cloud(part.shape, self.rng, finest=2) - 2 * slope, 0, 1)
            part[..., :3] = land * np.array(colour, np.float32) + (1 - land) * part[..., :3]
        elif kind == "sky":
            _light(part, 0.4 + 1.2 * np.clip(0.6 * _cloud(part.shape, self.rng, finest=3) + slope, 0, 1))
        else:
            _light(part, _masonry(part.shape, self.scale, (numbers[4], numbers[5]), self.rng))
            _light(part, 1 + 0.09 * _cloud(part.shape, self.rng, finest=1, stretch=3))  # what the rain has left

    def _grow(self, *numbers: float) -> None:
        """Put leaves in clumps about (x, y), deviating by two more numbers: the later, the nearer and the sunnier."""
        clumps = self.rng.normal(numbers[:2], numbers[2:], (30, 2))
        from_clump, turns = self.rng.normal(0, 19, (8000, 2)), self.rng.uniform(0, np.pi, 8000)
        places = clumps[self.rng.integers(0, 30, 8000)] + from_clump
        tones = self.rng.normal(0.4, 0.7, 8000) + np.arange(8000) / 3000 - from_clump.sum(axis=1) / 26
        tones = np.clip(tones + (numbers[1] - places[:, 1]) / 120, 0, 4).astype(int)
        along = np.stack([np.cos(turns), np.sin(turns)], -1) * self.rng.uniform(1.8, 4.2, (8000, 1))
        across = along[:, ::-1] * (-0.5, 0.5)
        for leaf, tone in zip(places[:, None] + np.stack([along, across, -along, -across], 1), tones, strict=True):
            self._fill(leaf, _PALETTE["leaves"][tone])

    def finish(self, sun: float = 0.12) -> "_Painting":
        """Weather the painting, light it from above and see it through the lens."""
        slope = np.linspace(sun, -sun, len(self.pixels), dtype=np.float32)[:, None, None]
        _light(self.pixels, 1 + 0.04 * _cloud(self.pixels.shape, self.rng) + slope)
        cv2.GaussianBlur(self.pixels, (0, 0), _LENS_SIGMA, dst=self.pixels)
        return self


def _pick(things: Sequence[_T], rng: Generator) -> _T:
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


def _light(pixels: _Pixels, factor: NDArray[np.float32]) -> None:
    """Multiply colours in place by (H or 1, W or 1, 1 or 3) factors; premultiplied ones stay valid."""
    pixels[..., :3] = np.clip(pixels[..., :3] * factor, 0, pixels[..., 3:])


def _cloud(shape: Sequence[int], rng: Generator, *, finest: int = 0, stretch: int = 0) -> NDArray[np.float32]:
    """Return (H, W, 1) noise with the 1/f amplitudes of natural pictures; mean about 0, deviation about 1."""
    octaves = max(shape).bit_length() - finest
    noise = np.zeros((1, 1), np.float32)
    for octave in range(finest + octaves, finest - 1, -1):
        height, width = (shape[0] >> max(octave + stretch, 0)) + 1, (shape[1] >> octave) + 1
        coarser = cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)
        noise = rng.standard_normal((height, width), np.float32) + np.asarray(coarser, np.float32)
    whole = np.asarray(cv2.resize(noise, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR), np.float32)
    return whole[..., None] * np.float32(1.4 / math.sqrt(octaves))


def _masonry(shape: Sequence[int], scale: float, brick: _Point, rng: Generator) -> NDArray[np.float32]:
    """Return (H, W, 1) factors: courses of bricks, each of its own shade, with pale joints."""
    y, x = np.arange(shape[0])[:, None] / scale, np.arange(shape[1])[None] / scale
    course = (y // brick[1]).astype(np.intp)
    x = x + course % 2 * brick[0] / 2
    column = (x // brick[0]).astype(np.intp)
    shades = rng.normal(1.0, 0.11, (int(course.max()) + 1, int(column.max()) + 1))
    joint = (y % brick[1] < 1.1) | (x % brick[0] < 1.1)
    return np.where(joint, 1.2, shades[course, column]).astype(np.float32)[..., None]


def _paint_thing(name: str, scale: float, rng: Generator, paint: _Colour = (), words: str = "") -> _Painting:
    frame, drawing = _THINGS[name].split(";", 1)
    left, top, width, height = map(float, frame.split())
    p = _Painting.blank(left, top, (width, height), scale, rng)
    p.draw(drawing, paint, words)
    return p.finish()


def _paint_house(p: _Painting, width: float) -> None:
    """Paint a house whose left corner on the ground is (0, 488)."""
    top, shop, door = p.rng.uniform((-80, 298, 0.4 * width), (60, 314, 0.7 * width)).tolist()
    stone, trim = _pick(_PALETTE["stones"], p.rng), _pick(_PALETTE["trims"], p.rng)
    brick = _pick(("15 5.4", "34 17", "22 7.5"), p.rng)
    p.draw(f"paint box 0 {top} {width} {490 - top}; ink brick 0 {top} {width} {488 - top} {brick}", stone)
    columns, n = int(width // 74), int(width // 24)
    for y in np.arange(shop - 86, top + 20, -90):
        p.draw(f"paint box 0 {y + 74} {width} 4", trim)
        for column in range(columns):
            window = p.moved(width * (column + 0.5) / columns - 18, y)
            window.draw(_WINDOW.format(_pick(_CURTAINS, p.rng)), trim)
    p.draw(f"ink light 0 {top} {width} 40 .4 1; paint box -3 {top - 8} {width + 6} 16", trim)
    p.draw(f"{3 * n}x8 paint box 0 {top + 8} 4 7", trim)
    font = _pick(("bold", "script"), p.rng)
    drawing = _SHOP.format(n=n, wide=24 * n, high=490 - shop, inside=24 * n - 16, door=door, font=font)
    p.moved(width / 2 - 12 * n, shop).draw(drawing, _pick(_PALETTE["paints"], p.rng))


def _paint_street(width: float, margin: float, scale: float, rng: Generator) -> _Painting:
    long = width + 2 * margin
    p = _Painting.blank(-margin, -margin, (long, _HEIGHT + 2 * margin), scale, rng)
    clouds = np.clip(0.3 * _cloud(p.pixels.shape, rng, finest=4) + 0.5, 0, 1)
    p.pixels[..., :3] = clouds * 255 + (1 - clouds) * np.array([104, 154, 214], np.float32)
    p.pixels[..., 3] = 255
    x = -margin - rng.uniform(0, 100)
    while x < width + margin:
        house = rng.uniform(210, 330)
        _paint_house(p.moved(x, 0), house)
        x += house
    p.moved(-margin, 0).draw(_GROUND.format(long=long, n=int(long // 44)))
    ground = p.pixels[round((488 + margin) * scale) :]
    _light(ground, 1 + 0.14 * _cloud(ground.shape, rng, stretch=-1))
    down, right = (np.arange(n, dtype=np.float32) / np.float32(scale) for n in p.pixels.shape[:2])
    slant = (right + np.float32(0.42) * down[:, None] + np.float32(rng.uniform(0, 860))) % 860
    shadow = np.clip((170 - abs(slant - 430)) / 9, 0, 1)[..., None]  # of the houses across the street
    _light(p.pixels, np.asarray(1.14 - shadow * (0.64, 0.60, 0.52), np.float32))
    return p.finish(sun=0.0)


@dataclass(frozen=True, slots=True, eq=False)
class _Layer:
    """A painting and how its point (0, 0) moves."""

    painting: _Painting
    depth: float = 1.0  # how many times the camera's shift; nearer is more
    start: _Point = (0.0, 0.0)
    velocity: _Point = (0.0, 0.0)  # units per second
    lead: float = 0.0  # units beyond the edges before it comes back on the other side
    offset: _Point = (0.0, 0.0)  # of a part from the whole that it rides on
    spin_rad_hz: float = 0.0
    swing_rad: float = 0.0
    rhythm_hz: float = 0.0  # of the swing, and of the two steps in it

    def to_scene(self, seconds: float, width: float) -> NDArray[np.float64]:
        """Return the (3, 3) matrix from the painting's pixels to units of the scene."""
        beat = math.sin(2 * math.pi * self.rhythm_hz * seconds)
        x, y = (
            (start + speed * seconds + self.lead) % (size + 2 * self.lead) - self.lead if speed else start
            for start, speed, size in zip(self.start, self.velocity, (width, _HEIGHT), strict=True)
        )
        angle = self.spin_rad_hz * seconds + self.swing_rad * beat
        turned = _place(x + self.offset[0], y + self.offset[1] + 4 * beat**2, angle)
        return turned @ _place(-self.painting.origin[0], -self.painting.origin[1], zoom=1 / self.painting.scale)


def _place(x: float, y: float, angle: float = 0.0, zoom: float = 1.0) -> NDArray[np.float64]:
    """Return the (3, 3) matrix that turns and zooms about the origin, then shifts."""
    c, s = zoom * math.cos(angle), zoom * math.sin(angle)
    return np.array([[c, -s, x], [s, c, y], [0, 0, 1]])


def _layers(width: float, margin: float, scale: float, rng: Generator) -> list[_Layer]:
    """Paint everything, the farthest first."""
    tree, lamp, leg, wheel, sign = (_paint_thing(name, scale, rng) for name in ("tree", "lamp", "leg", "wheel", "sign"))
    layers = [_Layer(_paint_street(width, margin, scale, rng))]
    layers += [_Layer(lamp, 1.08, (x, 512.0)) for x in np.arange(150, width + 100, 460)]
    layers += [_Layer(tree, 1.12, (x, 520.0)) for x in np.arange(390, width + 200, 760)]
    for x, speed in ((0.08, 150.0), (0.3, -140.0), (0.55, 170.0), (0.9, -160.0)):
        body = _Layer(_paint_thing("walker", scale, rng), 1.15, (x * width, 528.0), (speed, 0.0), 120, rhythm_hz=1.5)
        layers += [replace(body, painting=leg, offset=(0, -66), swing_rad=swing) for swing in (0.42, -0.42)]
        layers.append(body)
    for n, words in enumerate(("SALE", "40%", "Hello", "OPEN")):
        balloon = _paint_thing("balloon", scale, rng, _PALETTE["paints"][n], words)
        start, velocity = ((0.1 + 0.27 * n) * width, 100.0 + 290 * n % 700), (60.0 - 40 * n, -240.0 - 40 * n)
        layers.append(_Layer(balloon, 1.2, start, velocity, 150, swing_rad=0.1, rhythm_hz=0.8))
    traffic = (
        ("bus", "RIVER WALK", 0.46, (-350.0, 614.0, 1.2), (110.0, 448.0)),
        ("bus", "CITY TOURS", 1.5, (-350.0, 614.0, 1.2), (110.0, 448.0)),
        ("taxi", "RIVER TAXI", 0.1, (460.0, 690.0, 1.35), (68.0, 272.0)),
        ("taxi", "NIGHT TAXI", 1.0, (460.0, 690.0, 1.35), (68.0, 272.0)),
    )
    for n, (name, words, x, (speed, ground, depth), axles) in enumerate(traffic):
        painting = _paint_thing(name, scale, rng, _PALETTE["paints"][n], words)
        body = _Layer(painting, depth, (x * width, ground), (speed, 0.0), 760)
        layers += [body, *(replace(body, painting=wheel, offset=(axle, -29), spin_rad_hz=speed / 30) for axle in axles)]
    return layers + [_Layer(sign, 1.5, (x, 560.0)) for x in np.arange(width * 0.86, 2 * width, 1400)]


def _shake(seconds: NDArray[np.float64], rng: Generator) -> NDArray[np.float64]:
    """Return the path of an unsteady hand: (T, 4) shifts right and down in units, rolls in radians, zooms.

    About a pixel in 1/240 s, calmer and faster by turns, as the five sines of each meet or part.
    """
    hz = np.array([0.7, 1.3, 2.3, 4.1, 7.3]) * rng.uniform(0.85, 1.15, (4, 5))
    speed = np.array([[270.0], [180.0], [0.11], [0.05]]) * [0.9, 1.0, 1.1, 0.9, 0.6]
    phase = rng.uniform(0, 2 * np.pi, (4, 5))
    sines = np.sin(2 * np.pi * hz * seconds[:, None, None] + phase)
    sizes = math.sqrt(2 / 5) * speed / (2 * np.pi * hz)
    return np.asarray((sizes * sines).sum(axis=2), np.float64)


def _margin(width: float) -> float:
    """Return how far beyond the edges to paint: what all sines of a shake could ever sum up to, in units."""
    return 110 + 0.02 * width


def render_frames(
    num_frames: int, *, width: int = 1280, height: int = 720, frame_rate: int | Fraction = 240, rng: Generator
) -> Iterator[_Pixels]:
    """Render the street, frame after frame.

    Parameters
    ----------
    num_frames
        How many.
    width, height
        Even, at least 64 px.
    frame_rate
        Frames per second. What happens in a second is the same at every rate: at 120 a frame's motion is twice as far.
    rng
        Draws the street and the shake; the same generator gives the same frames.

    Returns
    -------
    Iterator of (height, width, 3) uint8, RGB display codes. Each frame is a new array.

    Raises
    ------
    SettingsError
        If a number is out of its range.
    """
    if num_frames < 1 or frame_rate <= 0:
        raise SettingsError(f"{num_frames} frames at {frame_rate} a second: both must be positive")
    if min(width, height) < _MIN_SIZE or width % 2 or height % 2:
        raise SettingsError(f"{width}x{height}: width and height must be even and at least {_MIN_SIZE}")
    return _render(num_frames, (width, height), Fraction(frame_rate), rng)


def _render(num_frames: int, size: tuple[int, int], frame_rate: Fraction, rng: Generator) -> Iterator[_Pixels]:
    width, height = size
    scale = height / _HEIGHT
    units = width / scale
    times = np.array([float(index / frame_rate) for index in range(num_frames)])
    path = _shake(times, rng)
    street, *things = _layers(units, _margin(units), scale * _FINER, rng)
    noise = rng.normal(0, _NOISE_SIGMA, (height + 64, width + 64, 3)).round().astype(np.int8)
    for seconds, (right, down, roll, zoom) in zip(times.tolist(), path.tolist(), strict=True):
        lens = _place(width / 2, height / 2, roll, scale * (1 + zoom))
        matrices = [
            lens
            @ _place(layer.depth * right - units / 2, layer.depth * down - _HEIGHT / 2)
            @ layer.to_scene(seconds, units)
            for layer in (street, *things)
        ]
        behind = cv2.warpAffine(street.painting.pixels, matrices[0][:2], size)
        frame = np.asarray(cv2.cvtColor(behind, cv2.COLOR_RGBA2RGB), np.uint8)
        for thing, matrix in zip(things, matrices[1:], strict=True):
            _lay(frame, thing.painting.pixels, matrix[:2])
        top, left = rng.integers(0, 65, 2)
        grain = noise[top : top + height, left : left + width]
        yield np.asarray(cv2.add(frame, grain, dtype=cv2.CV_8U), np.uint8)


def _lay(frame: _Pixels, pixels: _Pixels, matrix: NDArray[np.float64]) -> None:
    """Lay a painting over the frame, in place, where a (2, 3) matrix puts it."""
    (height, width), (h, w) = frame.shape[:2], pixels.shape[:2]
    corners = matrix[:, :2] @ [[0, w, w, 0], [0, 0, h, h]] + matrix[:, 2:]
    left, top = np.clip(np.floor(corners.min(axis=1)).astype(int) - 1, 0, (width, height)).tolist()
    right, bottom = np.clip(np.ceil(corners.max(axis=1)).astype(int) + 2, 0, (width, height)).tolist()
    if left >= right or top >= bottom:
        return
    part = cv2.warpAffine(pixels, matrix - [[0, 0, left], [0, 0, top]], (right - left, bottom - top))
    below = frame[top:bottom, left:right]
    let_through = cv2.cvtColor(cv2.bitwise_not(cv2.extractChannel(part, 3)), cv2.COLOR_GRAY2RGB)
    below[:] = cv2.add(cv2.multiply(below, let_through, scale=1 / 255), cv2.cvtColor(part, cv2.COLOR_RGBA2RGB))


def write_clip(
    path: Path,
    *,
    seconds: float,
    width: int = 1280,
    height: int = 720,
    frame_rate: int | Fraction = 240,
    seed: int = 0,
    overwrite: bool = False,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Render the street into an MP4 file: H.264, 4:2:0, BT.709 in limited range, and tagged so.

    Parameters
    ----------
    path
        The file; it appears when it is whole.
    seconds
        Length of the clip, rounded to frames.
    width, height, frame_rate
        As in `render_frames`.
    seed
        The same seed gives the same frames.
    overwrite
        Whether an existing file may be replaced.
    progress
        Called after each frame with the number of frames done.

    Raises
    ------
    SettingsError
        If a number is out of its range, or the file exists and ``overwrite`` is false.
    DeviceError
        If there is no ffmpeg.
    OutputError
        If the file cannot be written.
    """
    num_frames = round(seconds * frame_rate) if math.isfinite(seconds) else 0
    rng = np.random.default_rng(seed)
    frames = render_frames(num_frames, width=width, height=height, frame_rate=frame_rate, rng=rng)
    try:
        imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise DeviceError(f"no ffmpeg: {error}; install one, or name it in IMAGEIO_FFMPEG_EXE") from error
    with replacing(path, overwrite=overwrite) as temporary:
        encoder = _encoder(temporary, (width, height), Fraction(frame_rate))
        with closing(encoder), ThreadPoolExecutor(1) as renderer:
            encoder.send(None)
            ahead, num_done = renderer.submit(next, frames, None), 0
            while (frame := ahead.result()) is not None:
                ahead = renderer.submit(next, frames, None)  # drawn while this one is being encoded
                try:
                    encoder.send(frame)
                except OSError as error:
                    raise OutputError(f"{printable(path)}: ffmpeg gave up; is the disk full?") from error
                num_done += 1
                if progress:
                    progress(num_done)
        _check_num_frames(temporary, num_frames, name=printable(path))


def _encoder(path: Path, size: tuple[int, int], frame_rate: Fraction) -> Any:  # imageio-ffmpeg has no types
    return imageio_ffmpeg.write_frames(
        str(path),
        size,
        fps=float(frame_rate),
        codec="libx264",
        quality=None,
        macro_block_size=1,
        ffmpeg_log_level="error",
        input_params=["-r", str(frame_rate)],  # fps is rounded to two decimals by older versions
        output_params=_H264.split(),
    )


def _check_num_frames(path: Path, num_frames: int, *, name: str) -> None:
    """Count what is in the file: imageio-ffmpeg does not tell how ffmpeg ended."""
    try:
        num_written, _ = imageio_ffmpeg.count_frames_and_secs(str(path))
    except RuntimeError:  # not even a header
        num_written = 0
    if num_written != num_frames:
        raise OutputError(f"{name}: {num_written} of {num_frames} frames written; is the disk full?")
