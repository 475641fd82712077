import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from blursynth import files
from blursynth.errors import OutputError, RefusedError, SettingsError, ShardError, VideoError


def names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def test_replacing_gives_the_name_only_when_the_block_ends_well(tmp_path: Path) -> None:
    path = tmp_path / "out.bin"
    with files.replacing(path) as temporary:
        temporary.write_bytes(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    assert names(tmp_path) == ["out.bin"]


def test_replacing_leaves_the_old_file_when_the_block_raises(tmp_path: Path) -> None:
    path = tmp_path / "out.bin"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), files.replacing(path, overwrite=True) as temporary:
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["out.bin"]


def test_replacing_refuses_what_exists_or_came_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "out.bin"
    with pytest.raises(SettingsError, match="--overwrite"), files.replacing(path):
        path.write_bytes(b"somebody else's")
    assert path.read_bytes() == b"somebody else's"
    with pytest.raises(SettingsError, match=r"out\.bin"), files.replacing(path):
        pytest.fail("the block must not run")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("call", ["pwrite", "fsync"])
@pytest.mark.parametrize(
    "write",
    [lambda path: files.write_bytes(path, b"data"), lambda path: files.write_together([(path, b"data")])],
    ids=["alone", "together"],
)
def test_a_failing_disk_is_one_clear_error_and_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], None], call: str, number: int
) -> None:
    def fail(*_arguments: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OutputError, match=r"out\.bin: ") as caught:
        write(tmp_path / "out.bin")
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == []


def test_new_files_have_the_mode_that_the_umask_asks_for(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        files.write_bytes(tmp_path / "out.bin", b"data")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out.bin").stat().st_mode) == 0o640


def test_write_at_goes_on_after_short_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: real(fd, data[:3], offset))
    files.write_bytes(tmp_path / "out.bin", b"0123456789")
    assert (tmp_path / "out.bin").read_bytes() == b"0123456789"


def test_check_regular_file_never_blocks(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").touch()
    for name, reason in [
        ("pipe", "regular"),
        ("empty", "empty"),
        ("none", "No such"),
        (".", "regular"),
        ("a\0b", "null"),
    ]:
        with pytest.raises(VideoError, match=reason):
            files.check_regular_file(tmp_path / name, VideoError)


def test_a_folder_that_cannot_be_looked_into_is_refused_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "iterdir", _no_permission)
    monkeypatch.setattr(os, "scandir", _no_permission)
    for is_recursive in (False, True):
        with pytest.raises(RefusedError, match=rf"{tmp_path}: permission denied: .*chmod"):
            files.expand([str(tmp_path)], {".png"}, is_recursive=is_recursive)
    with pytest.raises(SettingsError, match="the name is too long"):
        files.expand(["x" * 5000], {".png"})


def test_expand_takes_files_folders_and_globs_in_order(tmp_path: Path) -> None:
    for name in ("b.mp4", "a.MP4", ".hidden.mp4", "notes.txt", "sub/c.mp4", "[x].mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = files.expand([str(tmp_path / "b.mp4"), str(tmp_path)], {".mp4"})
    assert [path.name for path in found] == ["b.mp4", "[x].mp4", "a.MP4"]
    assert [path.name for path in files.expand([f"{tmp_path}/*.mp4"], {".mp4"})] == ["[x].mp4", "b.mp4"]
    assert [path.name for path in files.expand([f"{tmp_path}/[x].mp4"], {".mp4"})] == ["[x].mp4"]
    assert "c.mp4" in [path.name for path in files.expand([str(tmp_path)], {".mp4"}, is_recursive=True)]
    with pytest.raises(SettingsError, match="no files ending in"):
        files.expand([str(tmp_path)], {".mkv"})
    with pytest.raises(SettingsError, match="no such file"):
        files.expand([str(tmp_path / "*.mkv")], {".mkv"})


def test_printable_escapes_what_could_drive_a_terminal() -> None:
    assert files.printable("a\x1b[31mb\nc é") == "a\\x1b[31mb\\nc é"


def test_files_written_together_are_whole_under_their_names_and_flushed_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def logged_fsync(descriptor: int) -> None:
        calls.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def logged_replace(path: Path, target: Path) -> Path:
        calls.append("rename")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", logged_fsync)
    monkeypatch.setattr(Path, "replace", logged_replace)
    files.write_together(((tmp_path / f"{number}", b"%d" % number) for number in range(3)), overwrite=True)
    assert calls == ["file"] * 3 + ["rename"] * 3 + ["folder"]
    assert sorted(names(tmp_path)) == ["0", "1", "2"]
    assert (tmp_path / "2").read_bytes() == b"2"


def test_files_written_together_leave_nothing_when_one_cannot_be_made(tmp_path: Path) -> None:
    def some() -> Iterator[tuple[Path, bytes]]:
        yield tmp_path / "a", b"a"
        raise ShardError("b is damaged")

    with pytest.raises(ShardError):
        files.write_together(some())
    assert names(tmp_path) == []


def _no_permission(path: Path | str) -> Iterator[Path]:
    raise PermissionError(errno.EACCES, "Permission denied", str(path))
