"""The ``blursynth`` command: a group whose commands are loaded when they are called, and what happens to errors."""

import importlib
import keyword
import os
import signal
import sys
import tomllib
import traceback
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click

import blursynth
from blursynth.cli.screen import Screen, talk
from blursynth.cli.streams import STREAM_ERRORS, abandon_stdout, is_reader_gone, prepare_streams
from blursynth.errors import BlursynthError, SettingsError
from blursynth.files import printable

__all__ = ["cli", "main"]

_MAX_CONFIG_BYTES = 1 << 20
# In the order of the work; the help shows each one's first line without importing it.
COMMANDS = {
    "make": "Turn high-frame-rate clips into shards of blurry and sharp pairs.",
    "shake": "Shake sharp photographs: shards of pairs as a hand-held camera makes them.",
    "report": "Write one page to look at: a folder of shards, or a training run.",
    "import": "Bring a data set of pairs into shards, bit for bit.",
    "export": "Write shards in a layout that other tools read, bit for bit.",
    "train": "Train the multi-scale network on shards, or on photographs.",
    "eval": "Score networks on pairs as the literature does, beside the blurry input.",
    "deblur": "Make blurred photographs sharp.",
    "onnx": "Write a network as an ONNX file, for programs without PyTorch.",
    "inspect": "Tell what a clip, shard, folder of shards or checkpoint holds.",
    "calibrate-crf": "Measure a camera's response curve from photographs of several exposure times.",
    "audit": "Find leaks between training, validation and test data.",
    "gopro": "Rebuild GOPRO_Large from its sharp frames, bit for bit.",
    "rebuild": "Make one pair again from its source and its record, and compare.",
    "verify": "Check every byte of shards and checkpoints.",
    "demo": "Render a clip, then make, train and deblur with it.",
    "doctor": "Tell what this machine has and what is missing.",
}


class _LazyGroup(click.Group):
    """Imports the module of a command when that command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            close = [name for name in COMMANDS if name.startswith(cmd_name[:3])]
            if close and not ctx.resilient_parsing:
                ctx.fail(f"No such command {cmd_name!r}. Did you mean {close[0]!r}?")
            return None
        module = cmd_name.replace("-", "_") + "_" * keyword.iskeyword(cmd_name)
        command = importlib.import_module(f"blursynth.cli.{module}").command
        assert isinstance(command, click.Command)  # noqa: S101  # a mistake of ours, not the user's
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _read_config(context: click.Context, _parameter: click.Parameter, path: Path | None) -> None:
    if path is None:
        return
    if not path.is_file() or path.stat().st_size > _MAX_CONFIG_BYTES:
        raise SettingsError(f"{printable(path)}: not a settings file")  # reading a pipe or device might never end
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{printable(path)}: not a settings file: {error}") from error
    for name, section in values.items():
        command = context.command.get_command(context, name) if isinstance(context.command, click.Group) else None
        if command is None or not isinstance(section, dict):
            raise SettingsError(f"{printable(path)}: [{name}] is not a command of blursynth")
        values[name] = _options_of(command, section, f"{printable(path)}: {name}")
    context.default_map = values


def _options_of(command: click.Command, section: dict[str, Any], place: str) -> dict[str | None, Any]:
    """Return the values of a table by the names of a command's parameters."""
    known = {option.lstrip("-").replace("-", "_"): p for p in command.params for option in p.opts}
    values: dict[str | None, Any] = {}
    for key, value in section.items():
        parameter = known.get(key.replace("-", "_"))
        if parameter is None:
            raise SettingsError(f"{place} has no option {key!r}")
        several = value if isinstance(value, list) and (parameter.multiple or parameter.nargs != 1) else [value]
        if not all(isinstance(one, str | int | float) for one in several):
            raise SettingsError(f"{place}: {key} is neither a number nor text, nor a list of them where one fits")
        values[parameter.name] = value
    return values


