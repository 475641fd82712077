"""What a person sees while work goes on: bars on a terminal, plain lines elsewhere, all on stderr."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import click

from blursynth.files import printable

__all__ = ["Screen", "talk"]

_PLAIN_LINE_SECONDS = 10.0
_MAX_MESSAGE = 800  # characters; file names and values may be of any length
_HEAD = 500


def talk(message: str, *, is_one_line: bool = True) -> None:
    """Print on stderr, escaped and of bounded length; that nobody can read it stops no work."""
    if is_one_line:
        message = printable(message)
        if len(message) > _MAX_MESSAGE:  # what is wrong stands first, the remedy last
            message = f"{message[:_HEAD]} … {message[_HEAD - _MAX_MESSAGE :]}"
    with suppress(OSError):
        click.echo(message, err=True)


class Screen:
    """Shows progress and notes; see `blursynth.progress.Progress`.

    Parameters
    ----------
    verbosity
        -1 shows errors only, 0 progress and notes, 1 details too, 2 tracebacks.
    """

    def __init__(self, verbosity: int = 0) -> None:
        self.verbosity = verbosity

    def note(self, message: str) -> None:
        """Say something on stderr."""
        if self.verbosity >= 0:
            talk(message)

    def error(self, message: str) -> None:
        """Say what went wrong with one of several inputs; also when quiet."""
        talk(message)

    @contextmanager
    def task(self, label: str, total: float, unit: str) -> Iterator[Callable[[float, str], None]]:
        """Show a piece of work: how far, how fast, how long still."""
        if self.verbosity < 0:
            yield lambda _done, _remark: None
        elif sys.stderr.isatty():
            with self._bar(label, total, unit) as advance:
                yield advance
        else:
            yield _PlainLines(printable(label), total, unit).advance

    @contextmanager
    def _bar(self, label: str, total: float, unit: str) -> Iterator[Callable[[float, str], None]]:
        from rich.console import Console  # noqa: PLC0415  # a tenth of a second that --help need not wait
        from rich.markup import escape  # noqa: PLC0415
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.completed:.4g}/{task.total:.4g} {task.fields[unit]}"),
            TextColumn("{task.fields[rate]}"),
            TextColumn("{task.fields[remark]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True, speed_estimate_period=3600) as progress:
            bar = progress.add_task(escape(printable(label)), total=total, unit=unit, remark="", rate="")

            def advance(done: float, remark: str) -> None:
                speed = progress.tasks[0].speed
                progress.update(bar, advance=done, rate=f"{speed:.3g} {unit}/s" if speed else "")
                if remark:
                    progress.update(bar, remark=escape(remark))

            yield advance


class _PlainLines:
    """One line every ten seconds, for logs."""

    def __init__(self, label: str, total: float, unit: str) -> None:
        self._label, self._total, self._unit = label, total, unit
        self._start = self._last = time.monotonic()
        self._done = 0.0

    def advance(self, done: float, remark: str) -> None:
        self._done += done
        now = time.monotonic()
        if now - self._last < _PLAIN_LINE_SECONDS or not self._done:
            return
        self._last = now
        rate = self._done / (now - self._start)
        left = max(0.0, self._total - self._done) / rate
        done_text = f"{self._done:.4g}/{self._total:.4g} {self._unit}, {rate:.3g} {self._unit}/s"
        talk(f"{self._label}: {done_text}, {left:.0f} s left  {remark}".rstrip())
