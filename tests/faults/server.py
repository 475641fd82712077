"""A process that has blursynth loaded and forks a child for each command, so that a case costs no start-up.

It reads one JSON object a line and answers with one. The child is a real process: it has its own session, limits,
signals, streams and exit status.
"""

import atexit
import gc
import importlib
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from typing import Any, NoReturn

PRELOADED = (
    "blursynth.__main__", "blursynth.cli.main", "blursynth.calibration", "blursynth.contents", "blursynth.demo",
    "blursynth.gopro", "blursynth.leaks", "blursynth.make.stills", "blursynth.model.online.packing",
    "blursynth.model.photographs", "blursynth.model.published", "blursynth.model.sources", "blursynth.model.train",
    "blursynth.video",
)  # fmt: skip
_POLL_SECONDS = 0.002


def serve() -> None:
    """Answer until the pipe is closed."""
    for name in PRELOADED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # so that children need not copy what they only look at
    _answer({"pid": os.getpid()})
    while line := sys.stdin.readline():
        request = json.loads(line)
        _answer(_start(request) if "arguments" in request else _wait(**request))


def _answer(values: Mapping[str, Any]) -> None:
    sys.stdout.write(f"{json.dumps(values)}\n")
    sys.stdout.flush()


def _start(request: Mapping[str, Any]) -> dict[str, int]:
    pid = os.fork()
    if pid == 0:
        _become(request)
    return {"pid": pid}


def _become(request: Mapping[str, Any]) -> NoReturn:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the command is what it reaches
    os.setsid()
    os.chdir(request["directory"])
    os.environ.update(request["environment"])
    for number, name in enumerate(request["streams"]):
        descriptor = os.open(name, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(descriptor, number)
        os.close(descriptor)
    for kind, limit in request["limits"].items():
        resource.setrlimit(getattr(resource, kind), (limit, limit))
    if request["hook"]:
        module, _, function = request["hook"].partition(":")
        getattr(importlib.import_module(module), function)(**request["hook_values"])
    sys.argv = ["blursynth", *request["arguments"]]
    os._exit(_run())


def _run() -> int:
    """Run the command and what is to be done at its end, but not the long taking apart of all that was loaded."""
    from blursynth.__main__ import main

    code = 1
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    return code


def _wait(pid: int, seconds: float) -> dict[str, Any]:
    """Wait for a child; kill it if it takes longer. ``code`` is None for one that had to be killed."""
    deadline = time.monotonic() + seconds
    while True:
        found, status, usage = os.wait4(pid, os.WNOHANG)
        if found:
            return {"code": os.waitstatus_to_exitcode(status), "rss": usage.ru_maxrss * 1024}
        if time.monotonic() > deadline:
            os.killpg(pid, signal.SIGKILL)
            os.wait4(pid, 0)
            return {"code": None, "rss": 0}
        time.sleep(_POLL_SECONDS)


if __name__ == "__main__":
    serve()
