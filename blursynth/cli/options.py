"""Options that several commands share, each defined once, and the types of option values."""

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from blursynth.cli.screen import Screen
from blursynth.files import printable

__all__ = ["JSON", "OVERWRITE", "SizeType", "device_option", "outline", "talk_options"]

Command = TypeVar("Command", bound=Callable[..., Any])

OVERWRITE = click.option("--overwrite", is_flag=True, help="Replace what the output holds already.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


def talk_options(command: Command) -> Command:
    """Add ``--quiet`` and ``--verbose``; the command finds a `Screen` in its context."""

    def set_quiet(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
        if value:
            context.ensure_object(Screen).verbosity = -1

    def set_verbosity(context: click.Context, _parameter: click.Parameter, value: int) -> None:
        if value:
            context.ensure_object(Screen).verbosity = value

    quiet = click.option(
        "-q", "--quiet", is_flag=True, expose_value=False, callback=set_quiet, help="Show errors only."
    )
    verbose = click.option(
        "-v", "--verbose", count=True, expose_value=False, callback=set_verbosity,
        help="Show details; twice, tracebacks too.",
    )  # fmt: skip
    return quiet(verbose(command))


def device_option(command: Command) -> Command:
    """Add ``--device``."""
    return click.option(
        "--device", default="auto", show_default=True, metavar="auto|cpu|cuda|mps", help="Where to compute."
    )(command)


class SizeType(click.ParamType[tuple[int, int]]):
    """``640x360`` as (width, height)."""

    name = "WxH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Read the text."""
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"(\d{1,5})[x×](\d{1,5})", str(value))
        if not match:
            self.fail(f"{value!r}: write width and height, such as 640x360", param, ctx)
        return int(match[1]), int(match[2])


def outline(values: Mapping[str, Any], indent: str = "") -> str:
    """Return nested values as indented lines for a person to read."""
    lines = []
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            lines += [f"{indent}{printable(str(name))}:", outline(value, f"{indent}  ")]
        elif isinstance(value, list) and value and isinstance(value[0], str) and len(value) > 1:
            lines += [f"{indent}{name}:", *(f"{indent}  - {printable(item)}" for item in value)]
        else:
            shown = ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)
            lines.append(f"{indent}{printable(str(name))}: {printable(shown)}")
    return "\n".join(lines)
