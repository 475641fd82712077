"""What killed runs leave behind is swept away by the next one; what a run's own workers leave, by the run itself."""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from blursynth.errors import OutputError
from blursynth.files import TEMPORARY, as_output_error, host_mark

__all__ = ["sweep", "swept"]

_STALE_SECONDS = 24 * 3600  # a temporary file of another machine is left alone for a day


def sweep(directory: Path) -> list[Path]:
    """Remove the temporary files that killed runs left in ``directory``; return their paths."""
    swept = []
    for path in directory.iterdir():
        match = TEMPORARY.fullmatch(path.name)
        if match and _is_stale(path, mark=match[1], pid=int(match[2])):
            with suppress(OSError):
                path.unlink()
                swept.append(path)
    return swept


@contextmanager
def swept(directories: Iterable[Path], note: Callable[[str], None] = lambda _text: None) -> Iterator[None]:
    """Sweep folders before the block, and again after it however it ends: its workers may have been ended at once.

    Parameters
    ----------
    directories
        Folders; those that are not there are passed over.
    note
        Told of each file that an earlier run left.

    Raises
    ------
    OutputError
        If a folder cannot be looked into.
    """
    directories = tuple(directories)
    for left in _sweep_all(directories):
        note(f"{left.name}: left by a killed run, removed")
    try:
        yield
    except BaseException:
        with suppress(OutputError):  # what went wrong before is what is to be told
            _sweep_all(directories)
        raise
    _sweep_all(directories)


def _sweep_all(directories: Iterable[Path]) -> list[Path]:
    left = []
    for directory in directories:
        with as_output_error(directory):
            left += sweep(directory) if directory.is_dir() else []
    return left


def _is_stale(path: Path, *, mark: str, pid: int) -> bool:
    if mark != host_mark():
        try:
            return time.time() - path.stat().st_mtime > _STALE_SECONDS
        except FileNotFoundError:  # it has got its name meanwhile
            return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        return False
    return pid == os.getpid()  # our own number from an earlier life
