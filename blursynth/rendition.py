"""From the light of a window to the picture a camera would have stored; for `make` and, drawn anew, for training.

The light is kept as fine codes (`ResponseCurve.to_fine`) and the share of the exposure that was clipped as uint8. Both
`make` and the trainer start from those, so that the same draw gives the same picture to the bit.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blursynth.crf import ResponseCurve, curve_of_table, response_curve
from blursynth.errors import SettingsError, ShardError
from blursynth.files import printable
from blursynth.keys import hashed
from blursynth.radiometry import Light, LightChain, NoiseLevel, render

__all__ = ["Draw", "Rendition", "output_curves", "rendition_of_shard"]

_MAX_CURVES = 16
_STANDARD_NAME = re.compile(r"gamma:[0-9.]{1,12}|[a-z0-9]{1,10}")


@dataclass(frozen=True, slots=True)
class Draw:
    """What was drawn for one pair: the ``light`` and which of the output curves encodes it, -1 for the clip's own."""

    light: Light
    curve: int


@dataclass(frozen=True, slots=True, eq=False)
class Rendition:
    """How light becomes display codes.

    Parameters
    ----------
    curve
        Response curve of the clip.
    outputs
        Response curves of other cameras, one of which is drawn for each pair; empty keeps the clip's own.
    chain
        Highlights, noise and JPEG.
    level
        Noise of the clip's frames, for ``--noise match``.
    """

    curve: ResponseCurve
    outputs: tuple[ResponseCurve, ...]
    chain: LightChain
    level: NoiseLevel | None = None

    @property
    def is_plain(self) -> bool:
        """Whether pictures are encoded as they were decoded, with nothing added."""
        return self.chain.is_off and not self.outputs

    def draw(self, key: int, effective_frames: float) -> Draw:
        """Draw for the pair of a key; ``effective_frames`` is 1 / sum(w_i^2) of the weights of its frames."""
        light = self.chain.draw(key, self.level, effective_frames)
        return Draw(light, _choice(key, len(self.outputs)))

    def blurry(self, fine: NDArray[np.uint16], saturation: NDArray[np.uint8], draw: Draw) -> NDArray[np.uint8]:
        """Encode the light of a window.

        Parameters
        ----------
        fine
            (H, W, 3) uint16 fine codes of the clip's curve.
        saturation
            (H, W, 3) uint8; 255 was clipped all the time.

        Returns
        -------
        (H, W, 3) uint8 display codes.
        """
        if self.is_plain:
            return (fine >> 8).astype(np.uint8)
        return render(self.curve.from_fine(fine), saturation, self._output(draw), draw.light)

    def sharp(self, fine: NDArray[np.uint16], draw: Draw) -> NDArray[np.uint8]:
        """Encode the light of the sharp frame, (H, W, 3) uint16 fine codes of the clip's curve, for the same camera."""
        if draw.curve < 0:
            return (fine >> 8).astype(np.uint8)
        return self._output(draw).from_linear(self.curve.from_fine(fine))

    def _output(self, draw: Draw) -> ResponseCurve:
        return self.outputs[draw.curve] if draw.curve >= 0 else self.curve


def rendition_of_shard(path: Path, attributes: Mapping[str, Any]) -> Rendition:
    """Return the rendition that the attributes of a shard describe; ``path`` is for messages.

    Raises
    ------
    ShardError
        If they do not describe one.
    """
    try:
        config = json.loads(attributes["config"])
        level = json.loads(attributes["noise_of_a_frame"]) if "noise_of_a_frame" in attributes else None
        names = attributes["output_crf"].split(",") if config["output_crf"] != "same" else []
        tables = attributes["output_crf_tables"] if names else []
        return Rendition(
            _stored_curve(attributes["crf"], attributes["crf_table"]),
            tuple(_stored_curve(name, table) for name, table in zip(names, tables, strict=True)),
            LightChain(*(config[name] for name in ("highlights", "noise", "jpeg"))),
            NoiseLevel(float(level["shot"]), float(level["read"])) if level else None,
        )
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ShardError(
            f"{printable(path)}: the record of how its light was rendered is damaged ({str(error)[:80]}); make it again"
        ) from error


def _stored_curve(name: str, table: NDArray[np.float64]) -> ResponseCurve:
    """Return a curve by its name; one that was measured by its table, whose hash it is called by."""
    if not name.startswith("measured:"):
        if not _STANDARD_NAME.fullmatch(name):  # the name of a file would be opened
            raise ValueError(f"response curve {name[:40]!r} is none of ours")
        return response_curve(name)
    curve = curve_of_table(np.asarray(table, np.float64), "the shard")
    if curve.name != name:
        raise ValueError(f"the table of {name} is another one's")
    return curve


def _choice(key: int, count: int) -> int:
    if not count:
        return -1
    return hashed(f"{key}/output curve") % count


def output_curves(text: str) -> tuple[ResponseCurve, ...]:
    """Read the names of response curves, between commas; ``same`` is none.

    Raises
    ------
    SettingsError
        If one is unknown.
    """
    if text == "same":
        return ()
    names: Sequence[str] = [name.strip() for name in text.split(",")]
    if not all(names) or len(names) > _MAX_CURVES:
        raise SettingsError(f"output curves {text!r}: write up to {_MAX_CURVES} names between commas, or same")
    return tuple(response_curve(name) for name in names)
