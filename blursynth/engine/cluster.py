"""Tasks on a Dask cluster, which moves them to another worker when one dies."""

import asyncio
import time
import warnings
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import blursynth
from blursynth.engine.running import Failure, attempt, failure_of
from blursynth.errors import DeviceError
from blursynth.files import printable

__all__ = ["on_cluster"]

_CONNECT_SECONDS = 8
_NO_WORKERS_SECONDS = 60
_POLL_SECONDS = 2
_CLOSE_SECONDS = 3

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


def on_cluster(
    function: Callable[[_Task], _Result], tasks: Sequence[_Task], scheduler: str
) -> Generator[tuple[int, _Result | Failure], None, None]:
    """Apply a function to tasks on the workers of the scheduler at an address; see `run_tasks`.

    Raises
    ------
    DeviceError
        If Dask is not installed, its scheduler cannot be reached or is lost, or no worker is there for a minute.
    """
    client = _connect(scheduler)
    done: SimpleQueue[Any] = SimpleQueue()
    try:
        call = partial(_attempt_there, function, blursynth.__version__)
        futures = client.map(call, tasks, pure=False)
        running = {future.key: (position, future) for position, future in enumerate(futures)}
        for future in futures:
            future.add_done_callback(done.put)
        del futures  # the cluster forgets a result when nobody holds its future
        while running:
            future = _next_done(done, client, scheduler)
            outcome = _outcome(future, scheduler)
            if outcome is None:
                future.add_done_callback(done.put)
                continue
            position, _ = running.pop(future.key)
            del future
            yield position, outcome
    except DeviceError:
        raise
    except (OSError, CancelledError, asyncio.CancelledError) as error:
        raise DeviceError(_lost(scheduler)) from error
    finally:
        with suppress(OSError, TimeoutError):
            client.close(timeout=_CLOSE_SECONDS)


def _attempt_there(function: Callable[[_Task], _Result], version: str, task: _Task) -> _Result | Failure:
    if blursynth.__version__ != version:
        error = DeviceError(f"a worker has blursynth {blursynth.__version__}, not {version}: install the same there")
        return Failure(str(error), "DeviceError", error)
    return attempt(function, task)


def _connect(scheduler: str) -> Any:
    distributed = _distributed()
    try:
        with ThreadPoolExecutor(1) as executor:  # this thread may be running a loop of its own
            executor.submit(asyncio.run, _ask(distributed, scheduler)).result()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # versions that differ; ours are checked where the tasks run
            return distributed.Client(scheduler, timeout=_CONNECT_SECONDS, set_as_default=False, name="blursynth")
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        reason = "timed out" if isinstance(error, TimeoutError) else printable(failure_of(error).message)
        raise DeviceError(f"{printable(scheduler)}: no Dask scheduler answers there: {reason}") from error


def _distributed() -> Any:
    try:
        import dask  # noqa: PLC0415

        quiet = dict.fromkeys(("distributed", "distributed.client", "tornado.application"), "critical")
        with dask.config.set({"logging": quiet}):  # read when it is imported for the first time
            import distributed  # noqa: PLC0415
    except ImportError as error:
        raise DeviceError("--backend dask needs dask: pip install 'blursynth[cluster]'") from error
    return distributed


async def _ask(distributed: Any, scheduler: str) -> None:
    """See that a scheduler answers: the client itself would wait for ever for one that accepts and says nothing."""
    security = distributed.Security().get_connection_args("client")
    async with distributed.rpc(scheduler, timeout=_CONNECT_SECONDS, connection_args=security) as remote:
        await asyncio.wait_for(remote.identity(), _CONNECT_SECONDS)


def _next_done(done: "SimpleQueue[Any]", client: Any, scheduler: str) -> Any:
    """Wait for a task to end, as long as there is a cluster that could end it."""
    alone_since: float | None = None
    while True:
        with suppress(Empty):
            return done.get(timeout=_POLL_SECONDS)
        if client.status != "running":
            raise DeviceError(_lost(scheduler))
        is_alone = not client.nthreads()
        alone_since = (alone_since or time.monotonic()) if is_alone else None
        if alone_since is not None and time.monotonic() - alone_since > _NO_WORKERS_SECONDS:
            raise DeviceError(
                f"{printable(scheduler)}: the scheduler had no worker for {_NO_WORKERS_SECONDS} s; "
                "start some with: dask worker ADDRESS"
            )


def _outcome(future: Any, scheduler: str) -> Any:
    """Collect what came of a task; None if that was lost again on its way here and is being made anew."""
    if future.status == "error":
        error = future.exception()
        if isinstance(error, ModuleNotFoundError):
            ours = DeviceError(f"a worker cannot do it: {failure_of(error).message}; install the same blursynth there")
            return Failure(str(ours), "DeviceError", ours)
        if type(error).__name__ == "KilledWorker":
            return Failure("each worker that tried it died: out of memory, or a crash; leave it out", "WorkerDied")
        return failure_of(error)
    if future.status in {"cancelled", "lost"}:
        raise DeviceError(_lost(scheduler))
    try:
        return future.result(timeout=_CONNECT_SECONDS)
    except TimeoutError:
        return None


def _lost(scheduler: str) -> str:
    return f"{printable(scheduler)}: the Dask scheduler is gone; start it and run the same command again"
