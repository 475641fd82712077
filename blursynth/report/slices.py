"""A slice through space and time: what the frames show along a line, moment by moment.

The line goes through the fastest point, along its motion. Smooth motion draws slanted stripes; where the frames are too
far apart, the stripes break into dots, and the blurry image below them shows an edge several times. A cut tears them.
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from blursynth.decoding import decode, to_rgb
from blursynth.motion import step, view
from blursynth.pages import escape
from blursynth.pages.images import data_uri, encode
from blursynth.pages.scales import linear_axis, number_text
from blursynth.video import VideoInfo

__all__ = ["Slice", "cut_slice", "slice_figure"]

_AROUND = 6  # frames before and after the window
_MAX_FRAMES = 97
_HALF_LENGTH_PX = 200
_FASTEST = 90  # percentile
_BORDER = 0.06  # of the picture, where motion is not measured well


@dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """What stands on a line of a clip.

    Parameters
    ----------
    frames
        (T, L, 3) uint8: the line in each frame, a sample a pixel.
    first_frame
        Which frame of the clip the first one is.
    window
        The first and the last frame that the blurry image is the mean of.
    blurry, sharp
        (L, 3) uint8: the same line in the pair.
    point
        (x, y) of the fastest point in the upright pair, pixels of the clip.
    speed_px
        There, a frame.
    """

    frames: NDArray[np.uint8]
    first_frame: int
    window: tuple[int, int]
    blurry: NDArray[np.uint8]
    sharp: NDArray[np.uint8]
    point: tuple[float, float]
    speed_px: float


def cut_slice(info: VideoInfo, row: Any, pair: Sequence[NDArray[np.uint8]]) -> Slice | None:
    """Read the frames around a pair's window and return the slice through its fastest point.

    Parameters
    ----------
    info
        The clip that the pair was made from.
    row
        Of PAIR_DTYPE.
    pair
        The blurry and the sharp image, (H, W, 3) uint8, upright and perhaps smaller than the clip.

    Returns
    -------
    None where the clip has no such frames.

    Raises
    ------
    VideoError
        If the clip cannot be decoded.
    """
    first, centre, last = (int(row[name]) for name in ("first_frame", "centre_frame", "last_frame"))
    start = max(0, first - _AROUND, centre - _MAX_FRAMES // 2)
    stop = min(info.num_frames, last + 1 + _AROUND, centre + 1 + _MAX_FRAMES // 2)
    if not 0 <= first <= centre <= last < info.num_frames or stop - start < 2:
        return None
    at = min(max(centre - 1, start), stop - 2)
    neighbours = []
    # Frames wait as they were coded until the line through them is known.
    waiting = []
    with closing(decode(info, start)) as clip:  # type: ignore[type-var]  # a generator
        for frame in clip:
            if frame.index >= stop:
                break
            waiting.append(frame)
            if at <= frame.index <= at + 1:
                neighbours.append(view(frame.planes[0], 255 if info.colour.depth == 8 else info.colour.peak))
    if len(neighbours) < 2 or len(waiting) < 2:
        return None
    point, velocity = _fastest(info, step(*neighbours).flow, neighbours[0].reduced)
    line = _line(point, velocity, info)
    frames = [_sample(_codes(info, frame), line) for frame in waiting]
    coded = [np.rot90(image, -info.rotation) for image in pair]
    scale = coded[0].shape[1] / info.width, coded[0].shape[0] / info.height
    blurry, sharp = (_sample(np.ascontiguousarray(image), _scaled(line, scale)) for image in coded)
    return Slice(
        frames=np.stack(frames),
        first_frame=waiting[0].index,
        window=(first, last),
        blurry=blurry,
        sharp=sharp,
        point=_upright(point, info),
        speed_px=float(np.hypot(*velocity)),
    )


def _fastest(
    info: VideoInfo, flow: NDArray[np.float32], reduced: NDArray[np.uint8]
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return where (x, y) an edge moves fastest, and its velocity, pixels and pixels a frame.

    Of the fastest tenth it is the point with the most contrast: motion without an edge shows nothing.
    """
    height, width = flow.shape[:2]
    smooth = cv2.blur(flow, (5, 5)) if min(height, width) >= 5 else flow
    speed = np.hypot(smooth[..., 0], smooth[..., 1])
    luma = cv2.resize(reduced, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    contrast = cv2.blur(np.abs(luma - cv2.blur(luma, (7, 7))), (3, 3))
    rows, columns = int(height * _BORDER), int(width * _BORDER)
    inside = np.zeros(speed.shape, bool)
    inside[rows : height - rows, columns : width - columns] = True
    fast = inside & (speed >= np.percentile(speed[inside], _FASTEST))
    y, x = np.unravel_index(np.argmax(np.where(fast, contrast, -1)), speed.shape)
    point = (float((x + 0.5) * info.width / width - 0.5), float((y + 0.5) * info.height / height - 0.5))
    return point, (float(smooth[y, x, 0]), float(smooth[y, x, 1]))


_Line = tuple[NDArray[np.float32], NDArray[np.float32]]


def _line(point: tuple[float, float], velocity: tuple[float, float], info: VideoInfo) -> _Line:
    """Return x and y of a line through a point along its motion, in steps of a pixel, as far as the picture goes."""
    speed = np.hypot(*velocity)
    direction = np.array(velocity) / speed if speed > 0.05 else np.array([1.0, 0.0])
    if direction[0] < 0 or (direction[0] == 0 and direction[1] < 0):
        direction = -direction  # read from left to right
    along = np.arange(-_HALF_LENGTH_PX, _HALF_LENGTH_PX + 1)
    x, y = point[0] + along * direction[0], point[1] + along * direction[1]
    inside = (x >= 0) & (x <= info.width - 1) & (y >= 0) & (y <= info.height - 1)
    return x[inside].astype(np.float32), y[inside].astype(np.float32)


def _scaled(line: _Line, scale: tuple[float, float]) -> _Line:
    x, y = ((values + 0.5) * factor - 0.5 for values, factor in zip(line, scale, strict=True))
    return x.astype(np.float32), y.astype(np.float32)


def _sample(image: NDArray[np.uint8], line: _Line) -> NDArray[np.uint8]:
    found = cv2.remap(image, line[0][None], line[1][None], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found[0], np.uint8)


def _codes(info: VideoInfo, frame: Any) -> NDArray[np.uint8]:
    codes = to_rgb(info, frame)
    if codes.dtype == np.uint8:
        return codes
    return np.rint(codes * (255 / info.colour.peak)).clip(0, 255).astype(np.uint8)


def _upright(point: tuple[float, float], info: VideoInfo) -> tuple[float, float]:
    """Return a point of the coded frame after ``info.rotation`` quarter turns, counterclockwise."""
    (x, y), (width, height) = point, (info.width, info.height)
    for _ in range(info.rotation % 4):
        x, y, width, height = y, width - 1 - x, height, width
    return x, y


_WIDTH, _LEFT, _RIGHT = 430, 58, 14
_STRIP, _GAP, _TOP = 26, 6, 6


def slice_figure(found: Slice, name: str, link: str, remark: str) -> str:
    """Return a slice as a figure with its axes; ``link`` is the address of the pair in the page, ``remark`` text."""
    num_frames, length = found.frames.shape[:2]
    inner = _WIDTH - _LEFT - _RIGHT
    tall = max(110, min(230, 8 * num_frames))
    below = _TOP + tall
    strips = (("blurry", found.blurry, below + _GAP), ("sharp", found.sharp, below + 2 * _GAP + _STRIP))
    bottom = below + 2 * (_GAP + _STRIP)
    parts = [_image(found.frames, _TOP, tall, inner)]
    for label, pixels, y in strips:
        parts.append(_image(pixels[None], y, _STRIP, inner))
        parts.append(f'<text x="{_LEFT - 6}" y="{y + _STRIP / 2 + 4}" text-anchor="end">{label}</text>\n')
    parts.append(_frame_ticks(found, tall) + _pixel_ticks(length, bottom, inner))
    x, y = found.point
    told = (
        f"Frames {found.first_frame} to {found.first_frame + num_frames - 1} along {length} px through "
        f"({x:.0f}, {y:.0f}), where things move by {number_text(found.speed_px)} px a frame. {remark}"
    )
    drawing = (
        f'<svg viewBox="0 0 {_WIDTH} {bottom + 38}" role="img" aria-label="Slice through time of {escape(name)}">\n'
        f"{''.join(parts)}</svg>\n"
    )
    return (
        f'<figure class="chart">\n<h3><a href="#{escape(link)}">{escape(name)}</a></h3>\n{drawing}'
        f"<figcaption>{escape(told)}</figcaption>\n</figure>\n"
    )


def _image(pixels: NDArray[np.uint8], y: int, height: int, width: int) -> str:
    address = data_uri(encode(np.ascontiguousarray(pixels), "PNG"), "PNG")
    return (
        f'<image x="{_LEFT}" y="{y}" width="{width}" height="{height}" preserveAspectRatio="none" '
        f'style="image-rendering: pixelated" href="{address}"/>\n'
    )


def _frame_ticks(found: Slice, tall: int) -> str:
    """Return the numbers of the frames, and a bracket along those that the blurry image is made of."""
    num_frames = len(found.frames)
    row = tall / num_frames
    first, last = (max(0, min(num_frames - 1, frame - found.first_frame)) for frame in found.window)
    top, bottom = _TOP + first * row, _TOP + (last + 1) * row
    middle = (top + bottom) / 2
    parts = [
        f'<path class="mark" fill="none" d="M{_LEFT} {top:.1f}h-5V{bottom:.1f}h5"/>\n',
        f'<text class="mark-text" transform="rotate(-90)" x="{-middle:.1f}" y="12" text-anchor="middle">window</text>',
    ]
    for number in sorted({0, first, last, num_frames - 1}):
        if number in {0, num_frames - 1} and min(abs(number - first), abs(number - last)) * row < 12:
            continue
        y = _TOP + (number + 0.5) * row + 4
        parts.append(f'<text x="{_LEFT - 9}" y="{y:.1f}" text-anchor="end">{found.first_frame + number}</text>\n')
    return "".join(parts)


def _pixel_ticks(length: int, bottom: int, inner: int) -> str:
    axis = linear_axis(0, max(1, length - 1), 5, is_tight=True)
    parts = []
    for tick in axis.ticks:
        x = _LEFT + inner * (tick + 0.5) / length
        parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 4}"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{tick:g}</text>\n')
    middle = _LEFT + inner / 2
    return "".join(parts) + f'<text x="{middle}" y="{bottom + 32}" text-anchor="middle">along the motion, px</text>\n'
