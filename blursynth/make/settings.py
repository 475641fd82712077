"""What decides the pairs."""

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from blursynth.errors import SettingsError
from blursynth.make.shared import Store, normalise, plain_values, settings_sha256
from blursynth.radiometry import LightChain
from blursynth.shards import Codec
from blursynth.windows import ExposureRule, WindowRule

__all__ = ["INTERPOLATORS", "MakeConfig"]

INTERPOLATORS = ("dis", "rife")
_MAX_SUB_FRAMES = 64
_MAX_ANGLE = 3600


@dataclass(frozen=True, slots=True)
class MakeConfig:
    """What decides the pairs; stored in every shard.

    Parameters
    ----------
    window
        Frames a blurry image is the mean of: an odd number, or a range of which odd lengths are drawn, ``7-13``.
    stride
        Frames from one window's start to the next one's; None lets them touch.
    exposure
        Length of the exposure instead of a number of frames: ``1/30s``, ``0.02``, ``20ms``.
    shutter_angle
        The same, in degrees of the time between two blurry images, which ``output_fps`` gives.
    output_fps
        Blurry images a second, with an exposure; None lets exposures touch.
    crf
        Camera response function, see `blursynth.crf`: a name, a file, or ``auto`` for what the clip's tags say.
    output_crf
        Response curves of other cameras between commas, one of which encodes each pair; ``same`` keeps the clip's.
    highlights, noise, jpeg
        What a sensor does to the light of the blurry image, see `blursynth.radiometry.LightChain`.
    interpolate
        Sub-frames between two frames: ``off``, a number, or ``auto`` for as many as their motion needs.
    interpolate_with
        What makes the sub-frames: ``dis``, by optical flow, or ``rife``, a network that must be handed over.
    store
        ``linear`` keeps the light of blurry images too, so that training can draw all of the above anew.
    measure
        Measure motion, ghosting and sharpness, leave out windows with a cut, and repeated frames of exposures; the
        thresholds below need it.
    min_motion, max_ghost, min_sharpness
        Leave out pairs of less motion (95th percentile, px), more ghosting or less sharpness, see `blursynth.motion`.
        Ghosting does not count where sub-frames mend it.
    resize
        (width, height) of the pairs, smaller than the clip and of its shape; None keeps its size.
    source_fps
        The true rate of a clip whose time stamps say another, frames per second.
    codec
        How shards are stored: ``raw`` or ``zstd``.
    split
        Shares of recordings that train, validate and test, ``train:0.8,val:0.1,test:0.1``; None says nothing.
    seed
        Of every random draw.
    """

    window: str = "7"
    stride: int | None = None
    exposure: str | None = None
    shutter_angle: float | None = None
    output_fps: str | None = None
    crf: str = "gamma:2.2"
    output_crf: str = "same"
    highlights: str = "off"
    noise: str = "off"
    jpeg: str = "off"
    interpolate: str = "off"
    interpolate_with: str = "dis"
    store: Store = "codes"
    measure: bool = True
    min_motion: float | None = None
    max_ghost: float | None = None
    min_sharpness: float | None = None
    resize: tuple[int, int] | None = None
    source_fps: str | None = None
    codec: Codec = "raw"
    split: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        # One way to write each value, since the text decides whether settings are the same.
        object.__setattr__(self, "window", str(WindowRule.parse(self.window, self.stride)))
        self._normalise_times()
        normalise(self)
        self._check_interpolation()
        self._check_thresholds()
        if self.resize is not None and min(self.resize) < 16:
            raise SettingsError(f"resize {self.resize[0]}x{self.resize[1]}: 16 pixels a side at least")

    def _normalise_times(self) -> None:
        self.exposure_rule()
        if self.exposure is not None:
            object.__setattr__(self, "exposure", f"{ExposureRule.parse_seconds(self.exposure)}s")
        for name in ("output_fps", "source_fps"):
            rate = _rate(name.replace("_", " "), getattr(self, name))
            object.__setattr__(self, name, None if rate is None else str(rate))

    def _check_interpolation(self) -> None:
        if (count := self.sub_frames()) is not None:
            object.__setattr__(self, "interpolate", str(count) if count else "off")
        if self.interpolate_with not in INTERPOLATORS:
            raise SettingsError(f"interpolate with {self.interpolate_with!r}: choose {' or '.join(INTERPOLATORS)}")
        if self.sub_frames() == 0 and self.interpolate_with != "dis":
            raise SettingsError(f"interpolate with {self.interpolate_with}: needs --interpolate auto or a number")

    def _check_thresholds(self) -> None:
        for name in ("min_motion", "max_ghost", "min_sharpness"):
            value = getattr(self, name)
            option = name.replace("_", "-")
            if value is None:
                continue
            if not (math.isfinite(value) and value >= 0):
                raise SettingsError(f"{option} {value}: must be 0 or more")
            if name == "min_sharpness" and value > 1:
                raise SettingsError(f"{option} {value}: sharpness is from 0 to 1")
            if not self.measure:
                raise SettingsError(f"{option} needs what --no-measure leaves out")

    def rule(self) -> WindowRule | ExposureRule:
        """Return how windows are laid."""
        return self.exposure_rule() or WindowRule.parse(self.window, self.stride)

    def exposure_rule(self) -> ExposureRule | None:
        """Return the exposure in time, None if windows are numbers of frames."""
        rate = _rate("output fps", self.output_fps)
        if self.exposure is None and self.shutter_angle is None:
            if rate is not None:
                raise SettingsError(
                    "output fps: needs --exposure or --shutter-angle; for frames, --stride says the same"
                )
            return None
        if self.stride is not None:
            raise SettingsError("stride counts frames; with an exposure, give --output-fps")
        if self.window != "7":
            raise SettingsError(f"window {self.window} counts frames; leave it out with an exposure")
        period = None if rate is None else 1 / rate
        if self.shutter_angle is None:
            return ExposureRule(ExposureRule.parse_seconds(str(self.exposure)), period)
        if self.exposure is not None or period is None:
            raise SettingsError("shutter angle: give --output-fps with it, and no --exposure")
        if not 0 < self.shutter_angle <= _MAX_ANGLE:
            raise SettingsError(f"shutter angle {self.shutter_angle}: must be above 0 and at most {_MAX_ANGLE} degrees")
        return ExposureRule(period * Fraction(self.shutter_angle).limit_denominator(1000) / 360, period)

    def chain(self) -> LightChain:
        """Return what a sensor does to the light."""
        return LightChain(self.highlights, self.noise, self.jpeg)

    def sub_frames(self) -> int | None:
        """Return how many moments are put between two frames; None as many as it needs."""
        if self.interpolate == "auto":
            return None
        if self.interpolate == "off":
            return 0
        if not re.fullmatch(r"[0-9]{1,3}", self.interpolate) or int(self.interpolate) > _MAX_SUB_FRAMES:
            raise SettingsError(f"interpolate {self.interpolate!r}: off, auto or a number up to {_MAX_SUB_FRAMES}")
        return int(self.interpolate)

    def true_frame_rate(self) -> Fraction | None:
        """Return ``source_fps`` as a number."""
        return _rate("source fps", self.source_fps)

    def settings(self) -> dict[str, Any]:
        """Return the settings as plain values, for JSON."""
        return plain_values(self)

    def sha256(self) -> str:
        """Return a hash of the settings."""
        return settings_sha256(self, self.settings())


def _rate(name: str, text: str | None) -> Fraction | None:
    if text is None:
        return None
    try:
        if not re.fullmatch(r"[0-9]{1,9}([./][0-9]{1,9})?", text):
            raise ValueError("not a plain number")  # an exponent could ask for a billion digits
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError, OverflowError) as error:
        raise SettingsError(f"{name} {text!r}: write a number such as 240 or 240000/1001") from error
    if not Fraction(1, 1000) <= rate <= 1_000_000:
        raise SettingsError(f"{name} {text}: must be from 0.001 to 1000000")
    return rate
