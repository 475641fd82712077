"""Who may write into a folder: one run, or several that each have a share of the work.

The file ``.blursynth.lock`` stays when a run is over, and says who was last. It locks nothing by being there: the
system lets go of a lock when its holder ends, however that happens, and removing the file could take it away from a
run that is just about to hold it. Where nobody writes, it may be deleted.
"""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from blursynth.errors import OutputError
from blursynth.files import as_output_error, printable

__all__ = ["locked", "release_inherited_locks"]

_held: set[int] = set()  # descriptors of this process


def release_inherited_locks() -> None:
    """Let go, in a forked child, of its parent's locks: else they would outlive a parent that is killed."""
    for descriptor in _held:
        with suppress(OSError):
            os.close(descriptor)
    _held.clear()


@contextmanager
def locked(directory: Path, work: str, *, share: str = "") -> Iterator[None]:
    """Hold the only right to write into a folder; ``work`` names the holder in the other's message.

    With a ``share``, for example ``2-of-8``, holders of other shares may write at the same time.

    Raises
    ------
    OutputError
        If another process holds it, or the lock file cannot be written.
    """
    with _lock(directory / ".blursynth.lock", work, is_exclusive=not share):
        if not share:
            yield
            return
        with _lock(directory / f".blursynth-{share}.lock", work, is_exclusive=True):
            yield


@contextmanager
def _lock(path: Path, work: str, *, is_exclusive: bool) -> Iterator[None]:
    with as_output_error(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_EX if is_exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "another process"
            raise OutputError(
                f"{printable(path.parent)}: {printable(holder)} is writing here; wait for it or choose another output"
            ) from error
        except OSError as error:
            raise OutputError(f"{printable(path)}: cannot be locked here: {error.strerror}") from error
        _held.add(descriptor)
        with as_output_error(path):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{work} (pid {os.getpid()} on {socket.gethostname()})".encode(), 0)
        yield
    finally:
        _held.discard(descriptor)
        os.close(descriptor)  # the lock goes with it
