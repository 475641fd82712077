"""The pairs of one photograph."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from blursynth.crf import ResponseCurve, response_curve
from blursynth.errors import PhotoError, SettingsError
from blursynth.files import printable
from blursynth.make.rows import light_fields
from blursynth.make.stills.settings import ShakeConfig
from blursynth.motion import view
from blursynth.motion.sharpness import edge_sharpness
from blursynth.photos import read_photo
from blursynth.rendition import Rendition, output_curves
from blursynth.shake import GyroLog, Trajectory, draw_layers, draw_trajectory, trajectory_of_gyro
from blursynth.shake.rendering import Shaken, shaken
from blursynth.shake.rule import generator
from blursynth.windows import pair_key

__all__ = ["StillPair", "pairs_of_photo"]

_STREAM = 10  # of the generator; the shake itself draws from others
_MIN_SIDE = 16
_FOCAL_SIDES = 1.1  # long sides of a photograph, where nothing says its focal length


@dataclass(frozen=True, slots=True, eq=False)
class StillPair:
    """One pair: fields of PAIR_DTYPE, and images by name."""

    row: dict[str, int | float]
    images: dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class _Exposed:
    """A pair before the sensor: fine codes of both images, and saturation, (H, W, 3) each."""

    blurry: NDArray[np.uint16]
    saturation: NDArray[np.uint8]
    sharp: NDArray[np.uint16]
    exposure_seconds: float
    motion_px: tuple[float, float, float]

    def cropped(self, height: int, width: int) -> "_Exposed":
        """Return the part of a size in the middle."""
        top, left = (self.blurry.shape[0] - height) // 2, (self.blurry.shape[1] - width) // 2
        part = np.s_[top : top + height, left : left + width]
        blurry, saturation = np.ascontiguousarray(self.blurry[part]), np.ascontiguousarray(self.saturation[part])
        sharp = np.ascontiguousarray(self.sharp[part])
        return _Exposed(blurry, saturation, sharp, self.exposure_seconds, self.motion_px)


def pairs_of_photo(
    path: Path, sha256: str, config: ShakeConfig, rendition: Rendition | None = None, log: GyroLog | None = None
) -> Iterator[StillPair]:
    """Make the pairs of a photograph, all of one size.

    ``rendition`` and ``log`` stand in for those that the settings name.

    Raises
    ------
    PhotoError
        If it cannot be read, or is too small for the shake or the size.
    """
    if rendition is None:
        rendition = Rendition(response_curve(config.crf), output_curves(config.output_crf), config.chain())
    curve = rendition.curve
    linear = _linear(path, curve)
    log = log or config.gyro_log()
    exposed = []
    for number in range(config.per_photo):
        key = pair_key(config.seed, sha256, number)
        try:
            exposed.append(_expose(linear, curve, config, log, key))
        except (PhotoError, SettingsError) as error:  # of this photograph: the others may do
            raise PhotoError(f"{printable(path)}: {error}") from error
    height = min(pair.blurry.shape[0] for pair in exposed)
    width = min(pair.blurry.shape[1] for pair in exposed)
    for number, pair in enumerate(exposed):
        key = pair_key(config.seed, sha256, number)
        yield _rendered(pair.cropped(height, width), rendition, number, key, keeps_light=config.store == "linear")


def _linear(path: Path, curve: ResponseCurve) -> NDArray[np.float32]:
    pixels = read_photo(path).pixels
    if min(pixels.shape[:2]) < _MIN_SIDE:
        raise PhotoError(
            f"{printable(path)}: {pixels.shape[1]}x{pixels.shape[0]} px; a side needs {_MIN_SIDE} at least"
        )
    return curve.linear_of_codes(np.iinfo(pixels.dtype).max).astype(np.float32)[pixels]


def _expose(
    linear: NDArray[np.float32], curve: ResponseCurve, config: ShakeConfig, log: GyroLog | None, key: int
) -> _Exposed:
    size = (linear.shape[0], linear.shape[1])
    rng = generator(key, _STREAM)
    is_still = rng.random() < config.still
    trajectory = (
        _from_log(log, config, rng, size)
        if log
        else draw_trajectory(config.rule(), key, size, focal_px=config.focal_px)
    )
    if is_still:
        trajectory = Trajectory(
            trajectory.times,
            np.zeros_like(trajectory.poses),
            trajectory.focal_px,
            trajectory.exposure_seconds,
            0.0,
            "still",
        )
    wanted = (config.size[1], config.size[0]) if config.size else None
    made = shaken(linear, trajectory, draw_layers(config.rule(), key, size), size=wanted, key=key if wanted else None)
    return _as_exposed(made, curve, trajectory)


def _from_log(log: GyroLog, config: ShakeConfig, rng: np.random.Generator, size: tuple[int, int]) -> Trajectory:
    """Draw a stretch of a gyro's record."""
    rule = config.rule()
    exposure, readout = rule.exposure_range.log_uniform(rng), rule.readout_range.uniform(rng)
    begin = float(log.times_seconds[0]) + readout / 2 * exposure
    end = float(log.times_seconds[-1]) - (1 + readout / 2) * exposure
    start = begin + rng.random() * max(0.0, end - begin)
    focal_px = config.focal_px or _FOCAL_SIDES * max(size)
    return trajectory_of_gyro(log, start, exposure, focal_px, readout_fraction=readout)


def _as_exposed(made: Shaken, curve: ResponseCurve, trajectory: Trajectory) -> _Exposed:
    return _Exposed(
        curve.to_fine(np.clip(made.blurry_linear, 0, 1)),
        np.rint(made.saturation * 255).astype(np.uint8),
        curve.to_fine(np.clip(made.sharp_linear, 0, 1)),
        trajectory.exposure_seconds,
        (made.motion_p50_px, made.motion_p95_px, made.motion_max_px),
    )


def _rendered(pair: _Exposed, rendition: Rendition, number: int, key: int, *, keeps_light: bool) -> StillPair:
    draw = rendition.draw(key, 1.0)
    sharp = rendition.sharp(pair.sharp, draw)
    images: dict[str, NDArray[Any]] = {"blurry": rendition.blurry(pair.blurry, pair.saturation, draw), "sharp": sharp}
    if keeps_light:
        images |= {"blurry_linear": pair.blurry, "saturation": pair.saturation, "sharp_linear": pair.sharp}
    row = {
        "number": number,
        "num_frames": 1,
        "exposure_seconds": pair.exposure_seconds,
        "effective_frames": 1.0,
        "rng_key": key,
        **light_fields(draw),
        "motion_p50_px": pair.motion_px[0],
        "motion_p95_px": pair.motion_px[1],
        "motion_max_px": pair.motion_px[2],
        "sharpness": edge_sharpness(view(cv2.cvtColor(sharp, cv2.COLOR_RGB2GRAY))),
        "saturated_fraction": np.count_nonzero(sharp == 255) / sharp.size,
    }
    return StillPair(row, images)
