"""What a run survives, and how it ends when it cannot: bad numbers, memory, the disk, other processes."""

import importlib
import itertools
import multiprocessing
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from blursynth.errors import BlursynthError, MachineError, OutputError
from blursynth.locks import locked
from blursynth.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from blursynth.model.data import Batch
from blursynth.model.networks import build_network
from blursynth.model.train import train
from training import (
    EVERY_STEP,
    GRADIENTS,
    LITE,
    MODULE,
    Watcher,
    assert_same_tensors,
    config,
    log_lines,
    spoiled,
    tensors,
)

pytestmark = pytest.mark.usefixtures("small_networks", "one_thread")


def test_a_skipped_step_never_reaches_the_running_mean(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoiled(monkeypatch, lambda call: call in {1, 3})
    last = load_checkpoint(train(pairs, tmp_path / "run", config(ema=0.9)).last)
    assert int(last.average["updates"]) == 4
    assert all(tensor.isfinite().all() for tensor in last.average.values())


def exhausted(monkeypatch: pytest.MonkeyPatch, most: int, error: Exception) -> list[int]:
    """Let memory be enough for so many crops at a time; returns how many were tried each time, to be filled."""
    real, sizes = GRADIENTS._part, list[int]()

    def part(state: Any, place: Any, batch: Batch, share: float) -> dict[str, Tensor]:
        sizes.append(len(batch.blurry))
        found: dict[str, Tensor] = real(state, place, batch, share)  # even if its gradients are there already
        if len(batch.blurry) > most:
            raise error
        return found

    monkeypatch.setattr(GRADIENTS, "_part", part)
    return sizes


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory"),
    MemoryError(),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__)
