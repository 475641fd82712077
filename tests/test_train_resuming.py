"""Runs that go on: to the same bits, or not at all."""

import functools
import hashlib
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from blursynth.errors import CheckpointError, SettingsError
from blursynth.model.bundled import bundle, initial_weights
from blursynth.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from blursynth.model.train import newest_run, train
from training import (
    EVERY_STEP,
    MODULE,
    Watcher,
    assert_same_tensors,
    config,
    interrupted,
    tensors,
)

pytestmark = pytest.mark.usefixtures("small_networks", "one_thread", "signals_as_in_a_terminal")


SCHEDULES: list[dict[str, Any]] = [
    {"network": "lite-tiny", "loss": "psnr", "schedule": "cosine", "clip_norm": 0.5},
    {"network": "lite-tiny", "loss": "content-l1", "schedule": "step"},
    {"network": "mscnn", "loss": "content-l2", "schedule": "step", "augmentation": "paper"},
    {"optimizer": "adamw", "ema": 0.9, "fft_weight": 1.0, "accumulate": 2, "augmentation": "paper"},
    {"network": "mscnn", "progressive": True, "patch": 16, "batch": 4, "ema": 0.5},  # 12 px, 16 px, 24 px
    {"precision": "bfloat16", "loss": "psnr"},
]


@pytest.mark.parametrize("changes", SCHEDULES)
@pytest.mark.parametrize(("after", "workers"), [(1, 1), (5, 0)])
def test_an_interrupted_run_goes_on_to_the_same_bits(
    pairs: Path, tmp_path: Path, changes: dict[str, Any], after: int, workers: int
) -> None:
    whole = train(pairs, tmp_path / "whole", config(steps=10, **changes))
    stopped = train(pairs, tmp_path / "parts", config(steps=10, **changes), progress=interrupted(after))
    assert (stopped.steps, stopped.stopped_by) == (after, signal.SIGINT)
    assert load_checkpoint(stopped.last).progress["step"] == after
    resumed = train(pairs, tmp_path / "parts", config(steps=10, workers=workers, **changes), resume=True)
    assert (resumed.steps, resumed.stopped_by) == (10, None)
    assert_same_tensors(resumed.last, whole.last)
    assert resumed.best_psnr == pytest.approx(max(stopped.best_psnr or 0, whole.best_psnr or 0))


def test_more_steps_may_be_asked_for_on_resume(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODULE, "learning_rate", lambda *_arguments: 1e-2)  # else it depends on the end
    whole = train(pairs, tmp_path / "whole", config(steps=8))
    train(pairs, tmp_path / "parts", config(steps=4))
    watcher = Watcher()
    resumed = train(pairs, tmp_path / "parts", config(steps=8), resume=True, progress=watcher)
    assert watcher.steps == 4
    assert_same_tensors(resumed.last, whole.last)


def test_neither_workers_nor_validation_change_what_is_learned(pairs: Path, tmp_path: Path) -> None:
    plain = train(pairs, tmp_path / "a", config())
    other = train(pairs, tmp_path / "b", config(workers=2, save_minutes=EVERY_STEP, validation_pairs=1))
    assert_same_tensors(other.last, plain.last)


def test_a_run_that_is_done_is_resumed_to_the_same_end(pairs: Path, tmp_path: Path) -> None:
    first = train(pairs, tmp_path / "run", config())
    before = tensors(first.last)
    again = train(pairs, tmp_path / "run", config(), resume=True)
    assert (again.steps, again.best_psnr) == (6, first.best_psnr)
    assert all(torch.equal(tensor, before[name]) for name, tensor in tensors(again.last).items())


def test_resuming_what_was_not_begun_begins_it(pairs: Path, tmp_path: Path) -> None:
    assert train(pairs, tmp_path / "run", config(steps=1), resume=True).steps == 1


