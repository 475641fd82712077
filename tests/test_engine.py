import os
import pickle
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from distributed import LocalCluster
from hypothesis import given, settings
from hypothesis import strategies as st

from blursynth import errors
from blursynth.engine import cluster as cluster_module
from blursynth.engine import running as engine
from blursynth.engine.running import Engine, Failure, run_tasks, take_part
from blursynth.errors import DeviceError, MachineError, OutputError, SettingsError, VideoError
from blursynth.sweeping import swept
from engine_tasks import (
    die_once_or_always,
    fail_by_number,
    fail_or_write,
    last_worker_dies,
    out_of_memory,
    slow_and_where,
    slow_first,
    square,
    threads_of_libraries,
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two real worker processes that talk over TCP."""
    with _cluster(num_workers=2) as cluster:
        yield cluster


def _cluster(num_workers: int) -> Any:
    untyped: Any = LocalCluster
    return untyped(
        n_workers=num_workers,
        threads_per_worker=1,
        processes=num_workers > 0,
        protocol="tcp://",
        dashboard_address=":0",
        silence_logs=50,
    )


def test_one_job_stays_in_this_process_and_in_order() -> None:
    outcomes = list(run_tasks(lambda number: (number, os.getpid()), [3, 1, 2], Engine()))
    assert outcomes == [(0, (3, os.getpid())), (1, (1, os.getpid())), (2, (2, os.getpid()))]


def test_workers_give_every_result_once_as_it_comes() -> None:
    outcomes = list(run_tasks(slow_first, range(6), Engine(jobs=2)))
    assert sorted(outcomes) == [(number, number) for number in range(6)]
    assert outcomes[-1] == (0, 0)
    assert list(run_tasks(square, [], Engine(jobs=2))) == []


@pytest.mark.parametrize("jobs", [1, 2])
def test_errors_come_back_with_their_class_and_others_as_text(jobs: int) -> None:
    outcomes = dict(run_tasks(fail_by_number, range(5), Engine(jobs=jobs)))
    assert outcomes[0] == 0
    ours, other, disk = (_failure(outcomes[position]) for position in (1, 2, 3))
    assert (ours.message, ours.kind, type(ours.error)) == ("clip.mp4: cut short", "VideoError", VideoError)
    assert "fail_by_number" in ours.trace
    assert (other.kind, other.error) == ("KeyError", None)
    assert "\n" not in other.message
    assert isinstance(disk.error, OutputError)
    assert "No space left" in disk.message
    if jobs > 1:
        assert "pickle" in _failure(outcomes[4]).message  # a result that cannot travel


def _failure(outcome: object) -> Failure:
    assert isinstance(outcome, Failure)
    return outcome


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_survives_the_way_between_processes(name: str) -> None:
    error = getattr(errors, name)("clip.mp4: 3 frames; choose another")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == "clip.mp4: 3 frames; choose another"


def test_only_the_task_that_always_kills_its_worker_has_no_result(tmp_path: Path) -> None:
    outcomes = list(run_tasks(die_once_or_always, [(number, str(tmp_path)) for number in range(8)], Engine(jobs=2)))
    assert (tmp_path / "died").exists()
    assert [outcome for outcome in sorted(outcomes, key=lambda outcome: outcome[0]) if outcome[0] != 5] == [
        (number, number) for number in range(8) if number != 5
    ]
    failure = _failure(dict(outcomes)[5])
    assert (failure.kind, failure.error) == ("WorkerDied", None)


def test_workers_that_could_not_be_ended_are_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(DeviceError, match="psutil"):
        next(run_tasks(square, [1, 2], Engine(jobs=2)))


def test_workers_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NUMBA_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setattr(engine, "_num_cores", lambda: 2)
    outcomes = list(run_tasks(threads_of_libraries, range(2), Engine(jobs=2)))
    assert sorted(outcomes) == [(0, ("3", 1, 1)), (1, ("3", 1, 1))]


def test_a_worker_that_is_ended_in_the_middle_of_a_file_leaves_none(tmp_path: Path) -> None:
    tasks = [(str(tmp_path), number) for number in range(2)]
    with (
        pytest.raises(OutputError, match="full"),
        swept([tmp_path]),
        closing(run_tasks(fail_or_write, tasks, Engine(jobs=2))) as outcomes,
    ):
        for _, outcome in outcomes:
            assert list(tmp_path.glob(".blursynth-*.tmp"))  # the other is at work
            raise _failure(outcome).as_error("clip.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["begun"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_memory_that_runs_out_is_the_machines_fault(jobs: int) -> None:
    ((_, outcome),) = run_tasks(out_of_memory, [0], Engine(jobs=jobs))
    error = _failure(outcome).as_error("clip.mp4")
    assert isinstance(error, MachineError)
    assert "fewer --jobs" in str(error)


def test_failures_become_errors_of_the_right_kind() -> None:
    assert Failure("x", "VideoError", VideoError("clip.mp4: x")).as_error("clip.mp4").exit_code == 4
    died = Failure("its worker died", "WorkerDied")
    assert (died.as_error("clip.mp4").exit_code, str(died.as_error("clip.mp4"))) == (5, "clip.mp4: its worker died")
    assert str(Failure("oh", "KeyError").as_error("clip.mp4")) == "clip.mp4: KeyError: oh"


def test_workers_end_when_the_loop_is_left() -> None:
    with closing(run_tasks(slow_and_where, range(20), Engine(jobs=2))) as outcomes:
        _, pid = next(outcomes)
    assert isinstance(pid, int)
    assert _is_gone(pid)


def _is_gone(pid: int, *, seconds: float = 0) -> bool:
    stop = time.monotonic() + seconds
    while True:
        try:
            state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z" or time.monotonic() > stop:
            return state == "Z"
        time.sleep(0.05)


_PROGRAM = """
import os, signal, sys, time
from blursynth.engine.running import Engine, run_tasks

def work(number):
    print(os.getpid(), flush=True)
    time.sleep(60)

def stop(number, frame):
    raise SystemExit(128 + number)

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)
    try:
        for _ in run_tasks(work, range(4), Engine(jobs=2)):
            pass
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_no_worker_outlives_its_parent(tmp_path: Path, number: int, code: int) -> None:
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(_PROGRAM), encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, str(program)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    workers = [int(process.stdout.readline()) for _ in range(2)]
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)
    _, said = process.communicate(timeout=20)
    assert process.returncode == code
    assert all(_is_gone(worker, seconds=10) for worker in workers)
    if number != signal.SIGKILL:  # then loky's tracker tells what it tidied up
        assert not said


