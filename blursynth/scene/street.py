"""The street: its drawings, in the notation of `painting`, and the layers that it is made of, with their movements."""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from blursynth.scene.painting import PALETTE, Colour, Painting, Point, pick
from blursynth.scene.texture import cloud, light

__all__ = ["HEIGHT", "Layer", "paint_layers", "place"]

HEIGHT = 720.0  # of the scene, in units

_WINDOW = (  # 36 wide, 58 high, its curtains left open
    "paint box -5 -6 46 68; paint box -8 60 52 5; - light -8 65 52 9 .5 .9;"  # frame, sill, its shade
    "glass box 0 0 36 58; - sky 0 0 36 58; {curtains};"
    "paint box 16.5 0 3 58; paint box 0 24 36 2.6; - light 0 0 36 14 .4 1"  # bars, the shade of the lintel
)
_CURTAINS = (
    "9y3 walk box 0 0 36 1.8",  # blinds, half down
    "16y3 walk box 0 0 36 1.8",  # and down
    "4x3.2 paper box 0 0 2 58; 3x3.2 paper box 28 0 2 58",
    "2x3.2 walk box 0 0 2 58; 2x3.2 walk box 31 0 2 58; flowers dots -2 48 40 12",
    "glow box 0 0 36 58; lamp oval 18 18 5 5; 4x3.2 paper box 0 0 2 58; flowers dots -2 50 40 10",  # somebody is in
)
_SHOP = (  # n times 24 units wide, from the lamps above its name down to the ground
    "paint box 0 0 {wide} {high}; - light 0 0 {wide} {high} .5 .5;"
    "wood box 8 60 {inside} 104; - light 8 60 {inside} 104 1.7 .5;"  # the lit shop window
    "{n}x24 paints box 14 98 7 24; {n}x24 paints box 22 104 4 18; {n}x24 paints box 28 94 9 28;"  # wares above
    "{n}x24 paints box 12 144 5 20; {n}x24 paints box 19 146 8 18; {n}x24 trims box 29 140 4 24;"  # and below
    "{n}x24 lamp oval 24 76 3 3; - poster 18 76 1;"
    "wood box {door} 58 48 130; glass box {door} 66 34 62; paper bold {door} 84 30 8 OPEN 7-22;"
    "- light 0 62 {wide} 34 .3 1;"  # the shade of the awning
    "{n}x24 paint box 0 40 12 24; {n}x24 paper box 12 40 12 24;"  # its stripes, and its scallops
    "{n}x24 paint oval 6 64 6 5; {n}x24 paper oval 18 64 6 5; - light 0 40 {wide} 30 1.1 .8;"
    "paint box 4 4 {inside} 34; paper {font} 16 10 {inside} 22 SHOP; {n}x24 lamp oval 12 3 3.2 3.2"  # the sign
)
_PAVEMENT = (
    "walk box 0 488 {long} 60; 3y14 joint box 0 494 {long} 1.3; {n}x44 joint shape 20 488 21.5 488 2 538 -1 538;"
    "- light 0 488 {long} 10 .45 1; kerb box 0 538 {long} 8;"
    "road box 0 546 {long} 400; {n}x130 kerb shape 8 636 82 636 76 646 0 646; - light 0 546 {long} 14 .6 1"
)


class _Thing(NamedTuple):
    """A drawing whose point (0, 0) is where the thing stands on the ground, or what is said beside it."""

    box: tuple[float, float, float, float]
    """Left, top, width, height of what is drawn on."""
    drawing: str


