"""What killed runs and ended workers leave is removed, and nothing else."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from blursynth import files
from blursynth.errors import OutputError, ShardError
from blursynth.sweeping import sweep, swept


def names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def test_sweep_removes_what_dead_processes_left_and_nothing_else(tmp_path: Path) -> None:
    script = "import sys; from pathlib import Path; from blursynth import files; files.Replacement(Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "out")], check=True)
    assert len(names(tmp_path)) == 1
    (tmp_path / "mine.tmp").touch()
    (tmp_path / ".blursynth-00000000-1-00000000.tmp").touch()  # another machine's, from just now
    running = files.Replacement(tmp_path / "running")
    running.temporary.rename(tmp_path / running.temporary.name.replace(str(os.getpid()), str(os.getppid())))
    assert len(sweep(tmp_path)) == 1
    assert (tmp_path / "mine.tmp").exists()
    assert len(names(tmp_path)) == 3


@pytest.mark.parametrize("is_stopped", [False, True])
def test_what_workers_left_is_swept_however_the_run_ends(tmp_path: Path, *, is_stopped: bool) -> None:
    script = "import sys; from pathlib import Path; from blursynth import files; files.Replacement(Path(sys.argv[1]))"
    told: list[str] = []

    def run() -> None:
        with swept([tmp_path, tmp_path / "not there"], told.append):
            assert names(tmp_path) == []
            subprocess.run([sys.executable, "-c", script, str(tmp_path / "out")], check=True)
            assert len(names(tmp_path)) == 1
            if is_stopped:
                raise KeyboardInterrupt

    subprocess.run([sys.executable, "-c", script, str(tmp_path / "out")], check=True)
    with pytest.raises(KeyboardInterrupt) if is_stopped else nullcontext():
        run()
    assert names(tmp_path) == []
    assert len(told) == 1


def test_a_disk_that_cannot_be_swept_hides_no_other_error(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(ShardError, match="the first"), swept([folder]), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "iterdir", _no_permission)
        raise ShardError("the first")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(OutputError, match="permission denied"):
        patch.setattr(Path, "iterdir", _no_permission)
        with swept([folder]):
            pass


def _no_permission(path: Path | str) -> Iterator[Path]:
    raise PermissionError(errno.EACCES, "Permission denied", str(path))
