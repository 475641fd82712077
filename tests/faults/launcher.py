"""Starting commands, and who else runs."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psutil

__all__ = ["SECONDS", "Launcher", "Outcome", "still_running"]

SECONDS = 120.0  # for a command; none may hang
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended: exit code (negative: by a signal, None: it hung), what it said, what it took."""

    code: int | None
    stdout: str
    stderr: str
    rss: int


class Launcher:
    """Starts commands in forked children of a server, or in processes of their own."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        scratch.mkdir(parents=True, exist_ok=True)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("BLURSYNTH", "PYTEST"))},
            **dict.fromkeys(_THREADS, "1"),
            "PYTHONPATH": str(Path(__file__).parents[1]),
        }
        self._server = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("server.py"))], cwd=scratch, env=self.environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._lock = threading.Lock()
        self._count = 0
        self._answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.communicate()

    def _answer(self) -> Any:
        assert self._server.stdout
        line = self._server.stdout.readline()
        assert line, "the server has died"
        return json.loads(line)

    def _ask(self, request: Mapping[str, Any]) -> Any:
        assert self._server.stdin
        with self._lock:
            print(json.dumps(request), file=self._server.stdin, flush=True)
            return self._answer()

    def start(
        self, arguments: list[str], directory: Path, *, environment: Mapping[str, str] | None = None,
        limits: Mapping[str, int] | None = None, standard_input: bytes = b"", hook: str = "", **hook_values: Any,
    ) -> tuple[int, Path]:  # fmt: skip
        """Fork a child that runs a command; return its number, and the stem of its streams."""
        self._count += 1
        stem = self._scratch / f"streams-{self._count}"
        stem.with_suffix(".in").write_bytes(standard_input)
        answer = self._ask(
            {
                "arguments": arguments,
                "directory": str(directory),
                "environment": dict(environment or {}),
                "limits": dict(limits or {}),
                "streams": [str(stem.with_suffix(suffix)) for suffix in (".in", ".out", ".err")],
                "hook": hook,
                "hook_values": hook_values,
            }
        )
        return int(answer["pid"]), stem

    def wait(self, pid: int, stem: Path, seconds: float = SECONDS) -> Outcome:
        """Wait for a child; one that takes longer is killed, and counts as hung."""
        answer = self._ask({"pid": pid, "seconds": seconds})
        stdout, stderr = (stem.with_suffix(suffix).read_bytes().decode(errors="replace") for suffix in (".out", ".err"))
        for suffix in (".in", ".out", ".err"):
            stem.with_suffix(suffix).unlink()
        return Outcome(answer["code"], stdout, stderr, answer["rss"])

    def run(self, arguments: list[str], directory: Path, seconds: float = SECONDS, **options: Any) -> Outcome:
        """Run a command to its end in a forked child."""
        return self.wait(*self.start(arguments, directory, **options), seconds)

    def run_fresh(self, arguments: list[str], directory: Path, environment: Mapping[str, str], data: bytes) -> Outcome:
        """Run a command to its end in a process of its own, where what it does while it starts matters."""
        process = subprocess.Popen(
            [sys.executable, "-m", "blursynth", *arguments], cwd=directory, env={**self.environment, **environment},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        code: int | None
        try:
            stdout, stderr = process.communicate(data, timeout=SECONDS)
            code = process.returncode
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            stdout, stderr = process.communicate()
            code = None
        return Outcome(code, stdout.decode(errors="replace"), stderr.decode(errors="replace"), 0)


def still_running(session: int, seconds: float = 2.0) -> list[psutil.Process]:
    """Return the processes of a session that are there after a moment."""
    deadline = time.monotonic() + seconds
    while True:
        left = [process for process in psutil.process_iter() if _session_of(process) == session]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.05)


def _session_of(process: psutil.Process) -> int:
    try:
        return -1 if process.status() == psutil.STATUS_ZOMBIE else os.getsid(process.pid)
    except (psutil.Error, OSError):
        return -1