_THINGS = {
    "bus": _Thing(
        (-24, -226, 608, 250),
        "ink haze 280 -3 286 12;"
        "paint round 0 -18 0 -120 4 -216 40 -220 550 -220 560 -210 560 -18; paper box 12 -210 540 3;"
        "night box 10 -190 544 72; 8x64 glass shape 44 -190 62 -190 40 -118 22 -118;"  # windows, and what they reflect
        "7x64 skins oval 96 -134 8 11; 7x64 paints round 80 -118 80 -130 114 -130 114 -118;"  # passengers
        "9x64 ink box 10 -192 4 76; 7x64 ink box 72 -112 1 90;"  # pillars, and seams below
        "ink box 60 -206 150 18; amber bold 64 -204 142 13 14 MARKET SQUARE;"
        "paper bold 156 -106 250 42 NAME; paper plain 156 -54 250 9 LONG;"
        "night box 26 -186 46 160; glass shape 34 -180 48 -180 42 -34 30 -34; paint box 47 -186 3 160;"  # door
        "ink box 0 -24 560 5; - light 0 -116 560 100 1.15 .6; - poster 488 -112 1.1;"
        "2x338 ink oval 110 -30 38 38; lamp oval 14 -50 9 10; red box 554 -70 6 26",  # wheel arches, lights
    ),
    "taxi": _Thing(
        (-24, -128, 384, 152),
        "ink haze 168 -3 172 12;"
        "paint round 0 -18 2 -62 26 -78 74 -84 116 -120 214 -122 258 -84 326 -70 338 -44 336 -18;"
        "night round 84 -82 120 -117 210 -119 250 -82; glass shape 124 -110 146 -112 122 -86 102 -86;"  # windows
        "paint box 164 -119 6 37; glass shape 188 -112 204 -112 224 -86 204 -86; 3x76 ink box 92 -80 1.4 54;"
        "ink bold 104 -64 62 18 NAME; ink plain 104 -42 62 9 call 555-0199; paper box 176 -68 14 3;"
        "- light 0 -80 340 62 1.3 .5; lamp box 22 -74 296 1.6;"
        "2x204 ink oval 68 -27 33 33; lamp oval 326 -58 9 6; red box 3 -62 8 14; amber box 150 -127 34 8",
    ),
    "wheel": _Thing(  # (0, 0) is the axle
        (-32, -32, 64, 64),
        "ink oval 0 0 30 30; steel oval 0 0 21 21; ink oval 0 0 19 19; steel oval 0 0 5 5;"
        "shine shape 0 -3 -20 -4 -20 4 0 3 20 4 20 -4; shine shape -3 0 -4 -20 4 -20 3 0 4 20 -4 20",  # spokes
    ),
    "walker": _Thing(  # down to the hips; legs walk for themselves
        (-42, -180, 84, 132),
        "paints round -25 -56 -31 -120 -18 -142 18 -142 31 -120 25 -56;"
        "skins oval 0 -154 10 13; hairs round -13 -148 -14 -170 0 -176 14 -170 13 -148 9 -160 -9 -160;"
        "2x8 ink oval -4 -155 1.3 1.6; - poster -27 -134 1",
    ),
    "leg": _Thing(  # (0, 0) is the hip
        (-30, -10, 60, 80),
        "denim round -9 -8 10 -8 7 30 5 58 -6 58 -7 30; ink round -8 54 8 54 9 67 -9 67",
    ),
    "balloon": _Thing(  # (0, 0) is its middle
        (-44, -56, 88, 190),
        "paper box -.6 46 1.2 80; paint shape 0 40 6 54 -6 54;"
        "paint round 0 50 -34 24 -46 -20 -24 -54 24 -54 46 -20 34 24;"
        "paper bold -26 -16 52 22 NAME; lamp oval -17 -33 4 7",
    ),
    "sign": _Thing(
        (-60, -420, 120, 640),
        "steel box -6 -400 12 620; shine box -6 -400 3 620;"
        "red oval 0 -360 52 52; paper oval 0 -360 42 42; ink bold -30 -384 60 46 30; - poster -46 -296 1.7",
    ),
    "tree": _Thing(
        (-170, -360, 340, 372),
        "bark shape -11 6 -7 -150 -40 -250 -30 -252 0 -180 34 -260 42 -256 8 -150 12 6;"
        "6x3 ink box -8 -150 1 154; - leaves 0 -236 60 46",
    ),
    "lamp": _Thing(
        (-30, -270, 60, 280),
        "night shape -5 6 -2 -228 2 -228 5 6; night box -9 -24 18 30;"
        "lamp shape -13 -252 13 -252 8 -224 -8 -224; night shape -17 -252 0 -266 17 -252;"
        "paints box -24 -190 48 22; paper bold -21 -188 42 9 Market Sq; paper plain -21 -176 42 6 Lines 3 7 14",
    ),
}


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A painting and how its point (0, 0) moves."""

    painting: Painting
    depth: float = 1.0
    """How many times the camera's shift; nearer is more."""
    start: Point = (0.0, 0.0)
    velocity: Point = (0.0, 0.0)
    """Units per second."""
    lead: float = 0.0
    """Units beyond the edges before it comes back on the other side."""
    offset: Point = (0.0, 0.0)
    """Of a part from the whole that it rides on."""
    spin_rad_hz: float = 0.0
    swing_rad: float = 0.0
    rhythm_hz: float = 0.0
    """Of the swing, and of the two steps in it."""

    def to_scene(self, seconds: float, width: float) -> NDArray[np.float64]:
        """Return the (3, 3) matrix from the painting's pixels to units of a scene that is ``width`` units wide."""
        beat = math.sin(2 * math.pi * self.rhythm_hz * seconds)
        x, y = (
            (start + speed * seconds + self.lead) % (size + 2 * self.lead) - self.lead if speed else start
            for start, speed, size in zip(self.start, self.velocity, (width, HEIGHT), strict=True)
        )
        angle = self.spin_rad_hz * seconds + self.swing_rad * beat
        turned = place(x + self.offset[0], y + self.offset[1] + 4 * beat**2, angle)
        return turned @ place(-self.painting.origin[0], -self.painting.origin[1], zoom=1 / self.painting.scale)


