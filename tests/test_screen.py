import os
import pty
import subprocess
import sys

import pytest

from blursynth.cli.screen import Screen


def test_without_a_terminal_there_is_a_plain_line_every_ten_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr("blursynth.cli.screen.time.monotonic", lambda: now)
    with Screen().task("clip\n.mp4", 240, "frames") as advance:
        for _ in range(60):
            now += 0.5
            advance(2, "3 pairs")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert lines[0] == "clip\\n.mp4: 40/240 frames, 4 frames/s, 50 s left  3 pairs"


def test_quiet_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    quiet = Screen(-1)
    quiet.note("hello")
    with quiet.task("clip", 10, "frames") as advance:
        advance(10, "")
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar_with_rate_and_time_left() -> None:
    script = (
        "import time; from blursynth.cli.screen import Screen\n"
        "with Screen().task('clip [bold].mp4', 40, 'frames') as advance:\n"
        "    for _ in range(40): time.sleep(0.02); advance(1, 'pairs [x]')\n"
    )
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen([sys.executable, "-c", script], stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    while True:
        try:
            data = os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
        if not data:
            break
        shown += data
    os.close(ours)
    assert process.wait() == 0
    text = shown.decode()
    for part in ("clip [bold].mp4", "pairs [x]", "frames/s", "0:00:0", "40/40 frames"):
        assert part in text
