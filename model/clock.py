"""Time and signals of a run."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["Clock", "Signals", "listening"]


class Clock:
    """How long a run has taken, resumed ones together, and what is due."""

    def __init__(self, seconds_before: float) -> None:
        self._begin = time.monotonic() - seconds_before
        self._lap = self._start = time.monotonic()
        self._due: dict[str, float] = {}
        self._waited = 0.0

    @property
    def seconds(self) -> float:
        """How long the run has taken so far."""
        return time.monotonic() - self._begin

    @property
    def waited_fraction(self) -> float:
        """How much of this session went by in `waiting`."""
        return self._waited / max(1e-9, time.monotonic() - self._start)

    def lap(self) -> float:
        """Return the seconds since the last lap."""
        now = time.monotonic()
        seconds, self._lap = now - self._lap, now
        return seconds

    def is_time_to(self, what: str, every_seconds: float) -> bool:
        """Tell whether ``every_seconds`` have gone by since this was last answered with yes."""
        now = time.monotonic()
        if now < self._due.setdefault(what, self._start + every_seconds):
            return False
        self._due[what] = now + every_seconds
        return True

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time of the block as waiting."""
        begin = time.monotonic()
        yield
        self._waited += time.monotonic() - begin


class Signals:
    """What the system asked for while a run goes on."""

    def __init__(self) -> None:
        self.stopped_by: int | None = None
        self._is_save_asked = False

    def is_save_asked(self) -> bool:
        """Return whether SIGUSR1 came since this was last asked."""
        asked, self._is_save_asked = self._is_save_asked, False
        return asked

    def note_save(self, _number: int, _frame: FrameType | None) -> None:
        """Remember that a checkpoint is wanted soon."""
        self._is_save_asked = True


@contextmanager
def listening() -> Iterator[Signals]:
    """Let the first Ctrl-C, SIGTERM or SIGHUP end the run after its step; the second one acts at once.

    SIGUSR1, which Slurm can send before it takes the machine away, asks for a checkpoint; the run goes on.
    """
    signals = Signals()
    before: dict[int, Any] = {}

    def note(number: int, _frame: FrameType | None) -> None:
        signals.stopped_by = signals.stopped_by or number
        signal.signal(number, before[number])

    try:
        for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(name) is signal.SIG_IGN:  # nohup
                continue
            before[name] = signal.signal(name, note)
        before[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, signals.note_save)
    except ValueError:
        pass  # not in the main thread, where signals do not arrive
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