def place(x: float, y: float, angle: float = 0.0, zoom: float = 1.0) -> NDArray[np.float64]:
    """Return the (3, 3) matrix that turns by radians and zooms about the origin, then shifts."""
    c, s = zoom * math.cos(angle), zoom * math.sin(angle)
    return np.array([[c, -s, x], [s, c, y], [0, 0, 1]])


def paint_layers(width: float, margin: float, scale: float, rng: Generator) -> list[Layer]:
    """Paint everything.

    Parameters
    ----------
    width
        Of the scene, in units.
    margin
        How far the street goes on beyond all edges, in units.
    scale
        Pixels of the paintings in a unit.
    rng
        Draws what the drawings leave open.

    Returns
    -------
    The layers, the farthest first: the street, which hides everything behind it, and the things before it.
    """
    tree, lamp, leg, wheel, sign = (_paint_thing(name, scale, rng) for name in ("tree", "lamp", "leg", "wheel", "sign"))
    layers = [Layer(_paint_street(width, margin, scale, rng))]
    layers += [Layer(lamp, 1.08, (x, 512.0)) for x in np.arange(150, width + 100, 460)]
    layers += [Layer(tree, 1.12, (x, 520.0)) for x in np.arange(390, width + 200, 760)]
    for x, speed in ((0.08, 150.0), (0.3, -140.0), (0.55, 170.0), (0.9, -160.0)):
        body = Layer(_paint_thing("walker", scale, rng), 1.15, (x * width, 528.0), (speed, 0.0), 120, rhythm_hz=1.5)
        layers += [replace(body, painting=leg, offset=(0, -66), swing_rad=swing) for swing in (0.42, -0.42)]
        layers.append(body)
    for n, words in enumerate(("SALE", "40%", "Hello", "OPEN")):
        balloon = _paint_thing("balloon", scale, rng, PALETTE["paints"][n], words)
        start, velocity = ((0.1 + 0.27 * n) * width, 100.0 + 290 * n % 700), (60.0 - 40 * n, -240.0 - 40 * n)
        layers.append(Layer(balloon, 1.2, start, velocity, 150, swing_rad=0.1, rhythm_hz=0.8))
    layers += _paint_traffic(width, scale, wheel, rng)
    return layers + [Layer(sign, 1.5, (x, 560.0)) for x in np.arange(width * 0.86, 2 * width, 1400)]


