"""What signals do to a run."""

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from blursynth.model.checkpoint import load_checkpoint
from blursynth.model.data import Batch
from blursynth.model.train import train
from training import DATA, LITE, Watcher, assert_same_tensors, config, interrupted, let_networks_be_small, names

pytestmark = pytest.mark.usefixtures("small_networks", "one_thread", "signals_as_in_a_terminal")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_saves_and_ends_the_run(pairs: Path, tmp_path: Path, number: int) -> None:
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    result = train(pairs, tmp_path / "run", config(steps=10**6), progress=interrupted(3, number))
    assert (result.steps, result.stopped_by) == (3, number)
    assert load_checkpoint(result.last).progress["step"] == load_checkpoint(result.best).progress["step"] == 3
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before


def test_the_second_signal_acts_at_once(pairs: Path, tmp_path: Path) -> None:
    def press_twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    watcher = Watcher({2: press_twice})
    with pytest.raises(KeyboardInterrupt):
        train(pairs, tmp_path / "run", config(), progress=watcher)
    assert not (tmp_path / "run" / "last.safetensors").exists()
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler


def test_readers_that_got_the_signal_first_do_not_spoil_the_end(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = DATA.batches

    def dying(*arguments: Any, **settings: Any) -> Iterator[Batch]:
        yield from itertools.islice(real(*arguments, **settings), 3)
        signal.raise_signal(signal.SIGTERM)
        raise RuntimeError("DataLoader worker (pid(s) 12) exited unexpectedly")

    monkeypatch.setattr(DATA, "batches", dying)
    result = train(pairs, tmp_path / "run", config())
    assert (result.steps, result.stopped_by) == (3, signal.SIGTERM)
    assert load_checkpoint(result.last).progress["step"] == 3


def test_training_works_outside_the_main_thread(pairs: Path, tmp_path: Path) -> None:
    results = []
    thread = threading.Thread(target=lambda: results.append(train(pairs, tmp_path / "run", config(steps=2))))
    thread.start()
    thread.join()
    assert [result.steps for result in results] == [2]


SCRIPT = """
import importlib, json, sys
from pathlib import Path
from blursynth.model.lite import LiteConfig
settings, state, train = (importlib.import_module(f"blursynth.model.{name}") for name in ("settings", "state", "train"))
network, config = (json.loads(argument) for argument in sys.argv[3:])
settings.network_config = state.network_config = lambda name: LiteConfig(**network)
config = settings.TrainConfig(**config)
result = train.train(Path(sys.argv[1]), Path(sys.argv[2]), config)
print(json.dumps([result.steps, result.stopped_by]))
"""


@pytest.fixture(scope="module")
def signalled(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, tuple[Path, Any]]]:
    """Runs in processes of their own, begun together; by the signal that each of them is going to get."""
    with pytest.MonkeyPatch.context() as patch:  # once for the module, before the networks of a test are small
        let_networks_be_small(patch)
        settings = config(steps=10**9, save_minutes=0.001, workers=2, validation_pairs=1)
    command = [sys.executable, "-W", "ignore:This DataLoader will create", "-c", SCRIPT, str(pairs)]
    processes: dict[int, tuple[Path, subprocess.Popen[str]]] = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        run = tmp_path_factory.mktemp("signalled") / "run"
        processes[number] = (
            run,
            subprocess.Popen(
                [*command, str(run), json.dumps(asdict(LITE)), json.dumps(asdict(settings))],
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            ),
        )
    yield processes
    for _, process in processes.values():
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_of_processes_loses_nothing(
    pairs: Path, tmp_path: Path, signalled: dict[int, tuple[Path, Any]], number: int
) -> None:
    run, process = signalled[number]
    while not (run / "log.jsonl").exists() and process.poll() is None:
        time.sleep(0.02)
    os.killpg(process.pid, number)
    output, errors = process.communicate(timeout=60)
    assert errors == ""
    assert process.returncode == 0
    steps, stopped_by = json.loads(output)
    assert stopped_by == number
    assert load_checkpoint(run / "last.safetensors").progress["step"] == steps >= 1
    load_checkpoint(run / "best.safetensors")
    assert not [name for name in names(run) if name.endswith(".tmp")]
    assert_it_goes_on_as_if_unbroken(pairs, run, tmp_path / "run", steps)


def assert_it_goes_on_as_if_unbroken(pairs: Path, run: Path, other: Path, steps: int) -> None:
    settings = config(steps=10**9, validation_pairs=1)
    resumed = train(pairs, run, settings, resume=True, progress=interrupted(2))
    unbroken = train(pairs, other, settings, progress=interrupted(steps + 2))
    assert resumed.steps == unbroken.steps == steps + 2
    assert_same_tensors(resumed.last, unbroken.last)


def test_a_run_that_was_killed_goes_on_from_its_last_checkpoint_to_the_same_bits(
    pairs: Path, tmp_path: Path, signalled: dict[int, tuple[Path, Any]]
) -> None:
    run, process = signalled[signal.SIGKILL]
    while not (run / "log.jsonl").exists() and process.poll() is None:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)  # somewhere in the middle: it saves every few steps
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    steps = load_checkpoint(run / "last.safetensors").progress["step"]
    assert steps >= 1
    assert_it_goes_on_as_if_unbroken(pairs, run, tmp_path / "run", steps)
    assert not [name for name in names(run) if name.endswith(".tmp")]


def test_the_user_signal_saves_and_the_run_goes_on(pairs: Path, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    run = tmp_path / "run"
    steps: list[int] = []
    watcher = Watcher(
        {
            2: lambda: signal.raise_signal(signal.SIGUSR1),
            5: lambda: steps.append(load_checkpoint(run / "last.safetensors").progress["step"]),
        }
    )
    result = train(pairs, run, config(), progress=watcher)
    assert (result.steps, result.stopped_by, steps) == (6, None, [3])
    assert signal.getsignal(signal.SIGUSR1) == before
