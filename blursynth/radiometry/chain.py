"""The settings of what a sensor does to light, and drawing from them for one pair."""

import re
from dataclasses import dataclass

from blursynth.errors import SettingsError
from blursynth.keys import hashed
from blursynth.radiometry.light import Light, NoiseLevel

__all__ = ["LightChain"]

_RSBLUR_ALPHA = "0.25-1.75"
_MAX_ALPHA = 16.0
_ISO_MIN, _ISO_MAX = 50.0, 102400.0

# The noise of ISO 400 before jitter. The shot noise is RSBlur's calibration of RealBlur's camera, which amounts to a
# full well of about 45,000 electrons at ISO 100; the read noise is the geometric mean of RSBlur's two calibrations of
# this camera (2.943e-5 and 9.150e-4). That they belong to ISO 400 is our choice: none of them names its ISO.
_ANCHOR_ISO = 400.0
_ANCHOR_SHOT = 8.8915e-5
_ANCHOR_READ = 1.641e-4
_JITTER = (0.5, 1.5)  # RSBlur's, for shot and read noise each
_RED_GAIN = (1.9, 2.4)
_BLUE_GAIN = (1.5, 1.9)

_RANGE = re.compile(r"\s*([0-9]{1,9}(?:\.[0-9]{0,9})?)\s*(?:-\s*([0-9]{1,9}(?:\.[0-9]{0,9})?)\s*)?")


@dataclass(frozen=True, slots=True)
class LightChain:
    """What may happen to light between the scene and the file, each kept in one way of writing.

    Parameters
    ----------
    highlights
        Light above white that clipped frames lost (RSBlur's saturation model): ``off``, ``A`` or ``A-B``, the alpha
        that is drawn for a pair, from 0 to 16; ``on`` means RSBlur's 0.25-1.75.
    noise
        ``off``; ``match``: the noise that averaging took away comes back; ``iso:A`` or ``iso:A-B``: the noise of a
        sensor with a colour mosaic at a sensitivity drawn evenly in its logarithm, from 50 to 102400.
    jpeg
        ``off``, ``Q`` or ``A-B``: the quality that is drawn, from 1 to 100.

    Raises
    ------
    SettingsError
        If a text is not one of these.

    Examples
    --------
    >>> LightChain(highlights="on", noise="iso: 100 - 1600.0", jpeg="90-90")
    LightChain(highlights='0.25-1.75', noise='iso:100-1600', jpeg='90')
    """

    highlights: str = "off"
    noise: str = "off"
    jpeg: str = "off"

    def __post_init__(self) -> None:
        for name, normalised in (("highlights", _highlights), ("noise", _noise), ("jpeg", _jpeg)):
            text = getattr(self, name)
            if not isinstance(text, str):
                raise SettingsError(f"{name} {text!r}: must be text such as 'off'")
            object.__setattr__(self, name, normalised(text.strip().lower()))

    @property
    def is_off(self) -> bool:
        """Whether nothing ever happens."""
        return self == LightChain()

    @property
    def needs_saturation(self) -> bool:
        """Whether `render` needs to know where frames were clipped."""
        return self.highlights != "off"

    def draw(self, key: int, level: NoiseLevel | None = None, effective_frames: float = 1.0) -> Light:
        """Settle what happens to one pair.

        Parameters
        ----------
        key
            The pair's key (`windows.pair_key`). With the settings it alone decides what is drawn, each number for
            itself: a setting never changes what another one draws.
        level
            The noise of one source frame, which ``match`` needs.
        effective_frames
            1 / sum(w ** 2) of the window's weights w, which add up to 1: how many times less the variance of the
            noise is in the mean; 1 or more. Only ``match`` looks at it.

        Raises
        ------
        SettingsError
            If ``match`` is not given the level, or there are fewer frames than one.
        """
        shot, read, bayer, red, blue, iso = _draw_noise(self.noise, key, level, effective_frames)
        return Light(
            key=_hashed(key, "noise"),
            highlights=_between(_bounds(self.highlights), key, "highlights") if self.needs_saturation else 0.0,
            shot_noise=shot,
            read_noise=read,
            bayer=bayer,
            red_gain=red,
            blue_gain=blue,
            iso=iso,
            jpeg=_draw_quality(self.jpeg, key),
        )


