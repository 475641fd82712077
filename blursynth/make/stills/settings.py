"""What decides the pairs that are made of photographs."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blursynth.errors import SettingsError
from blursynth.files import sha256_of
from blursynth.make.shared import Store, normalise, plain_values, settings_sha256
from blursynth.radiometry import LightChain
from blursynth.shake import GyroLog, ShakeRule, read_gyro
from blursynth.shards import Codec

__all__ = ["ShakeConfig"]

_MAX_PER_PHOTO = 256


@dataclass(frozen=True, slots=True)
class ShakeConfig:
    """What decides the pairs; stored in every shard.

    Parameters
    ----------
    per_photo
        Pairs of one photograph.
    still
        Share of pairs whose camera does not move, so that a network learns to leave sharp pictures alone.
    size
        (width, height) of the pairs, cut out at a drawn place; None keeps as much as all pairs of a photograph show.
    blur_px, trajectory, exposure_seconds, readout, layers
        Of the shake, see `blursynth.shake.ShakeRule`.
    gyro
        A camera's own record of its turning, CSV; stretches of it are drawn and ``blur_px`` and ``trajectory`` unused.
    focal_px
        Focal length in pixels of the photographs; None draws a usual one.
    crf
        Response curve of the photographs.
    output_crf, highlights, noise, jpeg, store, split, codec, seed
        As in `MakeConfig`.
    """

    per_photo: int = 4
    still: float = 0.0
    size: tuple[int, int] | None = None
    blur_px: str = "2-40"
    trajectory: str = "mixed"
    exposure_seconds: str = "0.02-0.5"
    readout: str = "0-0.5"
    layers: str = "1-3"
    gyro: str | None = None
    focal_px: float | None = None
    crf: str = "srgb"
    output_crf: str = "same"
    highlights: str = "off"
    noise: str = "off"
    jpeg: str = "off"
    store: Store = "codes"
    split: str | None = None
    codec: Codec = "raw"
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.per_photo <= _MAX_PER_PHOTO:
            raise SettingsError(f"per-photo {self.per_photo}: must be from 1 to {_MAX_PER_PHOTO}")
        if not 0 <= self.still <= 1:
            raise SettingsError(f"still {self.still}: must be from 0 to 1")
        if self.size is not None and min(self.size) < 16:
            raise SettingsError(f"size {self.size[0]}x{self.size[1]}: 16 pixels a side at least")
        if self.focal_px is not None and not (math.isfinite(self.focal_px) and self.focal_px > 0):
            raise SettingsError(f"focal length {self.focal_px}: must be above 0 px")
        if self.crf == "auto":
            raise SettingsError("response curve 'auto': photographs have no tag for it; srgb fits most")
        self.rule()
        normalise(self)
        if self.noise == "match":
            raise SettingsError("noise 'match' compares frames of a clip; for photographs choose iso:A-B")

    def rule(self) -> ShakeRule:
        """Return what shakes are drawn from."""
        return ShakeRule(self.blur_px, self.trajectory, self.exposure_seconds, self.readout, self.layers)

    def chain(self) -> LightChain:
        """Return what a sensor does to the light."""
        return LightChain(self.highlights, self.noise, self.jpeg)

    def gyro_log(self) -> GyroLog | None:
        """Read the gyro's record, None if there is none."""
        return read_gyro(Path(self.gyro)) if self.gyro else None

    def settings(self) -> dict[str, Any]:
        """Return the settings as plain values, for JSON; files by their content."""
        values = plain_values(self)
        if self.gyro:
            self.gyro_log()  # refuses what is no log
            values["gyro"] = f"sha256:{sha256_of(Path(self.gyro))}"
        return values

    def sha256(self) -> str:
        """Return a hash of the settings."""
        return settings_sha256(self, self.settings())