def _paint_traffic(width: float, scale: float, wheel: Painting, rng: Generator) -> list[Layer]:
    bus, taxi = (-350.0, 614.0, 1.2, (110.0, 448.0)), (460.0, 690.0, 1.35, (68.0, 272.0))
    traffic = (
        ("bus", "RIVER WALK", 0.46, bus),
        ("bus", "CITY TOURS", 1.5, bus),
        ("taxi", "RIVER TAXI", 0.1, taxi),
        ("taxi", "NIGHT TAXI", 1.0, taxi),
    )
    layers = []
    for n, (name, words, x, (speed, ground, depth, axles)) in enumerate(traffic):
        painting = _paint_thing(name, scale, rng, PALETTE["paints"][n], words)
        body = Layer(painting, depth, (x * width, ground), (speed, 0.0), 760)
        layers += [body, *(replace(body, painting=wheel, offset=(axle, -29), spin_rad_hz=speed / 30) for axle in axles)]
    return layers


def _paint_thing(name: str, scale: float, rng: Generator, paint: Colour = (), words: str = "") -> Painting:
    (left, top, width, height), drawing = _THINGS[name]
    p = Painting.blank(left, top, (width, height), scale, rng)
    p.draw(drawing, paint, words)
    return p.finish()


def _paint_street(width: float, margin: float, scale: float, rng: Generator) -> Painting:
    """Paint what does not move: the sky, the houses, the pavement and the road."""
    long = width + 2 * margin
    p = Painting.blank(-margin, -margin, (long, HEIGHT + 2 * margin), scale, rng)
    clouds = np.clip(0.3 * cloud(p.pixels.shape, rng, finest=4) + 0.5, 0, 1)
    p.pixels[..., :3] = clouds * 255 + (1 - clouds) * np.array([104, 154, 214], np.float32)
    p.pixels[..., 3] = 255
    x = -margin - rng.uniform(0, 100)
    while x < width + margin:
        house = rng.uniform(210, 330)
        _paint_house(p.moved(x, 0), house)
        x += house
    p.moved(-margin, 0).draw(_PAVEMENT.format(long=long, n=int(long // 44)))
    ground = p.pixels[round((488 + margin) * scale) :]
    light(ground, 1 + 0.14 * cloud(ground.shape, rng, stretch=-1))
    down, right = (np.arange(n, dtype=np.float32) / np.float32(scale) for n in p.pixels.shape[:2])
    slant = (right + np.float32(0.42) * down[:, None] + np.float32(rng.uniform(0, 860))) % 860
    shadow = np.clip((170 - abs(slant - 430)) / 9, 0, 1)[..., None]  # of the houses across the street
    light(p.pixels, np.asarray(1.14 - shadow * (0.64, 0.60, 0.52), np.float32))
    return p.finish(sun=0.0)


def _paint_house(p: Painting, width: float) -> None:
    """Paint a house whose left corner on the ground is (0, 488)."""
    top, shop, door = p.rng.uniform((-80, 298, 0.4 * width), (60, 314, 0.7 * width)).tolist()
    stone, trim = pick(PALETTE["stones"], p.rng), pick(PALETTE["trims"], p.rng)
    brick = pick(("15 5.4", "34 17", "22 7.5"), p.rng)
    p.draw(f"paint box 0 {top} {width} {490 - top}; - brick 0 {top} {width} {488 - top} {brick}", stone)
    columns, n = int(width // 74), int(width // 24)
    for y in np.arange(shop - 86, top + 20, -90):
        p.draw(f"paint box 0 {y + 74} {width} 4", trim)
        for column in range(columns):
            window = p.moved(width * (column + 0.5) / columns - 18, y)
            window.draw(_WINDOW.format(curtains=pick(_CURTAINS, p.rng)), trim)
    p.draw(f"- light 0 {top} {width} 40 .4 1; paint box -3 {top - 8} {width + 6} 16", trim)  # the cornice
    p.draw(f"{3 * n}x8 paint box 0 {top + 8} 4 7", trim)
    font = pick(("bold", "script"), p.rng)
    drawing = _SHOP.format(n=n, wide=24 * n, high=490 - shop, inside=24 * n - 16, door=door, font=font)
    p.moved(width / 2 - 12 * n, shop).draw(drawing, pick(PALETTE["paints"], p.rng))
