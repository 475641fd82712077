"""Every write to disk, in one place.

A file under its final name is complete: it was written under a temporary name in the same folder, flushed to the
disk, renamed, and the folder flushed too. What a killed run leaves behind is a ``.blursynth-*.tmp`` file, which
`blursynth.sweeping` removes.
"""

import errno
import glob
import hashlib
import os
import re
import secrets
import socket
import stat
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from blursynth.errors import BlursynthError, OutputError, RefusedError, SettingsError

__all__ = [
    "TEMPORARY",
    "Replacement",
    "append_line",
    "as_output_error",
    "check_regular_file",
    "expand",
    "host_mark",
    "make_directory",
    "newest_first",
    "printable",
    "refuse_existing",
    "replacing",
    "reserve",
    "sha256_of",
    "write_at",
    "write_bytes",
    "write_together",
]

TEMPORARY = re.compile(r"\.blursynth-([0-9a-f]{8})-(\d+)-[0-9a-f]{8}\.tmp")
"""Names of files that are being written: the mark of the machine, the process, a random number."""

_HASH_BLOCK_BYTES = 1 << 22
_ADVICE = {
    errno.ENOSPC: "the disk is full: make room and run the same command again",
    errno.EDQUOT: "the disk quota is used up: make room and run the same command again",
    errno.EFBIG: "the file would exceed the size limit of this process or file system",
    errno.EROFS: "the file system is read-only: choose another output",
    errno.EACCES: "permission denied: choose another output",
    errno.EPERM: "operation not permitted: choose another output",
    errno.ENOTDIR: "a part of this path is a file, not a folder: choose another output",
    errno.ENAMETOOLONG: "the name is too long: choose a shorter one",
}


def printable(name: str | os.PathLike[str]) -> str:
    """Return a file name for a message: control characters and undecodable bytes escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in os.fspath(name))


@contextmanager
def as_output_error(path: Path) -> Iterator[None]:
    """Turn the disk's errors in the block into an OutputError that names ``path`` and says what to do."""
    try:
        yield
    except BlursynthError:
        raise
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, error.strerror or str(error))
        raise OutputError(f"{printable(path)}: {advice}") from error


def expand(arguments: Sequence[str], suffixes: Collection[str], *, is_recursive: bool = False) -> list[Path]:
    """Turn arguments into files: files as they are, folders into their files of known kinds, globs into their matches.

    Parameters
    ----------
    arguments
        Paths or glob patterns. A path that exists is never taken for a pattern.
    suffixes
        The file name endings, in lower case, that a folder is searched for. Hidden files are skipped.

    Returns
    -------
    Paths in the order of the arguments, those of a folder or glob sorted; none twice.

    Raises
    ------
    SettingsError
        If an argument gives no file.
    RefusedError
        If a folder cannot be looked into.
    """
    paths: dict[Path, None] = {}
    for argument in arguments:
        if not argument:
            raise SettingsError("an empty name was given; is a variable of the shell not set?")
        try:
            found = _expanded(Path(argument), suffixes, is_recursive=is_recursive)
        except OSError as error:
            raise _why_not_expanded(argument, error) from error
        if not found:
            path = Path(argument)
            what = f"no files ending in {', '.join(sorted(suffixes))} in it" if path.is_dir() else "no such file"
            raise SettingsError(f"{printable(argument)}: {what}")
        paths.update(dict.fromkeys(found))
    return list(paths)


def _why_not_expanded(argument: str, error: OSError) -> BlursynthError:
    if error.errno == errno.ENAMETOOLONG:
        return SettingsError(f"{printable(argument)}: the name is too long for a file")
    where = printable(error.filename or argument)
    if error.errno == errno.EACCES:
        return RefusedError(f"{where}: permission denied: allow reading it (chmod u+rx), or name other files")
    return RefusedError(f"{where}: cannot be looked into: {error.strerror or error}; name other files")


def _below(path: Path) -> Iterator[Path]:
    """Give what lies in a folder and its folders, but hidden ones; one that cannot be read is an error, not empty."""

    def fail(error: OSError) -> None:
        raise error

    for folder, folders, names in os.walk(path, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(folder, name) for name in names)


def _expanded(path: Path, suffixes: Collection[str], *, is_recursive: bool) -> list[Path]:
    if path.is_dir():
        inside = _below(path) if is_recursive else path.iterdir()
        return sorted(
            entry
            for entry in inside
            if entry.suffix.lower() in suffixes
            and entry.is_file()
            and not any(part.startswith(".") for part in entry.relative_to(path).parts)
        )
    if path.exists() or path.is_symlink():
        return [path]
    return sorted(Path(match) for match in glob.glob(str(path)) if Path(match).is_file())  # noqa: PTH207  # any root


def check_regular_file(path: Path, error: type[RefusedError]) -> os.stat_result:
    """Refuse what is not a non-empty, readable, regular file; opening a pipe could block for ever.

    Raises
    ------
    error
        The class given, with one line naming the file.
    """
    try:
        status = path.stat()
    except (OSError, ValueError) as reason:
        why = getattr(reason, "strerror", None) or reason
        raise error(f"{printable(path)}: cannot be read: {why}") from reason
    if not stat.S_ISREG(status.st_mode):
        raise error(f"{printable(path)}: not a regular file")
    if status.st_size == 0:
        raise error(f"{printable(path)}: empty file")
    if not os.access(path, os.R_OK):
        raise error(f"{printable(path)}: permission denied")
    return status