def _show_version(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        click.echo(f"blursynth {blursynth.__version__}")
        context.exit()


@click.group(
    cls=_LazyGroup,
    context_settings={
        "auto_envvar_prefix": "BLURSYNTH",
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
    },
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_show_version,
    allow_from_autoenv=False,
    help="Show it.",
)
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    expose_value=False,
    callback=_read_config,
    help="Settings in TOML: a table for each command, for example [make] window = 7.",
)
@click.pass_context
def cli(context: click.Context) -> None:
    """Motion-blur training pairs from video, a network trained on them, photographs made sharp.

    \b
      blursynth make --video clip.mp4 --window 7
      blursynth train shards/
      blursynth deblur photo.jpg

    Any option can come from the environment too: BLURSYNTH_MAKE_WINDOW=9.
    """
    context.ensure_object(Screen)


def _catch_signals() -> None:
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # of a job in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, _stop)


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def _stop_after_all(dropped: "sys.UnraisableHookArgs") -> None:
    """Raise once more, a moment later, what a signal raised where Python drops it: in a library's call back to us."""
    error = dropped.exc_value
    if not isinstance(error, KeyboardInterrupt | SystemExit):
        sys.__unraisablehook__(dropped)
        return
    again = type(error)(*error.args)

    def stop(_number: int, _frame: FrameType | None) -> NoReturn:
        raise again

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.05)


def _let_signals_end_us() -> None:
    """Let signals end the process at once: all is done, and Python would show where in its clearing up one met it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit with the code that says how it went.

    0 done, 1 failed, 2 usage, 3 some inputs failed, 4 input refused, 5 the machine says no, 128 + n by signal n.
    """
    screen = Screen()
    try:
        prepare_streams()
        _catch_signals()
        sys.unraisablehook = _stop_after_all if arguments is None else sys.unraisablehook
        code = cli.main(arguments, prog_name="blursynth", standalone_mode=False, obj=screen)
        sys.stdout.flush()
    except (click.Abort, KeyboardInterrupt):
        talk("interrupted")
        code = 130
    except SystemExit as end:
        # Click ends with 1 on a broken pipe; if it is that nobody reads what we print, it is no failure.
        if end.code != 1 or not is_reader_gone():
            raise
        abandon_stdout()
        code = 0
    except click.exceptions.NoArgsIsHelpError as asked:
        asked.show()
        code = asked.exit_code
    except Exception as error:
        code = _explain(screen, error)
    if arguments is None:  # the process is ours
        _let_signals_end_us()
    sys.exit(code or 0)


def _explain(screen: Screen, error: Exception) -> int:
    """Say in one line what went wrong; return the exit code."""
    if screen.verbosity >= 2:
        talk(traceback.format_exc(), is_one_line=False)
    message, code = _message_and_code(error)
    talk(f"error: {message.splitlines()[0] if message else 'failed'}")
    return code


def _about_the_system(error: OSError) -> str:
    if error.filename is not None:
        return f"{printable(os.fsdecode(error.filename))}: {error.strerror}; choose another place or name"
    if error.errno in STREAM_ERRORS:
        abandon_stdout()
        return f"the result cannot be printed: {error.strerror}; write to another place"
    return f"the system says no: {error.strerror} (-vv shows where)"


def _message_and_code(error: Exception) -> tuple[str, int]:
    if isinstance(error, click.UsageError):
        command = error.ctx.command_path if error.ctx else "blursynth"
        what = " ".join(error.format_message().split()).rstrip(".")
        return f"{what}; '{command} --help' shows what there is", error.exit_code
    if isinstance(error, click.ClickException):
        return error.format_message(), error.exit_code
    if isinstance(error, BlursynthError):
        return str(error), error.exit_code
    if isinstance(error, MemoryError):
        return "out of memory: choose smaller pictures, fewer workers or a larger machine", 5
    if isinstance(error, OSError) and error.strerror:
        return _about_the_system(error), 5
    # The last resort, so that no user ever sees a traceback unasked.
    return f"internal error: {type(error).__name__}: {error} (a bug; -vv shows where)", 1
