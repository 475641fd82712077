"""From photographs and exposure times to a response curve."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from blursynth.calibration.comparagram import PER_CODE, Blocks, Comparagram, fit_log_light
from blursynth.crf import CURVE_SCHEMA, ResponseCurve, curve_of_table
from blursynth.errors import PhotoError, SettingsError
from blursynth.files import printable, refuse_existing, write_bytes

__all__ = ["METHODS", "Calibration", "Method", "calibrate", "check_output", "write_curve"]

Method: TypeAlias = Literal["least-squares", "debevec", "robertson"]
METHODS: tuple[Method, ...] = get_args(Method)
Images: TypeAlias = Sequence[NDArray[np.uint8]]
Floats: TypeAlias = NDArray[np.float64]

_MIN_SIDE_PX = 32
_LEAST_EXPOSURE_SECONDS, _MOST_EXPOSURE_SECONDS = 1e-7, 1e5
_LEAST_RATIO = 1.05  # of two exposure times
_NEARLY_ENDS = (16, 235)  # codes to about which noise and JPEG bring some of what is black or clipped
_DARK_CODE, _BRIGHT_CODE = 96, 128  # codes below and above must be seen
_FEW_BLOCKS = 200
_MOST_LOG_RANGE = 25.0  # of light, from code 1 to the one that clips
_LEAST_BRIGHTER = 0.8  # of the blocks, from one exposure time to the next
_LEAST_STEP = 2e-3  # of log light from code to code
_MOST_RESIDUAL_CODES = 4.0  # a moved camera gives more; still ones, JPEG and noise give about a half
_DOUBTFUL_RESIDUAL_CODES = 1.5
_ENDS = (6, 249)  # codes beyond which OpenCV's answers are not believed


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """A response curve that was measured; made by `calibrate`."""

    curve: ResponseCurve
    """Of all channels together, named after its content."""
    channel_tables: Floats
    """(3, 256) linear light of the codes of R, G and B, each from 0 to 1; a channel that shows too little has that of
    all channels."""
    method: Method
    residual_codes: float
    """How far the photographs are from agreeing with the curve, RMS over pairs of blocks, in 8-bit codes."""
    num_images: int
    idle: tuple[str, ...] = ()
    """Photographs that share next to nothing with any other that is neither black nor clipped: they say nothing."""

    @property
    def table(self) -> Floats:
        """(256,) linear light of the codes, from 0 to 1."""
        return self.curve.linear_of_codes()

    @property
    def is_doubtful(self) -> bool:
        """Whether the photographs agree less than noise and JPEG explain."""
        return self.residual_codes > _DOUBTFUL_RESIDUAL_CODES

    def summary(self) -> dict[str, Any]:
        """Return what was found in a few plain values, for JSON."""
        return {
            "name": self.curve.name,
            "method": self.method,
            "num_images": self.num_images,
            "residual_codes": round(self.residual_codes, 3),
            "idle": list(self.idle),
        }


def calibrate(
    images: Images,
    exposure_seconds: Sequence[float],
    *,
    method: Method = "least-squares",
    names: Sequence[str] | None = None,
) -> Calibration:
    """Measure the response curve of the camera that took a bracket.

    Parameters
    ----------
    images
        Three or more of (H, W, 3) uint8, RGB display codes of the same still scene, in any order.
    exposure_seconds
        The exposure time of each; only their ratios count.
    method
        ``least-squares`` is ours, see `comparagram.fit_log_light`; ``debevec`` and ``robertson`` are OpenCV's, made
        monotone, and far worse where a part of the pictures is clipped.
    names
        What to call the photographs in errors.

    Returns
    -------
    The curve. Its scale is fixed by light 1.0 at code 255, which is seldom well seen and therefore extrapolated.

    Raises
    ------
    SettingsError
        If the numbers of images and exposure times are not equal and at least three, or times are not positive and
        distinct.
    PhotoError
        If the images differ in size, do not get brighter with the exposure time, show too little between black and
        clipped, or contradict each other.
    """
    names = names or [f"photograph {number}" for number in range(1, len(images) + 1)]
    _check_settings(images, exposure_seconds, names, method)
    _check_images(images, names)
    order = sorted(range(len(images)), key=lambda i: exposure_seconds[i])
    images, names = [images[i] for i in order], [names[i] for i in order]
    seconds = [float(exposure_seconds[i]) for i in order]
    blocks = [Blocks.of(image) for image in images]
    _check_brightness(blocks, names)
    together = Comparagram.of(blocks, seconds, [0, 1, 2])
    _check_content(together)
    if method == "least-squares":
        channels = [Comparagram.of(blocks, seconds, [channel]) for channel in range(3)]
        logs = [fit_log_light(seen if _is_enough(seen) else together) for seen in (together, *channels)]
    else:
        channel_logs = _opencv_log_light(images, seconds, method)
        logs = [np.mean(channel_logs, axis=0), *channel_logs]
    logs = [_increasing(log_light) for log_light in logs]
    if max(log_light[255] - log_light[1] for log_light in logs) > _MOST_LOG_RANGE:
        raise PhotoError("no curve fits these photographs; take more, of a scene with light and shade")
    trust = together.trust()
    miss = together.disagreement_codes(logs[0])
    residual = float(np.sqrt((trust * miss**2).sum() / trust.sum()))
    if residual > _MOST_RESIDUAL_CODES:
        raise PhotoError(
            f"the photographs contradict each other by {residual:.1f} codes: was the camera still, and was it only the "
            "exposure time that changed?"
        )
    curve, *curves = (curve_of_table(_light(log_light), "calibration") for log_light in logs)
    tables = np.stack([channel.linear_of_codes() for channel in curves])
    return Calibration(curve, tables, method, residual, len(images), _idle(blocks, names))


def _idle(blocks: Sequence[Blocks], names: Sequence[str]) -> tuple[str, ...]:
    shared = np.array([[np.sum(a.is_usable & b.is_usable) for b in blocks if b is not a] for a in blocks])
    return tuple(name for name, count in zip(names, shared.max(axis=1), strict=True) if count < _FEW_BLOCKS)


def check_output(path: Path, suffix: str, *, overwrite: bool = False) -> None:
    """Refuse, before any work, a name that cannot be written to.

    Raises
    ------
    SettingsError
        If the name does not end in ``suffix``, or if the file exists and ``overwrite`` is false.
    """
    if path.suffix.lower() != suffix:
        raise SettingsError(f"{printable(path)}: choose a name that ends in {suffix}")
    if not path.parent.is_dir():
        raise SettingsError(f"{printable(path)}: its folder is not there; make it first")
    refuse_existing(path, overwrite=overwrite)


def write_curve(path: Path, calibration: Calibration, *, overwrite: bool = False) -> None:
    """Write a curve as JSON, from which `blursynth.crf.response_curve` makes the very same curve.

    Raises
    ------
    SettingsError
        If the file exists and ``overwrite`` is false, or if its name does not end in .json.
    OutputError
        If the disk says no.
    """
    check_output(path, ".json", overwrite=overwrite)
    content = {
        "schema": CURVE_SCHEMA,
        **{name: value for name, value in calibration.summary().items() if name != "idle"},
        "table": calibration.table.tolist(),
        "channel_tables": dict(zip("rgb", calibration.channel_tables.tolist(), strict=True)),
    }
    write_bytes(path, (json.dumps(content, indent=1) + "\n").encode(), overwrite=overwrite)


def _check_settings(images: Images, exposure_seconds: Sequence[float], names: Sequence[str], method: str) -> None:
    if method not in METHODS:
        raise SettingsError(f"method {method!r} is unknown; choose one of {', '.join(METHODS)}")
    if not 3 <= len(images) == len(exposure_seconds) == len(names):
        raise SettingsError(
            f"{len(images)} photographs and {len(exposure_seconds)} exposure times; three or more of both are needed"
        )
    for name, seconds in zip(names, exposure_seconds, strict=True):
        if not _LEAST_EXPOSURE_SECONDS <= seconds <= _MOST_EXPOSURE_SECONDS:
            raise SettingsError(f"{name}: an exposure time of {seconds} s; it must be from 1e-7 to 1e5")
    for (short, one), (long, other) in itertools.pairwise(sorted(zip(exposure_seconds, names, strict=True))):
        if long < short * _LEAST_RATIO:
            raise SettingsError(f"{one} and {other}: both exposed for {short:g} s; each needs a time of its own")


def _check_images(images: Images, names: Sequence[str]) -> None:
    for name, image in zip(names, images, strict=True):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or min(image.shape[:2]) < _MIN_SIDE_PX:
            raise PhotoError(f"{name}: {image.dtype} of {image.shape}; 8-bit RGB of {_MIN_SIDE_PX} px a side is needed")
        if image.shape != images[0].shape:
            sizes = [f"{i.shape[1]}x{i.shape[0]}" for i in (image, images[0])]
            raise PhotoError(f"{name}: {sizes[0]}, but {names[0]} is {sizes[1]}; all must be of one size")


def _check_brightness(blocks: Sequence[Blocks], names: Sequence[str]) -> None:
    for (a, name), (b, next_name) in itertools.pairwise(zip(blocks, names, strict=True)):
        is_clear = (a.means > _NEARLY_ENDS[0] * PER_CODE) & (a.means < _NEARLY_ENDS[1] * PER_CODE)
        is_usable = a.is_usable & b.is_usable & is_clear
        share = np.mean(b.means[is_usable] > a.means[is_usable]) if is_usable.sum() >= _FEW_BLOCKS else 1.0
        if share < _LEAST_BRIGHTER or b.means.mean() < a.means.mean() - PER_CODE:  # a code for noise, if all is clipped
            raise PhotoError(
                f"{next_name}: not brighter than {name}, which was exposed for less time; are the times in the order "
                "of the photographs, and was the camera still?"
            )


def _check_content(seen: Comparagram) -> None:
    darkest, brightest = _codes_shown(seen)
    if np.isnan(darkest):
        raise PhotoError(
            "the photographs show too little that is flat and neither black nor clipped in two of them: take a scene "
            "with light and shade, one or two stops between exposures"
        )
    if not _is_enough(seen):
        raise PhotoError(
            f"the photographs show codes {darkest:.0f} to {brightest:.0f} only: expose some for "
            f"{'less' if darkest > _DARK_CODE else 'more'} time, or take a scene of more contrast"
        )


def _is_enough(seen: Comparagram) -> bool:
    darkest, brightest = _codes_shown(seen)
    return darkest <= _DARK_CODE and brightest >= _BRIGHT_CODE


def _codes_shown(seen: Comparagram) -> tuple[float, float]:
    """Return between which codes nearly all lies that counts; NaN if there is next to nothing."""
    bins = np.concatenate([seen.darker, seen.brighter])
    order = np.argsort(bins)
    share = np.cumsum(np.tile(seen.trust(), 2)[order])
    if seen.count.sum() < _FEW_BLOCKS or not share[-1] > 0:
        return np.nan, np.nan
    darkest, brightest = (bins[order[np.searchsorted(share, part * share[-1])]] / PER_CODE for part in (0.001, 0.999))
    return float(darkest), float(brightest)


def _opencv_log_light(images: Images, seconds: Sequence[float], method: Method) -> list[Floats]:
    process: Any = cv2.createCalibrateDebevec() if method == "debevec" else cv2.createCalibrateRobertson()
    response = process.process(list(images), np.array(seconds, np.float32)).reshape(256, 3).astype(np.float64)
    return [_extended(response[:, channel]) for channel in range(3)]


def _extended(light: Floats) -> Floats:
    """Return log light, continued to both ends, and over codes without an answer, from where it can be believed."""
    codes = np.arange(256)
    is_known = np.isfinite(light) & (light > 0) & (codes >= _ENDS[0]) & (codes <= _ENDS[1])
    if is_known.sum() < 32:
        raise PhotoError("OpenCV finds no curve in these photographs; take --method least-squares")
    base = 2.2 * np.log(np.maximum(codes, 0.5) / 255)
    known = codes[is_known]
    beyond = np.log(light[is_known]) - base[is_known]
    departure = np.interp(codes, known, beyond)
    for near, is_beyond in ((slice(None, 16), codes < known[0]), (slice(-16, None), codes > known[-1])):
        slope, start = np.polyfit(known[near], beyond[near], 1)
        departure[is_beyond] = slope * codes[is_beyond] + start
    return np.asarray(base + departure)


def _increasing(log_light: Floats) -> Floats:
    """Return the nearest curve that grows by a least step from code to code, by pooling what falls."""
    levels: list[tuple[float, int]] = []  # (mean, number of codes)
    for value in log_light - _LEAST_STEP * np.arange(256):
        mean, size = float(value), 1
        while levels and levels[-1][0] > mean:
            before, number = levels.pop()
            mean, size = (before * number + mean * size) / (number + size), number + size
        levels.append((mean, size))
    means, sizes = zip(*levels, strict=True)
    return np.asarray(np.repeat(means, sizes) + _LEAST_STEP * np.arange(256))


def _light(log_light: Floats) -> Floats:
    light = np.exp(log_light - log_light[255])
    light[0] = 0.0
    return np.asarray(np.round(light, 12))  # so that the last digits of another machine make no other curve