def make_directory(path: Path) -> None:
    """Create a folder and its parents if they are not there.

    Raises
    ------
    SettingsError
        If a file stands at the path.
    OutputError
        If the folder cannot be created.
    """
    with as_output_error(path):
        if path.exists() and not path.is_dir():
            raise SettingsError(f"{printable(path)}: a file of this name exists; a folder is needed")
        path.mkdir(parents=True, exist_ok=True)


def host_mark() -> str:
    """Return what tells this machine from others in the names of temporary files."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _temporary_beside(path: Path) -> Path:
    return path.parent / f".blursynth-{host_mark()}-{os.getpid()}-{secrets.token_hex(4)}.tmp"


def _flush(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush_folder(path: Path) -> None:
    with as_output_error(path):
        _flush(path, os.O_RDONLY | os.O_DIRECTORY)


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Refuse a final name that is taken.

    Raises
    ------
    SettingsError
        If something exists at the path and ``overwrite`` is false, or if it is not a regular file.
    """
    with as_output_error(path):
        if not (path.exists() or path.is_symlink()):
            return
    if not overwrite:
        raise SettingsError(f"{printable(path)}: exists already; choose another output or add --overwrite")
    if not path.is_file():
        raise SettingsError(f"{printable(path)}: exists and is not a regular file; choose another output")


class Replacement:
    """A file under a temporary name that becomes ``path`` on `commit`, or nothing on `discard`.

    The temporary file stands in the same folder, exists and is empty at first. Until `commit`, ``path`` is as it was.

    Raises
    ------
    SettingsError
        If ``path`` exists and ``overwrite`` is false, now or at `commit`.
    OutputError
        If the disk says no.
    """

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        refuse_existing(path, overwrite=overwrite)
        self.path = path
        self.temporary = _temporary_beside(path)
        self._overwrite = overwrite
        with as_output_error(path):
            os.close(os.open(self.temporary, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY, 0o666))

    def commit(self) -> None:
        """Flush to the disk, rename, flush the folder."""
        self.flush()
        self.rename()
        _flush_folder(self.path.parent)

    def flush(self) -> None:
        """Do the first part of `commit`."""
        with as_output_error(self.path):
            _flush(self.temporary, os.O_RDONLY)

    def rename(self) -> None:
        """Do the second part of `commit`."""
        refuse_existing(self.path, overwrite=self._overwrite)  # somebody may have come first
        with as_output_error(self.path):
            self.temporary.replace(self.path)

    def discard(self) -> None:
        """Remove the temporary file."""
        with suppress(OSError):
            self.temporary.unlink(missing_ok=True)


@contextmanager
def replacing(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give the temporary name of a `Replacement`; commit it when the block ends well, discard it when it raises.

    An OSError in the block is taken for the disk's and becomes an OutputError.
    """
    replacement = Replacement(path, overwrite=overwrite)
    try:
        with as_output_error(path):
            yield replacement.temporary
        replacement.commit()
    except BaseException:
        replacement.discard()
        raise


def write_bytes(path: Path, data: bytes | memoryview, *, overwrite: bool = False) -> None:
    """Write a whole file at once; see `replacing` for what may be raised."""
    with replacing(path, overwrite=overwrite) as temporary:
        _fill(temporary, data)


def write_together(files: Iterable[tuple[Path, bytes]], *, overwrite: bool = False) -> None:
    """Write some whole files, which takes the disk half as long as one after another.

    They are flushed when all are written, and each folder once. A final name is complete, as ever; a run that is killed
    meanwhile leaves some files or none. See `replacing` for what may be raised.
    """
    waiting: list[Replacement] = []
    try:
        for path, data in files:
            waiting.append(Replacement(path, overwrite=overwrite))
            with as_output_error(path):
                _fill(waiting[-1].temporary, data)
        for each in waiting:
            each.flush()
        for each in waiting:
            each.rename()
        for folder in dict.fromkeys(each.path.parent for each in waiting):
            _flush_folder(folder)
    except BaseException:
        for each in waiting:
            each.discard()
        raise


def _fill(path: Path, data: bytes | memoryview) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        write_at(descriptor, data, 0)
    finally:
        os.close(descriptor)


def append_line(path: Path, line: str) -> None:
    """Add a line to a log; a log may end in the middle of a line after a crash.

    Raises
    ------
    OutputError
        If the disk says no.
    """
    with as_output_error(path), path.open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def write_at(descriptor: int, data: bytes | memoryview, offset: int) -> None:
    """Write all of ``data`` at ``offset``; one call to the system may write less than it was given."""
    rest = memoryview(data).cast("B")
    while rest:
        written = os.pwrite(descriptor, rest, offset)
        rest = rest[written:]
        offset += written


def reserve(descriptor: int, num_bytes: int) -> None:
    """Reserve disk space, so that a full disk is an error now and not in the middle of a write.

    Raises
    ------
    OSError
        With ``errno`` ENOSPC when the space is not there. File systems that cannot reserve are let through.
    """
    try:
        os.posix_fallocate(descriptor, 0, num_bytes)
    except OSError as error:
        if error.errno not in {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}:
            raise


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return _sha256(file)


def _sha256(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while block := file.read(_HASH_BLOCK_BYTES):
        digest.update(block)
    return digest.hexdigest()


def newest_first(paths: list[Path]) -> list[Path]:
    """Sort files by modification time, newest first; equal times by name."""
    return sorted(paths, key=lambda path: (-path.stat().st_mtime_ns, path.name))
