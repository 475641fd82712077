import os
import subprocess
import sys
from pathlib import Path

from blursynth.locks import locked


def test_only_one_process_may_write_into_a_folder(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from blursynth.locks import locked\n"
        "with locked(Path(sys.argv[1]), 'second'): pass"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with locked(tmp_path, "the first"):
        second = subprocess.run(command, capture_output=True, text=True, check=False)
    assert second.returncode == 1
    assert f"the first (pid {os.getpid()}" in second.stderr
    assert subprocess.run(command, check=False).returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == [".blursynth.lock"]  # which locks nothing by being there


def test_shares_may_write_at_once_but_not_twice_nor_beside_the_whole(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from blursynth.locks import locked\n"
        "with locked(Path(sys.argv[1]), 'second', share=sys.argv[2]): pass"
    )

    def code(share: str) -> int:
        command = [sys.executable, "-c", script, str(tmp_path), share]
        return subprocess.run(command, capture_output=True, check=False).returncode

    with locked(tmp_path, "the first", share="1-of-2"):
        assert [code(share) for share in ("2-of-2", "1-of-2", "")] == [0, 1, 1]