def _highlights(text: str) -> str:
    if text == "off":
        return text
    alpha = _normalised("highlights", _RSBLUR_ALPHA if text == "on" else text, 0.0, _MAX_ALPHA)
    return "off" if alpha == "0" else alpha


def _noise(text: str) -> str:
    if text in {"off", "match"}:
        return text
    kind, _, sensitivity = text.partition(":")
    if kind.strip() != "iso":
        raise SettingsError(f"noise {text!r}: must be off, match or a sensitivity such as iso:100-1600")
    return "iso:" + _normalised("noise iso", sensitivity, _ISO_MIN, _ISO_MAX)


def _jpeg(text: str) -> str:
    if text == "off":
        return text
    if "." in text:
        raise SettingsError(f"jpeg {text!r}: the quality is a whole number, such as 90, or a range such as 70-95")
    return _normalised("jpeg", text, 1, 100)


def _normalised(name: str, text: str, low: float, high: float) -> str:
    """Write a number or a range in the one way."""
    match = _RANGE.fullmatch(text)
    if not match:
        raise SettingsError(
            f"{name} {text!r}: must be off, a number or a range, from {low:g} to {high:g}, as in {low:g}-{high:g}"
        )
    first, last = (f"{float(number):.9f}".rstrip("0").rstrip(".") for number in (match[1], match[2] or match[1]))
    if not low <= float(first) <= float(last) <= high:
        raise SettingsError(f"{name} {text!r}: must be from {low:g} to {high:g}, the smaller number first")
    return first if first == last else f"{first}-{last}"


def _bounds(text: str) -> tuple[float, float]:
    """Read a normalised number or range."""
    first, _, last = text.partition("-")
    return float(first), float(last or first)


def _draw_noise(
    noise: str, key: int, level: NoiseLevel | None, effective_frames: float
) -> tuple[float, float, int, float, float, float]:
    """Return shot and read noise, mosaic, red and blue gain, ISO."""
    if noise == "off":
        return 0.0, 0.0, -1, 1.0, 1.0, 0.0
    if noise == "match":
        return *_missing_noise(level, effective_frames), -1, 1.0, 1.0, 0.0
    low, high = _bounds(noise.removeprefix("iso:"))
    iso = float(low * (high / low) ** _uniform(key, "iso"))
    return (
        _ANCHOR_SHOT * iso / _ANCHOR_ISO * _between(_JITTER, key, "shot"),
        _ANCHOR_READ * iso / _ANCHOR_ISO * _between(_JITTER, key, "read"),
        _hashed(key, "bayer") % 4,
        _between(_RED_GAIN, key, "red_gain"),
        _between(_BLUE_GAIN, key, "blue_gain"),
        iso,
    )


def _missing_noise(level: NoiseLevel | None, effective_frames: float) -> tuple[float, float]:
    if level is None:
        raise SettingsError("noise match: the noise of the source was not measured; measure it, or choose iso:A-B")
    if not 1 - 1e-6 <= effective_frames < float("inf"):
        raise SettingsError(f"effective frames {effective_frames}: must be 1 or more; weights add up to 1")
    missing = max(0.0, 1 - 1 / float(effective_frames))
    return level.shot * missing, float(level.read * missing**0.5)


def _draw_quality(jpeg: str, key: int) -> int:
    if jpeg == "off":
        return 0
    low, high = (int(bound) for bound in _bounds(jpeg))
    return low + _hashed(key, "jpeg") % (high - low + 1)


def _hashed(key: int, field: str) -> int:
    """Return 64 bits that depend on the key and the name of what is drawn alone."""
    return hashed(f"{int(key)}/{field}/light")


def _uniform(key: int, field: str) -> float:
    return (_hashed(key, field) >> 11) / 2**53  # in [0, 1), exact in float64


def _between(bounds: tuple[float, float], key: int, field: str) -> float:
    low, high = bounds
    return low + (high - low) * _uniform(key, field)