def test_a_cluster_finishes_although_a_worker_is_killed(cluster: Any, tmp_path: Path) -> None:
    tasks = [(number, str(tmp_path)) for number in range(20)]
    found = Engine(backend="dask", scheduler=cluster.scheduler_address)
    outcomes = dict(run_tasks(last_worker_dies, tasks, found))
    assert (tmp_path / "died").exists()
    results = [outcomes[position] for position in range(20)]
    assert not any(isinstance(result, Failure) for result in results)
    assert [result[0] for result in results if isinstance(result, tuple)] == list(range(20))
    assert os.getpid() not in {result[1] for result in results if isinstance(result, tuple)}


def test_a_cluster_reports_errors_alike(cluster: Any) -> None:
    outcomes = dict(run_tasks(fail_by_number, range(4), Engine(backend="dask", scheduler=cluster.scheduler_address)))
    assert outcomes[0] == 0
    failures = [_failure(outcomes[position]) for position in (1, 2, 3)]
    assert [failure.kind for failure in failures] == ["VideoError", "KeyError", "OutputError"]
    assert isinstance(failures[0].error, VideoError)


def test_another_version_on_a_worker_is_said(monkeypatch: pytest.MonkeyPatch, cluster: Any) -> None:
    monkeypatch.setattr("blursynth.__version__", "0.0.0")
    outcomes = dict(run_tasks(square, [1], Engine(backend="dask", scheduler=cluster.scheduler_address)))
    failure = _failure(outcomes[0])
    assert isinstance(failure.error, DeviceError)
    assert "not 0.0.0" in failure.message


