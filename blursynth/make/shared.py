"""Settings that clips and photographs share: what becomes of the light, how it is stored, which side it is on."""

import hashlib
import json
import re
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Literal

from blursynth.crf import response_curve
from blursynth.errors import SettingsError
from blursynth.radiometry import LightChain
from blursynth.recordings import parse_split
from blursynth.rendition import output_curves
from blursynth.shards import CODECS, SCHEMA

__all__ = ["Store", "check_seed", "normalise", "plain_values", "settings_sha256", "shard_stem"]

Store = Literal["codes", "linear"]


def normalise(config: Any) -> None:
    """Write the shared settings of a frozen dataclass in the one way, and refuse what makes no sense.

    Raises
    ------
    SettingsError
        If one does not.
    """
    chain = LightChain(config.highlights, config.noise, config.jpeg)
    for name in ("highlights", "noise", "jpeg"):
        object.__setattr__(config, name, getattr(chain, name))
    if config.crf != "auto":
        curve = response_curve(config.crf)
        if not curve.name.startswith("measured:"):  # the name of a file stays: it is where the curve is
            object.__setattr__(config, "crf", curve.name)
    output_curves(config.output_crf)
    if config.split is not None:
        shares = parse_split(config.split)
        object.__setattr__(config, "split", ",".join(f"{name}:{share:g}" for name, share in shares.items()))
    check_seed(config.seed)
    if config.codec not in CODECS:
        raise SettingsError(f"codec {config.codec!r} is unknown; choose one of {', '.join(CODECS)}")
    if config.store not in {"codes", "linear"}:
        raise SettingsError(f"store {config.store!r} is unknown; choose codes or linear")


def check_seed(seed: int) -> None:
    """Refuse what random draws cannot be keyed by.

    Raises
    ------
    SettingsError
        If it is not from 0 to 2^63 - 1.
    """
    if not 0 <= seed < 1 << 63:
        raise SettingsError(f"seed {seed}: choose a number from 0 to 2^63 - 1")


def plain_values(config: Any) -> dict[str, Any]:
    """Return the settings as plain values, for JSON; a response curve out of a file by its content."""
    values = asdict(config)
    if config.crf != "auto":
        values["crf"] = response_curve(config.crf).name
    values["output_crf"] = ",".join(curve.name for curve in output_curves(config.output_crf)) or "same"
    return values


def settings_sha256(config: Any, values: dict[str, Any]) -> str:
    """Return a hash of a dataclass of settings; those at their default do not count, so that new ones may join."""
    defaults = {field.name: field.default for field in fields(config)}
    chosen = {name: value for name, value in values.items() if value != defaults[name]}
    return hashlib.sha256(json.dumps([SCHEMA, type(config).__name__, chosen], sort_keys=True).encode()).hexdigest()


def shard_stem(source: Path, sha256: str, settings: str, *, known: str | None = None) -> str:
    """Return what the names of the shards of a source begin with: its name and a mark of its content and the settings.

    ``known`` stands in for its name: it may have had another one when its first shards were made.
    """
    name = known or re.sub(r"[^A-Za-z0-9_.-]+", "_", source.stem).strip("._-")[:80] or "source"
    return f"{name}-{hashlib.sha256(f'{sha256}{settings}'.encode()).hexdigest()[:8]}"
