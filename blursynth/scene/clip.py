"""Frames of the street, seen by a hand-held camera, and the clip that they make."""

import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from blursynth.encoding import write_h264
from blursynth.errors import SettingsError
from blursynth.scene.street import HEIGHT, paint_layers, place
from blursynth.scene.texture import Pixels

__all__ = ["render_frames", "write_clip"]

_FINER = 2  # pixels of a painting for one of the picture: moving by half a pixel then costs no sharpness
_NOISE_SIGMA = 1.0  # codes
_MIN_SIZE = 64  # px
_QUALITY = 15  # x264's CRF: the clip stands for footage, whose detail the demo needs


def render_frames(
    num_frames: int, *, width: int = 1280, height: int = 720, frame_rate: int | Fraction = 240, rng: Generator
) -> Iterator[Pixels]:
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
        A name that ends in .mp4; the file appears when it is whole.
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
        If a number is out of its range, the name does not end in .mp4, or the file exists and ``overwrite`` is false.
    DeviceError
        If there is no ffmpeg.
    OutputError
        If the file cannot be written.
    """
    num_frames = round(seconds * frame_rate) if math.isfinite(seconds) else 0
    rng = np.random.default_rng(seed)
    frames = render_frames(num_frames, width=width, height=height, frame_rate=frame_rate, rng=rng)
    write_h264(
        path,
        _reporting(frames, progress),
        size=(height, width),
        frame_rate=Fraction(frame_rate),
        quality=_QUALITY,
        overwrite=overwrite,
    )


def _reporting(frames: Iterator[Pixels], progress: Callable[[int], None] | None) -> Iterator[Pixels]:
    for num_done, frame in enumerate(frames, 1):
        yield frame
        if progress:
            progress(num_done)


def _render(num_frames: int, size: tuple[int, int], frame_rate: Fraction, rng: Generator) -> Iterator[Pixels]:
    width, height = size
    scale = height / HEIGHT
    units = width / scale
    times = np.array([float(index / frame_rate) for index in range(num_frames)])
    path = _shake(times, rng)
    street, *things = paint_layers(units, _margin(units), scale * _FINER, rng)
    noise = rng.normal(0, _NOISE_SIGMA, (height + 64, width + 64, 3)).round().astype(np.int8)
    for seconds, (right, down, roll, zoom) in zip(times.tolist(), path.tolist(), strict=True):
        lens = place(width / 2, height / 2, roll, scale * (1 + zoom))
        matrices = [
            lens
            @ place(layer.depth * right - units / 2, layer.depth * down - HEIGHT / 2)
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


def _lay(frame: Pixels, pixels: Pixels, matrix: NDArray[np.float64]) -> None:
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
