"""Options that several commands share, each defined once, and the types of option values."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from blursynth.cli.screen import Screen
from blursynth.files import printable

__all__ = [
    "ENGINE_NAMES",
    "JSON",
    "LIGHT_NAMES",
    "OVERWRITE",
    "SectionedCommand",
    "SizeType",
    "device_option",
    "engine_options",
    "interpolator_of",
    "light_options",
    "outline",
    "talk_options",
]

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


class SectionedCommand(click.Command):
    """A command whose many options are shown in sections: titles to the names of their parameters."""

    def __init__(self, *args: Any, sections: Mapping[str, Sequence[str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sections = sections

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each section, then what belongs to none."""
        options = [option for option in self.get_params(ctx) if isinstance(option, click.Option)]
        shown = {option.name: record for option in options if (record := option.get_help_record(ctx))}
        for title, names in self._sections.items():
            with formatter.section(title):
                formatter.write_dl([shown.pop(name) for name in names if name in shown])
        with formatter.section("Options"):
            formatter.write_dl(list(shown.values()))


LIGHT_NAMES = ("crf", "output_crf", "highlights", "noise", "jpeg", "store")
ENGINE_NAMES = ("jobs", "backend", "scheduler", "part")


def engine_options(command: Command) -> Command:
    """Add ``--jobs``, ``--backend``, ``--scheduler`` and ``--part``."""
    jobs = click.option("--jobs", default=1, show_default=True, metavar="N", help="Worker processes; 0: all cores.")
    backend = click.option(
        "--backend", default="local", show_default=True, type=click.Choice(["local", "dask"]), help="Who works."
    )
    scheduler = click.option("--scheduler", metavar="ADDRESS", help="Of a Dask cluster, tcp://HOST:PORT.")
    part = click.option("--part", metavar="K/N", help="Make the K-th of N shares; runs may share the folder.")
    return jobs(backend(scheduler(part(command))))


def interpolator_of(name: str) -> Any:
    """Return what makes sub-frames by its name; None for the built-in one."""
    if name == "dis":
        return None
    from blursynth.model.rife import Rife  # noqa: PLC0415  # torch takes seconds

    return Rife.load("cpu")  # the same bytes with any engine


def light_options(command: Command) -> Command:
    """Add what becomes of the light: ``--output-crf``, ``--highlights``, ``--noise``, ``--jpeg`` and ``--store``."""
    options = [
        click.option(
            "--output-crf", default="same", show_default=True, metavar="CURVE,…",
            help="Curves to encode with; one is drawn for each pair.",
        ),
        click.option(
            "--highlights", default="off", show_default=True, metavar="A-B", help="Light above white; on: 0.25-1.75."
        ),
        click.option(
            "--noise", default="off", show_default=True, metavar="match|iso:A-B",
            help="Noise of the blurry images: as the clip's own, or of a sensor at an ISO.",
        ),
        click.option(
            "--jpeg", default="off", show_default=True, metavar="A-B", help="JPEG quality of the blurry images."
        ),
        click.option(
            "--store", default="codes", show_default=True, type=click.Choice(["codes", "linear"]),
            help="Keep the light too, so that training draws curve, highlights, noise and JPEG anew.",
        ),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


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
            lines += [f"{indent}{name}:", *(f"{indent}  - {printable(str(item))}" for item in value)]
        else:
            shown = ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)
            lines.append(f"{indent}{printable(str(name))}: {printable(shown)}")
    return "\n".join(lines)