def test_a_run_is_not_begun_over_another(pairs: Path, tmp_path: Path) -> None:
    train(pairs, tmp_path / "run", config(steps=1))
    before = {path: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.suffix}
    with pytest.raises(SettingsError, match=r"run: holds a run already; add --resume"):
        train(pairs, tmp_path / "run", config(steps=1))
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": "psnr"}, "loss content-l2, not psnr"),
        ({"learning_rate": 2e-2}, "learning_rate 0.01, not 0.02"),
        ({"patch": 32}, "patch 16, not 32"),
        ({"batch": 3}, "batch 2, not 3"),
        ({"seed": 1}, "seed 0, not 1"),
        ({"clip_norm": 1.0}, "clip_norm None, not 1.0"),
        ({"network": "mscnn"}, "network lite-tiny, not mscnn"),
        ({"schedule": "cosine"}, "schedule step, not cosine"),
        ({"validation_fraction": 0.2}, "validation_fraction 0.1, not 0.2"),
    ],
)
def test_a_run_does_not_change_what_it_learns(
    pairs: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    train(pairs, tmp_path / "run", config(steps=1))
    with pytest.raises(SettingsError, match=f"run: was begun with {message}"):
        train(pairs, tmp_path / "run", config(**changes), resume=True)


def test_a_damaged_run_is_refused(pairs: Path, tmp_path: Path) -> None:
    result = train(pairs, tmp_path / "run", config(steps=1))
    result.last.write_bytes(result.last.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"last\.safetensors"):
        train(pairs, tmp_path / "run", config(), resume=True)


@pytest.mark.parametrize("missing", ["progress", "optimizer"])
def test_a_checkpoint_that_lacks_what_a_run_needs_is_refused(pairs: Path, tmp_path: Path, missing: str) -> None:
    result = train(pairs, tmp_path / "run", config(steps=1))
    last = load_checkpoint(result.last)
    values = {name: getattr(last, name) for name in ("network", "weights", "training", "progress", "optimizer")}
    values[missing] = {name: value for name, value in values[missing].items() if name != "step"}
    values[missing].pop("heads.0.bias.exp_avg", None)
    save_checkpoint(result.last, Checkpoint(**values))
    with pytest.raises(CheckpointError, match=r"last\.safetensors: .* is missing; no run can go on from it"):
        train(pairs, tmp_path / "run", config(), resume=True)


def test_the_newest_run_is_the_one_saved_last(tmp_path: Path) -> None:
    for name, seconds in (("a", 200), ("b", 300), ("c", 100)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "last.safetensors").touch()
        os.utime(tmp_path / name / "last.safetensors", (seconds, seconds))
    assert newest_run(tmp_path) == tmp_path / "b"
    with pytest.raises(CheckpointError, match=r"no run to resume in .*missing/; name one with -o"):
        newest_run(tmp_path / "missing")


@pytest.mark.parametrize("cache", ["host", "device"])
def test_in_memory_pairs_teach_the_same_and_resuming_may_choose_anew(pairs: Path, tmp_path: Path, cache: str) -> None:
    whole = train(pairs, tmp_path / "whole", config())
    watcher = interrupted(3)
    stopped = train(pairs, tmp_path / "parts", config(cache=cache), progress=watcher)
    assert stopped.steps == 3
    assert "6 pairs are held in the memory of cpu: 0.00 GB" in watcher.notes
    resumed = train(pairs, tmp_path / "parts", config(cache="off"), resume=True)
    assert_same_tensors(resumed.last, whole.last)


@pytest.mark.parametrize("mean", [0.0, 0.9])
def test_weights_to_begin_with_are_those_of_the_first_step(pairs: Path, tmp_path: Path, mean: float) -> None:
    first = train(pairs, tmp_path / "first", config(steps=3))
    expected = load_checkpoint(first.best).weights
    begun = train(
        pairs, tmp_path / "second", config(init=str(first.best), steps=1, learning_rate=1e-12, ema=mean, seed=9)
    )
    found = load_checkpoint(begun.last)
    assert found.training["init"] == str(first.best)
    sha256 = hashlib.sha256(first.best.read_bytes()).hexdigest()
    assert found.progress["init"] == {"name": "best.safetensors", "sha256": sha256}
    line = f"| begun with | best.safetensors, SHA-256 {sha256} |"
    assert line in (begun.run / "card.md").read_text()
    assert all(torch.allclose(tensor, expected[name], atol=1e-9) for name, tensor in found.weights.items())
    first.best.unlink()
    changed = config(init="not looked at", steps=2, learning_rate=1e-12, ema=mean, seed=9)
    assert train(pairs, begun.run, changed, resume=True).steps == 2
    assert line in (begun.run / "card.md").read_text()  # which another name given later does not change
    assert "| begun with | random weights, of the seed |" in (first.run / "card.md").read_text()


def test_weights_to_begin_with_may_come_along(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = train(pairs, tmp_path / "first", config(steps=1))
    path = bundle("small", load_checkpoint(first.best), "", tmp_path / "weights")
    monkeypatch.setattr(MODULE, "initial_weights", functools.partial(initial_weights, folder=tmp_path / "weights"))
    second = train(pairs, tmp_path / "second", config(init="small", steps=1))
    expected = {"name": "small", "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    assert load_checkpoint(second.last).progress["init"] == expected


def test_weights_of_another_network_or_none_are_refused_in_one_line(pairs: Path, tmp_path: Path) -> None:
    first = train(pairs, tmp_path / "first", config(steps=1))
    with pytest.raises(SettingsError, match=r"best\.safetensors: not the weights of a mscnn; choose their --network"):
        train(pairs, tmp_path / "second", config(init=str(first.best), network="mscnn"))
    with pytest.raises(CheckpointError, match="huge: no weights of this name come with blursynth"):
        train(pairs, tmp_path / "second", config(init="huge"))
    with pytest.raises(SettingsError, match="init: is of no use to a network of your own"):
        train(pairs, tmp_path / "second", config(init="tiny"), network=torch.nn.Identity())
    with pytest.raises(SettingsError, match="init: a name or a file"):
        config(init="")
