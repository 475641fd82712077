"""How a folder was made, as the command that makes it again."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from blursynth.files import printable
from blursynth.make import MakeConfig
from blursynth.make.stills import ShakeConfig

__all__ = ["command_of", "settings_of"]

_MAX_SOURCES = 8
_OPTIONS = {"exposure_seconds": "exposure"}


def settings_of(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a shard holds; none if it holds none of ours."""
    try:
        settings = json.loads(attributes.get("config", "{}"))
    except (TypeError, ValueError, RecursionError):
        return {}
    return settings if isinstance(settings, dict) else {}


def command_of(settings: Mapping[str, Any], sources: Sequence[str], output: str) -> str:
    """Return the command line that makes the same pairs, or nothing if the settings are not those of `make` or `shake`.

    Settings at their default are left out. Files (a measured curve, a gyro's log) are known by their content only.
    """
    config = ShakeConfig if "per_photo" in settings else MakeConfig
    if not set(settings) <= {field.name for field in fields(config)}:
        return ""
    words = ["blursynth", "shake" if config is ShakeConfig else "make"]
    words += [_quoted(source) for source in sources[:_MAX_SOURCES]] + ["…"] * (len(sources) > _MAX_SOURCES)
    words += ["-o", _quoted(output)]
    for field in fields(config):
        value = settings.get(field.name, field.default)
        if value != field.default:
            words += _option(field.name, value)
    return " ".join(words)


def _option(name: str, value: object) -> list[str]:
    option = f"--{_OPTIONS.get(name, name).replace('_', '-')}"
    if value is False:
        return [f"--no-{name}"]
    if isinstance(value, list):
        return [option, _quoted("x".join(map(str, value)))]
    return [option, _quoted(str(value))]


def _quoted(text: str) -> str:
    text = printable(text)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)
