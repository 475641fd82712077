"""Standard streams that cannot fail us: closed ones, full ones, and those whose encoding lacks a character."""

import codecs
import errno
import io
import os
import select
import sys

__all__ = ["STREAM_ERRORS", "abandon_stdout", "is_reader_gone", "prepare_streams"]

STREAM_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}
"""What writing to standard output may fail with, where it is a file or a device."""
_HANDLER = "blursynth-as-it-came"


def prepare_streams() -> None:
    """Give every standard stream somewhere to go, and a way to write any file name.

    Where one was closed, the first file that is opened would get its number, and be written into by every message.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        continue
    os.close(descriptor)
    for name, number in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w", encoding="utf-8", closefd=False))  # noqa: SIM115  # as long as we live
    codecs.register_error(_HANDLER, _as_it_came)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # tests put others there
            stream.reconfigure(errors=_HANDLER)


def _as_it_came(error: UnicodeError) -> tuple[str | bytes, int]:
    """Write bytes of file names that are no text as they are, and characters that the encoding lacks as escapes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    part = error.object[error.start : error.end]
    encoded = (
        character.encode("utf-8", "surrogateescape")
        if "\udc80" <= character <= "\udcff"
        else character.encode("ascii", "backslashreplace")
        for character in part
    )
    return b"".join(encoded), error.end


def is_reader_gone() -> bool:
    """Return whether standard output is a pipe that nobody reads any more."""
    poll = select.poll()
    poll.register(1, select.POLLOUT)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def abandon_stdout() -> None:
    """Let what is still to be printed go nowhere: at its exit, Python would try once more and complain."""
    descriptor = os.open(os.devnull, os.O_WRONLY)
    os.dup2(descriptor, sys.stdout.fileno())
    os.close(descriptor)