def test_when_memory_runs_out_smaller_parts_take_the_same_steps(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    expected = train(pairs, tmp_path / "parts", config(batch=5, steps=3, accumulate=4))
    sizes = exhausted(monkeypatch, 2, error)
    watcher = Watcher()
    found = train(pairs, tmp_path / "run", config(batch=5, steps=3), progress=watcher)
    assert sizes == [5, 3, *(3 * [2, 1, 1, 1])]
    assert_same_tensors(found.last, expected.last)
    notes = [note for note in watcher.notes if "out of memory" in note]
    assert [note[:55] for note in notes] == [
        f"out of memory: each batch is worked out in {parts} parts from"[:55] for parts in (2, 4)
    ]
    assert "--accumulate 4" in notes[1]
    resumed = train(pairs, tmp_path / "run", config(batch=5, steps=4, accumulate=4), resume=True)  # may be said then
    assert resumed.steps == 4


def test_when_one_crop_is_too_much_the_run_ends(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = exhausted(monkeypatch, 0, torch.OutOfMemoryError())
    with pytest.raises(MachineError, match=r"out of GPU memory: choose --batch or --patch below 2, 16"):
        train(pairs, tmp_path / "run", config())
    assert sizes == [2, 1]


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_gradients_that_are_not_finite_are_skipped_and_counted(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factor: float
) -> None:
    spoiled(monkeypatch, lambda call: call in {1, 3}, factor)
    result = train(pairs, tmp_path / "run", config())
    last = load_checkpoint(result.last)
    assert (result.steps, last.progress["skipped"]) == (6, 2)
    assert {int(value) for name, value in last.optimizer.items() if name.endswith(".step")} == {4}
    assert all(tensor.isfinite().all() for tensor in tensors(result.last).values())
    resumed = train(pairs, tmp_path / "run", config(steps=7), resume=True)
    assert load_checkpoint(resumed.last).progress["skipped"] == 2


def test_ten_bad_steps_in_a_row_change_nothing(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        fresh = build_network(LITE).state_dict()
    spoiled(monkeypatch, lambda call: call != 10)
    last = load_checkpoint(train(pairs, tmp_path / "a", config(steps=21)).last)
    assert last.progress["skipped"] == 20  # the good one between them let the counting begin anew
    last = load_checkpoint(train(pairs, tmp_path / "b", config(steps=10)).last)
    assert last.progress["skipped"] == 10
    assert not last.optimizer
    assert [name for name in fresh if not torch.equal(last.weights[name], fresh[name])] == []


def test_a_loss_that_stays_bad_ends_the_run_with_the_last_good_checkpoint(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoiled(monkeypatch, lambda call: call >= 2)
    watcher = Watcher()
    with pytest.raises(BlursynthError, match=r"not finite since step 2, at half the .*lower --learning-rate"):
        train(pairs, tmp_path / "run", config(steps=100, save_minutes=EVERY_STEP), progress=watcher)
    assert len([note for note in watcher.notes if "going back" in note]) == 1
    last = load_checkpoint(tmp_path / "run" / "last.safetensors")
    assert (last.progress["step"], last.progress["skipped"], last.progress["rollbacks"]) == (23, 21, 1)


def test_a_run_that_went_wrong_goes_back_and_on_at_half_the_rate(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights become such that no step is finite any more; only going back can help."""
    states: list[Any] = []
    rates: list[float] = []
    update = MODULE._update

    def spoil() -> None:
        with torch.no_grad():
            for tensor in (*states[0].network.parameters(), *states[0].average.network.parameters()):
                tensor.fill_(torch.nan)

    def noted(state: Any, place: Any, batch: Batch, rate: float) -> Any:
        states.append(state)
        rates.append(rate)
        return update(state, place, batch, rate)

    monkeypatch.setattr(MODULE, "_update", noted)
    watcher = Watcher({3: spoil})
    result = train(pairs, tmp_path / "run", config(steps=20, ema=0.9, optimizer="adamw"), progress=watcher)
    last = load_checkpoint(result.last)
    assert (last.progress["step"], last.progress["skipped"], last.progress["rollbacks"]) == (20, 11, 1)
    assert all(tensor.isfinite().all() for tensor in tensors(result.last).values())
    assert {int(value) for name, value in last.optimizer.items() if name.endswith(".step")} == {20 - 3 - 11}
    assert int(last.average["updates"]) == 20 - 3 - 11
    assert rates[:7] == [1e-2] * 7
    assert rates[14:] == pytest.approx([0.5e-3] * 6)  # a tenth of the schedule, half of going back
    assert len([note for note in watcher.notes if "going back" in note]) == 1


def test_a_checkpoint_after_going_back_goes_on_at_half_the_rate(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoiled(monkeypatch, lambda call: call < 11)
    monkeypatch.setattr(MODULE, "learning_rate", lambda *_arguments: 1e-2)
    whole = train(pairs, tmp_path / "whole", config(steps=14))
    spoiled(monkeypatch, lambda call: call < 11)
    train(pairs, tmp_path / "parts", config(steps=12))
    spoiled(monkeypatch, lambda _call: False)
    resumed = train(pairs, tmp_path / "parts", config(steps=14), resume=True)
    assert load_checkpoint(resumed.last).progress["rollbacks"] == 1
    assert_same_tensors(resumed.last, whole.last)


def test_the_log_of_bad_steps_is_json_too(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODULE, "_LOG_EVERY_SECONDS", 0.0)
    spoiled(monkeypatch, lambda call: call == 1)
    train(pairs, tmp_path / "run", config(steps=3))
    assert [line["loss"] is None for line in log_lines(tmp_path / "run") if "loss" in line] == [False, True, False]


@pytest.mark.parametrize("calls_until_full", [0, 1, 2, 3])
def test_a_disk_that_fills_up_costs_no_more_than_the_time_since_the_last_save(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scores: list[float], calls_until_full: int
) -> None:
    run = tmp_path / "run"
    calls = itertools.count()

    def save(path: Path, checkpoint: Checkpoint) -> None:
        if next(calls) == calls_until_full:
            raise OutputError(f"{path}: the disk is full")
        save_checkpoint(path, checkpoint)

    monkeypatch.setattr(MODULE, "save_checkpoint", save)
    scores.extend([20.0, 30.0, 25.0])
    with pytest.raises(OutputError):
        train(pairs, run, config(steps=2, save_minutes=EVERY_STEP))
    scores[:] = [20.0] if calls_until_full < 2 else [30.0]
    scores.extend([25.0, 25.0])
    monkeypatch.setattr(MODULE, "save_checkpoint", save_checkpoint)
    result = train(pairs, run, config(steps=2, save_minutes=EVERY_STEP), resume=True)
    assert result.steps == 2
    best = load_checkpoint(result.best)  # whichever save failed, what counts as the best is there
    assert best.scores["psnr"] == result.best_psnr


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "out of GPU memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate"), "out of memory"),
        (MemoryError(), "out of memory"),
        (RuntimeError("DataLoader worker (pid 12) is killed by signal: Killed. "), "a process .* was killed"),
    ],
)
def test_when_memory_runs_out_the_error_says_what_to_lower(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    def fail(*_arguments: object) -> None:
        raise error

    monkeypatch.setattr(MODULE, "_update", fail)
    with pytest.raises(MachineError, match=f"{message}.*: choose --batch or --patch below 2, 16"):
        train(pairs, tmp_path / "run", config())


def test_other_errors_keep_their_kind(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> None:
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(MODULE, "_update", fail)
    with pytest.raises(RuntimeError, match="a mistake of ours") as caught:
        train(pairs, tmp_path / "run", config())
    assert not isinstance(caught.value, BlursynthError)


def test_an_error_leaves_no_processes_behind(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> None:
        assert multiprocessing.active_children()
        raise BlursynthError

    monkeypatch.setattr(MODULE, "_update", fail)
    with pytest.raises(BlursynthError) as caught:
        train(pairs, tmp_path / "run", config(workers=1))
    assert multiprocessing.active_children() == []
    assert caught.traceback  # which would keep them, if leaving it to chance were enough


def test_two_processes_do_not_train_the_same_run(pairs: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with locked(tmp_path / "run", "the first"), pytest.raises(OutputError, match=r"the first .* is writing here"):
        train(pairs, tmp_path / "run", config())


def test_what_a_killed_run_left_is_swept(pairs: Path, tmp_path: Path) -> None:
    (tmp_path / "run" / "samples").mkdir(parents=True)
    with subprocess.Popen(["true"]) as process:
        pass  # its number is free again
    mark = importlib.import_module("blursynth.files").host_mark()
    name = f".blursynth-{mark}-{process.pid}-{'0' * 8}.tmp"
    left = [tmp_path / "run" / name, tmp_path / "run" / "samples" / name]
    for path in left:
        path.touch()
    train(pairs, tmp_path / "run", config(steps=1))
    assert not any(path.exists() for path in left)
