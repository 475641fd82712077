"""Run tasks side by side: in this process, in worker processes of this machine, or on a Dask cluster.

Nothing here knows of clips. A task is a value, a function makes a result of it, and doing a task twice is the same as
doing it once. Worker processes come from loky, the engine inside joblib, and are asked directly: of `joblib.Parallel`
one killed worker costs all results that were not collected yet, and of its Dask backend one task that kills workers
costs the whole run.
"""

import hashlib
import os
import re
import shutil
import signal
import threading
import time
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing import resource_tracker
from queue import SimpleQueue
from typing import Any, TypeVar

from blursynth.errors import BlursynthError, DeviceError, MachineError, SettingsError
from blursynth.files import printable

__all__ = ["BACKENDS", "Engine", "Failure", "attempt", "failure_of", "run_tasks", "take_part"]

BACKENDS = ("local", "dask")

_MAX_JOBS = 1024
_OUT_OF_MEMORY = "out of memory: choose smaller pictures, fewer --jobs or a larger machine"
_WORKER_DIED = "WorkerDied"
_ADDRESS = re.compile(r"tcp://[^\s/:]+:[0-9]{1,5}/?")
_THREADS_OF_LIBRARIES = (
    "BLIS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "OPENCV_FOR_THREADS_NUM",
)

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Engine:
    """Where tasks are run.

    ``jobs`` is the number of worker processes on this machine; 1 means this process itself, 0 or -1 one worker for each
    core. ``backend`` is "local" or "dask"; the latter needs the address of the ``scheduler``, for example
    tcp://10.0.0.1:8786, and runs as many tasks at once as the cluster has threads.

    Raises
    ------
    SettingsError
        If they make no sense, alone or together.
    """

    jobs: int = 1
    backend: str = "local"
    scheduler: str | None = None

    def __post_init__(self) -> None:
        if type(self.jobs) is not int or not -1 <= self.jobs <= _MAX_JOBS:
            raise SettingsError(f"--jobs {self.jobs}: choose 1 to {_MAX_JOBS} worker processes, or 0 for all cores")
        if self.backend not in BACKENDS:
            raise SettingsError(f"--backend {self.backend!r} is not known: choose {' or '.join(BACKENDS)}")
        if self.backend == "local" and self.scheduler is not None:
            raise SettingsError("--scheduler is for --backend dask")
        if self.backend == "dask":
            self._check_cluster()

    def _check_cluster(self) -> None:
        if self.scheduler is None:
            raise SettingsError("--backend dask needs --scheduler, for example tcp://10.0.0.1:8786")
        if not _ADDRESS.fullmatch(self.scheduler):
            raise SettingsError(f"--scheduler {printable(self.scheduler)!r}: not an address like tcp://10.0.0.1:8786")
        if self.jobs != 1:
            raise SettingsError("--jobs is for --backend local: a Dask cluster has the workers it was started with")

    @property
    def num_workers(self) -> int:
        """How many tasks this machine runs at once; 1 with a cluster."""
        return self.jobs if self.jobs > 0 else _num_cores()


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a task has no result.

    ``message`` is one line and ``kind`` the name of the error's class; ``error`` is the error itself if it is one of
    `blursynth.errors`, and ``trace`` says where it was raised, for those who look for a bug.
    """

    message: str
    kind: str
    error: BlursynthError | None = None
    trace: str = ""

    @property
    def has_killed_workers(self) -> bool:
        """Whether no worker survived the task: it alone is lost, the others have been done."""
        return self.kind == _WORKER_DIED

    def as_error(self, what: str) -> BlursynthError:
        """Return what to raise where a run cannot go on without the result; ``what`` names the input."""
        if self.error:
            return self.error
        if self.has_killed_workers:
            return MachineError(f"{what}: {self.message}")
        return BlursynthError(f"{what}: {self.kind}: {self.message}")


def run_tasks(
    function: Callable[[_Task], _Result], tasks: Sequence[_Task], engine: Engine
) -> Generator[tuple[int, _Result | Failure], None, None]:
    """Apply a function to tasks and give results as they come, each with the position of its task.

    With one local job everything happens in this process, in order, and nothing is pickled. Worker processes end with
    the generator, however it ends; wrap it in `contextlib.closing` where the loop over it may be left early. A task
    whose worker dies is tried once more, alone, when the others are done; a cluster moves it to another worker.

    Parameters
    ----------
    function
        Must be importable where it runs, or defined in the main script. What it raises becomes a `Failure`.

    Raises
    ------
    MachineError
        If no worker process can be started.
    DeviceError
        If psutil or Dask is needed and not installed, the scheduler cannot be reached or is lost, or no worker is
        there for a minute.
    """
    if engine.backend == "dask":
        assert engine.scheduler is not None  # noqa: S101  # the engine was checked
        from blursynth.engine.cluster import on_cluster  # noqa: PLC0415  # which imports this module

        return on_cluster(function, tasks, engine.scheduler)
    if engine.jobs == 1:
        return _in_this_process(function, tasks)
    return _on_this_machine(function, tasks, engine.num_workers)


def take_part(keys: Sequence[str], part: str) -> list[bool]:
    """Tell which keys belong to part K of N, for array jobs that cannot talk to each other.

    Each key alone decides, by its SHA-256 modulo N: every key is in exactly one part whatever else is in the list and
    in whatever order, and a new key moves no other. The parts are as even as chance makes them.

    Parameters
    ----------
    keys
        What the sources are called in all jobs alike.
    part
        "K/N", 1 <= K <= N.

    Raises
    ------
    SettingsError
        If ``part`` makes no sense.
    """
    numbers = re.fullmatch(r"([1-9][0-9]{0,6})/([1-9][0-9]{0,6})", part, re.ASCII)
    if numbers is None or int(numbers[1]) > int(numbers[2]):
        raise SettingsError(f"--part {printable(part)!r}: write K/N with K from 1 to N, for example 3/8")
    k, n = int(numbers[1]), int(numbers[2])
    digests = (hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest() for key in keys)
    return [int.from_bytes(digest) % n == k - 1 for digest in digests]


def _num_cores() -> int:
    from joblib import cpu_count  # noqa: PLC0415  # slow to import

    return int(cpu_count())  # those that this process may use


def attempt(function: Callable[[_Task], _Result], task: _Task) -> _Result | Failure:
    """Do a task where this is called; a Failure, which can be pickled, if it raises an error."""
    try:
        return function(task)
    except BlursynthError as error:
        # Made anew, without what it came from, so that it can be pickled.
        return Failure(str(error), type(error).__name__, type(error)(str(error)), traceback.format_exc())
    except MemoryError:
        return Failure(_OUT_OF_MEMORY, "MemoryError", MachineError(_OUT_OF_MEMORY), traceback.format_exc())
    except Exception as error:  # of one task: the others go on
        return failure_of(error, traceback.format_exc())


def failure_of(error: BaseException, trace: str = "") -> Failure:
    """Put an error that is none of ours into one line."""
    lines = str(error).strip().splitlines()
    return Failure(lines[0] if lines else type(error).__name__, type(error).__name__, trace=trace)


def _in_this_process(
    function: Callable[[_Task], _Result], tasks: Sequence[_Task]
) -> Generator[tuple[int, _Result | Failure], None, None]:
    for position, task in enumerate(tasks):
        yield position, attempt(function, task)


def _on_this_machine(
    function: Callable[[_Task], _Result], tasks: Sequence[_Task], num_workers: int
) -> Generator[tuple[int, _Result | Failure], None, None]:
    waiting = deque(range(len(tasks)))
    suspects: deque[int] = deque()
    while waiting:
        suspects += yield from _until_one_dies(function, tasks, waiting, min(num_workers, len(waiting)))
    while suspects:
        for position in (yield from _until_one_dies(function, tasks, suspects, 1)):
            yield (
                position,
                Failure(
                    "its worker process died, twice: out of memory, or a crash; lower --jobs, or leave it out",
                    _WORKER_DIED,
                ),
            )


def _until_one_dies(
    function: Callable[[_Task], _Result], tasks: Sequence[_Task], waiting: deque[int], num_workers: int
) -> Generator[tuple[int, _Result | Failure], None, list[int]]:
    """Run the waiting tasks in a fresh pool; return those that were running when a worker died."""
    running: dict[Future[Any], int] = {}
    lost: list[int] = []
    done: SimpleQueue[Future[Any]] = SimpleQueue()
    with _pool(num_workers) as pool:
        while running or (waiting and not lost):
            # No more than there are workers, so that what was running when one died is known.
            while waiting and not lost and len(running) < num_workers:
                if (future := _submit(pool, attempt, function, tasks[waiting[0]])) is None:
                    break
                running[future] = waiting.popleft()
                future.add_done_callback(done.put)
            future = done.get()
            position = running.pop(future)
            error = future.exception()
            if isinstance(error, BrokenProcessPool):
                lost.append(position)
            else:
                yield position, future.result() if error is None else failure_of(error)
    return sorted(lost)


def _submit(pool: Any, *call: Any) -> Future[Any] | None:
    """Hand a call to a worker; None if the pool has just broken, which what is running in it will tell."""
    try:
        with _interrupts_for_us_alone():
            future: Future[Any] = pool.submit(*call)
    except BrokenProcessPool:
        return None
    except OSError as error:
        raise MachineError(f"no worker process can be started: {error.strerror or error}; lower --jobs") from error
    return future


@contextmanager
def _pool(num_workers: int) -> Iterator[Any]:
    """Give worker processes that end with the block: at once if it is left by an exception."""
    from joblib.externals.loky import ProcessPoolExecutor  # noqa: PLC0415  # slow to import

    if find_spec("psutil") is None and shutil.which("pgrep") is None:  # loky could not end its workers
        raise DeviceError("--jobs needs psutil: pip install psutil")
    # It warns when it replaces a worker that has grown large, or ends one without the help of psutil.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"joblib\.externals\.loky")
    resource_tracker.ensure_running()  # started later, by loky, it would let Ctrl-C through to workers that begin
    try:
        pool = ProcessPoolExecutor(
            num_workers, initializer=_die_with, initargs=(os.getpid(),), env=_environment(num_workers)
        )
    except (OSError, NotImplementedError) as error:  # no shared memory, no semaphores
        raise MachineError(f"no worker process can be started: {error}; use --jobs 1") from error
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=True, kill_workers=True)
        raise
    pool.shutdown(wait=True)


def _environment(num_workers: int) -> dict[str, str]:
    """Return what keeps all workers together from running more threads than there are cores, unless the user did."""
    threads = str(max(1, _num_cores() // num_workers))
    return {name: threads for name in _THREADS_OF_LIBRARIES if name not in os.environ} | {"PYTHONFAULTHANDLER": "0"}


@contextmanager
def _interrupts_for_us_alone() -> Iterator[None]:
    """Let processes started in the block never see Ctrl-C, which a terminal sends to all: their parent ends them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _die_with(parent: int) -> None:
    """End this worker when its parent is no more: a killed one cannot end it."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="watch parent").start()