def test_a_cluster_without_workers_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "_NO_WORKERS_SECONDS", 0.2)
    monkeypatch.setattr(cluster_module, "_POLL_SECONDS", 0.1)
    with _cluster(num_workers=0) as empty, pytest.raises(DeviceError, match="no worker"):
        next(run_tasks(square, [1], Engine(backend="dask", scheduler=empty.scheduler_address)))


def test_a_scheduler_that_goes_away_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "_POLL_SECONDS", 0.1)
    with _cluster(num_workers=0) as empty:
        end = threading.Timer(0.5, empty.close)
        end.start()
        with pytest.raises(DeviceError, match="gone"):
            next(run_tasks(square, [1], Engine(backend="dask", scheduler=empty.scheduler_address)))
        end.join()


@pytest.mark.parametrize("listens", [False, True])
def test_a_scheduler_that_does_not_answer_is_one_line(monkeypatch: pytest.MonkeyPatch, *, listens: bool) -> None:
    monkeypatch.setattr(cluster_module, "_CONNECT_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        if not listens:
            server.close()
        began = time.monotonic()
        with pytest.raises(DeviceError, match=f"tcp://127.0.0.1:{port}: no Dask scheduler") as caught:
            next(run_tasks(square, [1], Engine(backend="dask", scheduler=f"tcp://127.0.0.1:{port}")))
    assert time.monotonic() - began < 10
    assert "\n" not in str(caught.value)


def test_without_dask_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dask", None)
    with pytest.raises(DeviceError, match=r"blursynth\[cluster\]"):
        next(run_tasks(square, [1], Engine(backend="dask", scheduler="tcp://127.0.0.1:1")))


@pytest.mark.parametrize(
    "given_settings",
    [
        {"jobs": -2},
        {"jobs": 100000},
        {"jobs": 1.5},
        {"jobs": True},
        {"backend": "ray"},
        {"scheduler": "tcp://10.0.0.1:8786"},
        {"backend": "dask"},
        {"backend": "dask", "scheduler": "10.0.0.1"},
        {"backend": "dask", "scheduler": "tcp://a b:1"},
        {"backend": "dask", "scheduler": "tcp://10.0.0.1:8786", "jobs": 4},
    ],
)
def test_engines_that_make_no_sense_are_refused(given_settings: dict[str, object]) -> None:
    with pytest.raises(SettingsError):
        Engine(**given_settings)  # type: ignore[arg-type]


def test_all_cores_are_at_least_one() -> None:
    assert Engine(jobs=0).num_workers == Engine(jobs=-1).num_workers >= 1


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(max_size=8), max_size=30), st.integers(1, 9), st.randoms(use_true_random=False))
def test_each_key_is_in_exactly_one_part_whatever_the_order(keys: list[str], parts: int, random: object) -> None:
    taken = [take_part(keys, f"{k}/{parts}") for k in range(1, parts + 1)]
    assert [sum(each) for each in zip(*taken, strict=True)] == [1] * len(keys)
    backwards = take_part(keys[::-1], f"1/{parts}")
    assert backwards[::-1] == taken[0]


def test_parts_are_about_even() -> None:
    keys = [f"clip{number:04}.mp4" for number in range(4000)]
    sizes = Counter(k for k in range(1, 9) for taken in take_part(keys, f"{k}/8") if taken)
    assert all(400 < sizes[k] < 600 for k in range(1, 9))


@pytest.mark.parametrize(
    "part", ["0/4", "5/4", "a/b", "1/0", "1", "", "-1/4", "1/4/2", " 1/4", "1/4\n", "１/４", "1/1e3"]
)
def test_parts_that_make_no_sense_are_refused(part: str) -> None:
    with pytest.raises(SettingsError, match="K/N"):
        take_part(["clip.mp4"], part)
