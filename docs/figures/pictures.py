"""Pictures of the demo's street, made by the functions that `make` and `shake` use."""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from blursynth.crf import response_curve
from blursynth.interpolate import Gap, sub_frames_for
from blursynth.radiometry import LightChain, NoiseLevel, render
from blursynth.scene import render_frames
from blursynth.shake import ShakeRule, Trajectory, draw_trajectory
from blursynth.shake.rendering import shaken

from .drawing import Pixels, enlarged, panels

Light = NDArray[np.float32]
CURVE = response_curve("gamma:2.2")
_RATE = 960  # frames/s: slow enough from frame to frame to stand for the truth
_BUS = (slice(380, 640), slice(540, 900))
_TAXI = (slice(570, 690), slice(200, 380))


@lru_cache
def street() -> tuple[Pixels, ...]:
    """An eighth of a second of the demo's street, 1280x720, at 960 frames/s."""
    return tuple(render_frames(_RATE // 8, frame_rate=_RATE, rng=np.random.default_rng(0)))


def cut(frames: Sequence[Pixels], place: tuple[slice, slice]) -> list[Pixels]:
    """The same part of every frame."""
    return [np.ascontiguousarray(frame[place]) for frame in frames]


def mean_light(frames: Sequence[Pixels]) -> Light:
    """The mean of frames in linear light, (H, W, 3) float32."""
    total = np.zeros(frames[0].shape, np.float64)
    for frame in frames:
        total += CURVE.to_linear(frame)
    return (total / len(frames)).astype(np.float32)


def one_pair() -> Pixels:
    """Two of eleven frames at 240 a second, the blurry image that they make, and the sharp one."""
    frames = cut(street()[:81:8], _BUS)
    blurry = CURVE.from_linear(mean_light(frames))
    shown = [frames[0], frames[-1], blurry, frames[5]]
    return panels(
        shown,
        ["first of 11 frames (240/s)", "last of them", "blurry: their mean in light", "sharp: the sixth"],
        columns=2,
    )


def _lamps(count: int) -> Iterator[Pixels]:
    """Lamps of four times white that pass before the street at night; display codes."""
    night = 0.03 * CURVE.to_linear(street()[0][230:470, 100:420])
    y, x = np.mgrid[:240, :320].astype(np.float32)
    for shift in range(-(count // 2), count // 2 + 1):
        light = night.copy()
        for lamp_x, lamp_y, radius in ((85, 75, 6), (215, 125, 3), (140, 190, 9)):
            distance = np.hypot(x - lamp_x - shift, y - lamp_y - 0.35 * shift)[..., None]
            colour = np.array([1, 0.93, 0.8], np.float32)
            light += (4 * np.clip(radius + 0.5 - distance, 0, 1) + 0.05 * np.exp(-distance / 9)) * colour
        yield CURVE.from_linear(light)


def lamps_at_night() -> Pixels:
    """One frame of lamps, the mean of codes, of light, and of light with what clipping took."""
    frames = list(_lamps(61))
    clipped = np.stack([frame == 255 for frame in frames]).astype(np.float32).mean(axis=0)
    light = mean_light(frames)
    codes = np.rint(np.mean(frames, axis=0)).astype(np.uint8)
    whole = render(light, clipped, CURVE, LightChain(highlights="3").draw(0))
    titles = ["one frame", "mean of codes", "mean of light", "with --highlights 3"]
    return panels([frames[30], codes, CURVE.from_linear(light), whole], titles, columns=2)


def _with_sub_frames(frames: Sequence[Pixels]) -> Light:
    """The mean of frames and of as many moments between them as `--interpolate auto` takes."""
    lights = [CURVE.to_linear(frame) for frame in frames]
    lumas = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    total, weight = np.zeros_like(lights[0]), 0.0
    for i, light in enumerate(lights):
        total += light
        weight += 1
        if i + 1 < len(lights):
            gap = Gap(lumas[i], lumas[i + 1])
            count = sub_frames_for(gap.speed_px)
            gap.add(light, lights[i + 1], [k / (count + 1) for k in range(1, count + 1)], [1.0] * count, total)
            weight += count
    return total / np.float32(weight)


def ghosts() -> Pixels:
    """The taxi in a mean of seven frames at 60 a second: as it is, with sub-frames, and in truth; and x over time."""
    true = [frame[500:720] for frame in street()[:97]]
    coarse = true[::16]
    means = [mean_light(coarse), _with_sub_frames(coarse), mean_light(true)]
    crops = [np.ascontiguousarray(CURVE.from_linear(mean)[70:190, 130:430]) for mean in means]
    titles = ["7 frames of 60/s: ghosts", "the same, --interpolate auto", "truth: 97 frames of 960/s"]
    return panels(crops, titles)


def slices_over_time() -> Pixels:
    """One line of the picture over time: 960 frames a second, and 60."""
    line = (slice(650, 651), slice(130, 430))
    fine = np.concatenate(cut(street()[:97], line))
    coarse = fine[::16].repeat(16, 0)[:97]
    return panels([enlarged(fine, 1), enlarged(coarse, 1)], ["960 frames/s: lines", "60 frames/s: steps"])


def noise() -> Pixels:
    """A still, dark corner four times enlarged: a frame's noise, what a mean leaves of it, and `match`."""
    still = CURVE.to_linear(street()[0][430:500, 60:140]) * np.float32(0.35)
    level = NoiseLevel(shot=1.5e-3, read=2e-3)
    single = LightChain(noise="match")  # a mean of no frames at all lacks all of the noise
    frames = [render(still, None, CURVE, single.draw(key, level, 1e9)) for key in range(11)]
    light = mean_light(frames)
    matched = render(light, None, CURVE, single.draw(99, level, 11.0))
    titles = ["sharp: one frame", "blurry: mean of 11", "with --noise match"]
    return panels([enlarged(image, 4) for image in (frames[5], CURVE.from_linear(light), matched)], titles)


def exposures() -> Pixels:
    """The same moment at four exposures."""
    shown = []
    for count in (1, 9, 33, 97):
        first = 48 - count // 2
        shown.append(CURVE.from_linear(mean_light(cut(street()[first : first + count], _BUS))))
    return panels(shown, ["1/960 s", "1/107 s", "1/29 s", "1/10 s"], columns=2)


def rolling_shutter() -> Pixels:
    """A camera that turns faster and faster, read out at once and row after row."""
    photo = CURVE.to_linear(street()[0])
    times = np.linspace(-0.5, 1.5, 401)
    poses = np.zeros((401, 6))
    poses[:, 1] = 0.006 * (times + 0.5) ** 3  # turning faster and faster
    poses -= np.array([np.interp(np.linspace(0, 1, 500), times, column).mean() for column in poses.T])
    shown = []
    for readout in (0.0, 1.0):
        result = shaken(photo, Trajectory(times, poses, 1200.0, 1 / 30, readout, "gyro"), size=(600, 1100))
        image = CURVE.from_linear(result.blurry_linear)
        shown.append(np.ascontiguousarray(image[:, 330:690]))
    return panels(shown, ["all rows at once", "row after row"])


def shakes() -> Pixels:
    """One photograph under three shakes."""
    photo = CURVE.to_linear(street()[0])
    shown = [np.ascontiguousarray(street()[0][250:500, 420:720])]
    for key, kind in ((1, "boracchi-foi"), (8, "tremor"), (5, "tremor")):
        trajectory = draw_trajectory(ShakeRule(blur_px="30", trajectory=kind, layers="1"), key, photo.shape[:2])
        result = shaken(photo, trajectory)
        image = CURVE.from_linear(result.blurry_linear)
        top, left = 250 - result.top, 420 - result.left
        shown.append(np.ascontiguousarray(image[top : top + 250, left : left + 300]))
    return panels(shown, ["photograph", "boracchi-foi, 30 px", "tremor, 30 px", "tremor, 30 px"], columns=2)


FIGURES: dict[str, Callable[[], Pixels]] = {
    "exposures.jpg": exposures,
    "ghosts.jpg": ghosts,
    "lamps.jpg": lamps_at_night,
    "noise.png": noise,
    "pair.jpg": one_pair,
    "rolling-shutter.jpg": rolling_shutter,
    "shakes.jpg": shakes,
    "slices.png": slices_over_time,
}
