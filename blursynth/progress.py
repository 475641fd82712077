"""How long work tells of itself, without knowing whether anyone looks.

The command line shows bars; tests and programs usually pass `SILENT`.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

__all__ = ["SILENT", "Progress", "Silent"]


class Progress(Protocol):
    """What a function that takes long says of itself."""

    def task(self, label: str, total: float, unit: str) -> AbstractContextManager[Callable[[float, str], None]]:
        """Begin a piece of work of ``total`` units; the value to call takes (units done since, a short remark)."""

    def note(self, message: str) -> None:
        """Say something that the user should know and that is not an error."""


class Silent:
    """Says nothing."""

    @contextmanager
    def task(self, label: str, total: float, unit: str) -> Iterator[Callable[[float, str], None]]:
        """Begin a piece of work that nobody watches."""
        del label, total, unit
        yield lambda _done, _remark: None

    def note(self, message: str) -> None:
        """Drop the message."""


SILENT = Silent()
