import hashlib
import importlib
import itertools
import json
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from blursynth.errors import BlursynthError, CheckpointError, MachineError, OutputError, SettingsError, ShardError
from blursynth.files import locked, sha256_of
from blursynth.model.checkpoint import Checkpoint, load_checkpoint, restore_network, save_checkpoint
from blursynth.model.data import Batch, centre_crops, read_pairs, split_pairs
from blursynth.model.lite import LiteConfig
from blursynth.model.metrics import psnr
from blursynth.model.mscnn import Discriminator, MSCNNConfig
from blursynth.model.networks import NetworkConfig, build_network, restore_images
from blursynth.model.settings import TrainConfig
from blursynth.model.train import newest_run, train
from blursynth.shards import Entry, Manifest, ShardWriter

MODULE = importlib.import_module("blursynth.model.train")  # the package gives this name to the function
SETTINGS, STATE, DATA = (importlib.import_module(f"blursynth.model.{name}") for name in ("settings", "state", "data"))
LITE = LiteConfig(channels=(4, 6, 6), encoder_blocks=(1, 0, 1), decoder_blocks=(1, 0))
PAPER = MSCNNConfig(num_scales=2, num_blocks=1, channels=4, kernel_size=3)
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def _small_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    def small(name: str) -> NetworkConfig:
        return PAPER if name == "mscnn" else LITE

    for module in (STATE, SETTINGS):
        monkeypatch.setattr(module, "network_config", small)


@pytest.fixture(autouse=True)
def _signals_as_in_a_terminal() -> Iterator[None]:
    """A shell lets the processes that it starts in the background ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def config(**changes: Any) -> TrainConfig:
    values: dict[str, Any] = {
        "network": "lite-tiny",
        "steps": 6,
        "patch": 16,
        "batch": 2,
        "learning_rate": 1e-2,
        "augmentation": "turns",
        "validation_pairs": 2,
        "validation_patch": 16,
        "save_minutes": 1000.0,
        "workers": 0,
    }
    return TrainConfig(**(values | changes))


EVERY_STEP = 1e-9  # minutes


class Watcher:
    """Does something after a step, and remembers what it was told."""

    def __init__(self, actions: dict[int, Callable[[], None]] | None = None) -> None:
        self.actions = actions or {}
        self.notes: list[str] = []
        self.steps = 0

    @contextmanager
    def task(self, label: str, total: float, unit: str) -> Iterator[Callable[[float, str], None]]:
        assert (label, total > 0, unit) == ("train", True, "steps")

        def advance(done: float, remark: str) -> None:
            self.steps += 1
            self.actions.get(self.steps, lambda: None)()

        yield advance

    def note(self, message: str) -> None:
        self.notes.append(message)


def interrupted(after: int, number: int = signal.SIGINT) -> Watcher:
    return Watcher({after: lambda: signal.raise_signal(number)})


def pairs_folder(directory: Path, **clips: list[tuple[Any, Any]]) -> Path:
    """A folder with a shard of these pairs for each clip."""
    directory.mkdir()
    manifest = Manifest(directory)
    for clip, images in clips.items():
        height, width = images[0][0].shape[:2]
        path = directory / f"{clip}.h5"
        writer = ShardWriter(path, size=(height, width), capacity=len(images), attributes={})
        for blurry, sharp in images:
            writer.append({}, {"blurry": blurry, "sharp": sharp})
        writer.commit()
        numbers = (path.stat().st_size, sha256_of(path), len(images), len(images), height, width)
        manifest.add(Entry(path.name, *numbers, clip, hashlib.sha256(clip.encode()).hexdigest(), "0" * 64))
    return directory


def faded(count: int, size: int = 16, seed: int = 0) -> list[tuple[Any, Any]]:
    """Noise, and the same with less contrast, which is quickly learned."""
    codes = np.random.default_rng(seed).integers(0, 256, (count, size, size, 3)).astype(np.uint8)
    return [(image, image // 2 + 20) for image in codes]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of six pairs of two clips each."""
    return pairs_folder(tmp_path_factory.mktemp("train") / "pairs", one=faded(6, 24, 1), two=faded(6, 24, 2))


def tensors(path: Path) -> dict[str, Tensor]:
    checkpoint = load_checkpoint(path)
    kinds = ("weights", "optimizer", "average", "discriminator")
    return {f"{kind} {name}": value for kind in kinds for name, value in getattr(checkpoint, kind).items()}


def assert_same_tensors(first: Path, second: Path) -> None:
    found, expected = tensors(first), tensors(second)
    assert found.keys() == expected.keys()
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []


def log_lines(run: Path) -> list[dict[str, Any]]:
    def refuse(text: str) -> None:
        pytest.fail(f"{text} is not JSON")

    lines = (run / "log.jsonl").read_text().splitlines()
    return [json.loads(line, parse_constant=refuse) for line in lines]


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_a_run_is_a_folder_of_two_checkpoints_and_a_log(pairs: Path, tmp_path: Path) -> None:
    watcher = Watcher()
    result = train(pairs, tmp_path / "runs" / "a", config(), progress=watcher)
    assert (result.run, result.steps, result.stopped_by) == (tmp_path / "runs" / "a", 6, None)
    ours = {"last.safetensors", "best.safetensors", "card.md", "log.jsonl", ".blursynth.lock"}
    assert names(result.run) - {"tensorboard"} == ours
    assert watcher.steps == 6
    last, best = load_checkpoint(result.last), load_checkpoint(result.best)
    assert last.network == best.network == LITE
    assert last.training == best.training
    assert last.training["learning_rate"] == 1e-2
    assert last.progress["step"] == best.progress["step"] == 6
    assert last.optimizer
    assert not best.optimizer
    assert last.progress["best_psnr"] == result.best_psnr is not None


def test_shards_that_make_wrote_train_a_network(shards: Path, tmp_path: Path) -> None:
    result = train(shards, tmp_path / "run", config(patch=48, steps=2, workers=1))
    assert result.steps == 2
    assert load_checkpoint(result.best).scores["pairs"] == 2


def test_scores_are_those_of_the_checkpoint_on_clips_that_do_not_train(pairs: Path, tmp_path: Path) -> None:
    result = train(pairs, tmp_path / "run", config(validation_pairs=3))
    checkpoint = load_checkpoint(result.best)
    network = restore_network(checkpoint).eval()
    examples = centre_crops(split_pairs(read_pairs(pairs), 0.1)[1], patch=16, count=3)
    scores = []
    for blurry, sharp in examples:
        images = torch.from_numpy(blurry).permute(2, 0, 1)[None] / 255
        with torch.inference_mode():
            codes = (restore_images(network, images)[0] * 255).round().to(torch.uint8)
        scores.append(psnr(codes.permute(1, 2, 0).numpy(), sharp))
    assert result.best_psnr == pytest.approx(np.mean(scores), abs=1e-3)
    assert checkpoint.scores["psnr"] == result.best_psnr
    assert checkpoint.scores["pairs"] == 3
    assert result.blurry_psnr == pytest.approx(np.mean([psnr(*pair) for pair in examples]))


@pytest.mark.parametrize(
    ("network", "loss"),
    [("lite-tiny", "content-l2"), ("lite-tiny", "content-l1"), ("lite-tiny", "psnr"), ("mscnn", "content-l2")],
)
def test_a_single_pair_is_learned_by_heart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, network: str, loss: str
) -> None:
    folder = pairs_folder(tmp_path / "pairs", one=faded(1))
    monkeypatch.setattr(MODULE, "augment", lambda batch, **_seed: batch)
    settings = config(
        network=network, loss=loss, batch=1, steps=200, schedule="cosine", validation_fraction=0, clip_norm=1.0
    )
    result = train(folder, tmp_path / "run", settings)
    restored_network = restore_network(load_checkpoint(result.last)).eval()
    blurry, sharp = (torch.from_numpy(image).permute(2, 0, 1)[None] / 255 for image in faded(1)[0])
    with torch.inference_mode():
        after = (restore_images(restored_network, blurry) - sharp).square().mean()
    before = (blurry - sharp).square().mean()
    assert after < before / 8


def test_without_validation_the_last_weights_count_as_the_best(tmp_path: Path) -> None:
    folder = pairs_folder(tmp_path / "pairs", one=faded(1))
    watcher = Watcher()
    result = train(folder, tmp_path / "run", config(validation_fraction=0, save_minutes=EVERY_STEP), progress=watcher)
    assert (result.best_psnr, result.blurry_psnr) == (None, None)
    best, last = load_checkpoint(result.best), load_checkpoint(result.last)
    assert best.progress["step"] == 6
    assert all(torch.equal(best.weights[name], last.weights[name]) for name in last.weights)
    assert "no validation" in watcher.notes[0]


def test_the_score_of_a_known_clip_is_called_optimistic(tmp_path: Path, pairs: Path) -> None:
    watcher = Watcher()
    train(pairs_folder(tmp_path / "pairs", one=faded(8)), tmp_path / "a", config(steps=1), progress=watcher)
    assert watcher.notes[0].endswith("7 pairs train, 1 crop(s) validate of the same clip: an optimistic score")
    watcher = Watcher()
    train(pairs, tmp_path / "b", config(steps=1), progress=watcher)
    assert watcher.notes[0].endswith("of 1 other source(s)")


def test_equal_images_do_not_hide_the_scores_of_others(tmp_path: Path) -> None:
    equal = [(image, image) for image, _ in faded(6)]
    different = faded(6)[:1]
    settings = config(validation_fraction=0.5, validation_pairs=3, steps=1, learning_rate=1e-9)
    both = train(pairs_folder(tmp_path / "both", one=equal[:5] + different), tmp_path / "a", settings)
    assert both.best_psnr is not None
    assert 0 < both.best_psnr < 100
    same = train(pairs_folder(tmp_path / "same", one=equal), tmp_path / "b", settings)
    assert (same.best_psnr, same.blurry_psnr) == (100, 100)
    assert log_lines(tmp_path / "b")[-1]["scores"]["psnr"] == 100


SCHEDULES: list[dict[str, Any]] = [
    {"network": "lite-tiny", "loss": "psnr", "schedule": "cosine", "clip_norm": 0.5},
    {"network": "lite-tiny", "loss": "content-l1", "schedule": "step"},
    {"network": "mscnn", "loss": "content-l2", "schedule": "step", "augmentation": "paper"},
    {"optimizer": "adamw", "ema": 0.9, "fft_weight": 1.0, "accumulate": 2, "augmentation": "paper"},
    {"network": "mscnn", "progressive": True, "patch": 16, "batch": 4, "ema": 0.5},  # 12 px, 16 px, 24 px
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


def test_crops_of_a_progressive_run_grow(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, ...]] = []
    real = MODULE._on_device

    def noted(batch: Batch, device: torch.device) -> Batch:
        seen.append((*batch.blurry.shape[::3], batch.first_sample))
        moved: Batch = real(batch, device)
        return moved

    monkeypatch.setattr(MODULE, "_on_device", noted)
    settings = config(network="mscnn", progressive=True, patch=16, batch=4, steps=10)
    result = train(pairs, tmp_path / "run", settings)
    assert [shape[:2] for shape in seen] == [(6, 12)] * 4 + [(4, 16)] * 5 + [(2, 24)]
    assert [shape[2] for shape in seen] == [0, 6, 12, 18, 16, 20, 24, 28, 32, 18]
    assert load_checkpoint(result.last).progress["samples"] == 4 * 6 + 5 * 4 + 2


def test_by_the_clock_crops_grow_too(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    real = MODULE._on_device

    def noted(batch: Batch, device: torch.device) -> Batch:
        seen.append(batch.blurry.shape[3])
        moved: Batch = real(batch, device)
        return moved

    monkeypatch.setattr(MODULE, "_on_device", noted)
    settings = config(network="mscnn", progressive=True, patch=16, batch=4, steps=10**9, minutes=0.01)
    train(pairs, tmp_path / "run", settings)
    assert seen == sorted(seen)
    assert seen[0] == 12
    assert seen[-1] > 12


def test_the_last_stage_has_to_fit_before_the_first_one_begins(pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"patch 36: larger than pairs of 24 px; .* or leave --progressive out"):
        train(pairs, tmp_path / "run", config(network="mscnn", progressive=True, patch=24))
    assert not (tmp_path / "run" / "last.safetensors").exists()


def test_the_running_mean_is_what_is_scored_and_saved_as_the_best(pairs: Path, tmp_path: Path) -> None:
    result = train(pairs, tmp_path / "run", config(ema=0.9, validation_pairs=3))
    best, last = load_checkpoint(result.best), load_checkpoint(result.last)
    assert last.average.keys() == last.weights.keys() | {"updates"}
    assert all(torch.equal(best.weights[name], last.average[name]) for name in best.weights)
    assert not all(torch.equal(best.weights[name], last.weights[name]) for name in best.weights)
    assert not best.average
    network = restore_network(best).eval()
    scores = []
    for blurry, sharp in centre_crops(split_pairs(read_pairs(pairs), 0.1)[1], patch=16, count=3):
        with torch.inference_mode():
            restored = restore_images(network, torch.from_numpy(blurry).permute(2, 0, 1)[None] / 255)[0]
        scores.append(psnr((restored * 255).round().to(torch.uint8).permute(1, 2, 0).numpy(), sharp))
    assert result.best_psnr == pytest.approx(np.mean(scores), abs=1e-3)


def test_a_skipped_step_never_reaches_the_running_mean(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoiled(monkeypatch, lambda call: call in {1, 3})
    last = load_checkpoint(train(pairs, tmp_path / "run", config(ema=0.9)).last)
    assert int(last.average["updates"]) == 4
    assert all(tensor.isfinite().all() for tensor in last.average.values())


@pytest.mark.parametrize("loss", ["content-l2", "psnr"])
@pytest.mark.parametrize("parts", [2, 3, 4])
def test_in_parts_a_batch_gives_the_same_step(pairs: Path, tmp_path: Path, loss: str, parts: int) -> None:
    settings = {"batch": 4, "loss": loss, "steps": 1, "augmentation": "paper", "optimizer": "adamw", "clip_norm": 1.0}
    whole = train(pairs, tmp_path / "whole", config(**settings))
    split = train(pairs, tmp_path / "split", config(accumulate=parts, **settings))
    expected, found = load_checkpoint(whole.last), load_checkpoint(split.last)
    for name, tensor in expected.optimizer.items():  # of Adam's first step: a tenth of the gradient
        torch.testing.assert_close(found.optimizer[name], tensor, rtol=1e-3, atol=1e-6)


def exhausted(monkeypatch: pytest.MonkeyPatch, most: int, error: Exception) -> list[int]:
    """Let memory be enough for so many crops at a time; returns how many were tried each time, to be filled."""
    real, sizes = MODULE._part, list[int]()

    def part(state: Any, place: Any, batch: Batch, share: float) -> dict[str, Tensor]:
        sizes.append(len(batch.blurry))
        found: dict[str, Tensor] = real(state, place, batch, share)  # even if its gradients are there already
        if len(batch.blurry) > most:
            raise error
        return found

    monkeypatch.setattr(MODULE, "_part", part)
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


def test_the_seed_decides_what_is_learned(pairs: Path, tmp_path: Path) -> None:
    first = train(pairs, tmp_path / "a", config(steps=1))
    other = train(pairs, tmp_path / "b", config(steps=1, seed=1))
    weights, others = load_checkpoint(first.last).weights, load_checkpoint(other.last).weights
    assert not any(torch.equal(weights[name], others[name]) for name in weights if name.startswith("entries"))


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
    """Two runs in processes of their own, begun together; by the signal that each of them is going to get."""
    settings = config(steps=10**9, save_minutes=0.001, workers=2, validation_pairs=1)
    command = [sys.executable, "-W", "ignore:This DataLoader will create", "-c", SCRIPT, str(pairs)]
    processes: dict[int, tuple[Path, subprocess.Popen[str]]] = {}
    for number in (signal.SIGINT, signal.SIGTERM):
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
    resumed = train(pairs, run, config(steps=10**9, validation_pairs=1), resume=True, progress=interrupted(2))
    unbroken = train(pairs, tmp_path / "run", config(steps=10**9, validation_pairs=1), progress=interrupted(steps + 2))
    assert resumed.steps == unbroken.steps == steps + 2
    assert_same_tensors(resumed.last, unbroken.last)


def spoiled(monkeypatch: pytest.MonkeyPatch, calls: Callable[[int], bool], factor: float = float("nan")) -> None:
    """Let the loss of some steps, counted from 0, not be finite."""
    real, counter = MODULE._losses, itertools.count()

    def losses(*arguments: Any) -> dict[str, Tensor]:
        values: dict[str, Tensor] = real(*arguments)
        return {name: value * factor for name, value in values.items()} if calls(next(counter)) else values

    monkeypatch.setattr(MODULE, "_losses", losses)


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


@pytest.fixture
def large_pairs(tmp_path: Path) -> Path:
    """Pairs as large as the discriminator needs them."""
    return pairs_folder(tmp_path / "large", one=faded(3, 256))


@pytest.fixture
def _small_discriminator(monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("blursynth.model.adversarial")
    monkeypatch.setattr(module, "Discriminator", lambda: Discriminator(2))


@pytest.mark.usefixtures("_small_discriminator")
def test_an_adversarial_run_goes_on_to_the_same_bits(
    large_pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MODULE, "_LOG_EVERY_SECONDS", 0.0)
    settings = config(network="mscnn", patch=256, batch=2, steps=4, adversarial=True, validation_fraction=0)
    whole = train(large_pairs, tmp_path / "whole", settings)
    train(large_pairs, tmp_path / "parts", settings, progress=interrupted(2))
    resumed = train(large_pairs, tmp_path / "parts", settings, resume=True)
    assert_same_tensors(resumed.last, whole.last)
    last = load_checkpoint(whole.last)
    assert {name.split(".")[0] for name in last.discriminator} == {"weights", "optimizer"}
    assert not load_checkpoint(whole.best).discriminator
    for line in log_lines(tmp_path / "whole")[:4]:
        assert line["losses"].keys() == {"content", "adversarial", "discriminator"}
        assert line["loss"] == pytest.approx(line["losses"]["content"] + line["losses"]["adversarial"])
        assert line["losses"]["adversarial"] == pytest.approx(1e-4 * math.log(2), rel=0.2)
        assert line["losses"]["discriminator"] == pytest.approx(2 * math.log(2), rel=0.2)


@pytest.mark.usefixtures("_small_discriminator")
def test_the_discriminator_changes_what_is_learned_and_learns(large_pairs: Path, tmp_path: Path) -> None:
    settings = {"network": "mscnn", "patch": 256, "steps": 2, "validation_fraction": 0}
    plain = load_checkpoint(train(large_pairs, tmp_path / "plain", config(**settings)).last)
    both = load_checkpoint(train(large_pairs, tmp_path / "both", config(adversarial=True, **settings)).last)
    name = "scales.0.0.weight"
    assert not torch.equal(plain.weights[name], both.weights[name])
    once = load_checkpoint(
        train(large_pairs, tmp_path / "once", config(adversarial=True, **settings | {"steps": 1})).last
    )
    for name in ("weights.layers.0.weight", "weights.layers.20.weight"):
        assert not torch.equal(once.discriminator[name], both.discriminator[name])


@pytest.mark.usefixtures("_small_discriminator")
def test_in_parts_an_adversarial_step_is_the_same(large_pairs: Path, tmp_path: Path) -> None:
    settings = {"network": "mscnn", "patch": 256, "steps": 1, "validation_fraction": 0, "adversarial": True}
    whole = load_checkpoint(train(large_pairs, tmp_path / "a", config(**settings)).last)
    parts = load_checkpoint(train(large_pairs, tmp_path / "b", config(accumulate=2, **settings)).last)
    for name, tensor in whole.discriminator.items():
        if name.endswith("exp_avg"):
            torch.testing.assert_close(parts.discriminator[name], tensor, rtol=1e-3, atol=1e-7)


@pytest.mark.gpu
@pytest.mark.usefixtures("_small_discriminator")
def test_all_of_it_works_on_a_gpu(large_pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {
        "device": "cuda", "patch": 256, "batch": 2, "accumulate": 2, "optimizer": "adamw", "ema": 0.9, "loss": "psnr",
        "fft_weight": 1.0, "clip_norm": 1.0, "adversarial": True, "augmentation": "paper", "validation_fraction": 0.4,
    }  # fmt: skip
    first = train(large_pairs, tmp_path / "run", config(steps=4, **settings))
    spoiled(monkeypatch, lambda call: 4 <= call < 30)  # goes back once, from main memory to the GPU
    result = train(large_pairs, tmp_path / "run", config(steps=20, **settings), resume=True)
    last = load_checkpoint(result.last)
    assert (first.steps, result.steps, last.progress["rollbacks"]) == (4, 20, 1)
    assert all(tensor.isfinite().all() for tensor in tensors(result.last).values())


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


def test_a_card_lies_beside_the_checkpoints_and_speaks_of_both(
    pairs: Path, tmp_path: Path, scores: list[float]
) -> None:
    scores.extend([20.0, 30.0, 25.0, 25.0])
    result = train(pairs, tmp_path / "run", config(steps=3, save_minutes=EVERY_STEP))
    card = (result.run / "card.md").read_text()
    assert "| best.safetensors | step 2: weights; to deblur with |" in card
    assert "| last.safetensors | step 3: " in card
    assert "| validation PSNR | 30.00 dB |" in card
    assert load_checkpoint(result.last).progress["data_sha256"] in card
    scores.extend([29.0, 29.0])  # a resumed run still knows the best one
    train(pairs, tmp_path / "run", config(steps=4, save_minutes=EVERY_STEP), resume=True)
    card = (result.run / "card.md").read_text()
    assert "| best.safetensors | step 2: " in card
    assert "| last.safetensors | step 4: " in card


def test_what_is_minimised_is_the_weighted_sum_of_its_parts() -> None:
    restored = [torch.full((1, 3, 8, 8), 0.5), torch.full((1, 3, 4, 4), 0.25)]
    sharp = [torch.full((1, 3, 8, 8), 0.25), torch.full((1, 3, 4, 4), 0.125)]

    def parts(**changes: Any) -> dict[str, float]:
        return {name: value.item() for name, value in MODULE._losses(config(**changes), restored, sharp).items()}

    assert parts(loss="content-l2") == pytest.approx({"content": (0.25**2 + 0.125**2) / 4})
    assert parts(loss="content-l2", coarse_weight=0.5) == pytest.approx({"content": (0.25**2 + 0.125**2 / 2) / 4})
    assert parts(loss="content-l1", coarse_weight=0) == pytest.approx({"content": 0.25 / 4})
    assert parts(loss="charbonnier") == pytest.approx({"content": (0.25 + 0.125) / 4}, rel=1e-4)
    assert parts(loss="psnr", coarse_weight=2) == pytest.approx(
        {"psnr": 20 * math.log10(0.25), "coarse": 0.125}, rel=1e-5
    )
    fft = parts(loss="content-l1", fft_weight=3)["fft"]
    assert fft == pytest.approx(3 * 0.25 * 8 / (8 * 5))  # only the mean differs: one of 8 × 5 values


def test_gradients_are_clipped(pairs: Path, tmp_path: Path) -> None:
    unchanged = train(pairs, tmp_path / "a", config(steps=1, learning_rate=1e-30))
    free = train(pairs, tmp_path / "b", config(steps=1))
    clipped = train(pairs, tmp_path / "c", config(steps=1, clip_norm=1e-12))  # far below the epsilon of Adam
    weights = [load_checkpoint(result.last).weights["heads.0.bias"] for result in (unchanged, free, clipped)]
    assert (weights[1] - weights[0]).abs().max() == pytest.approx(1e-2, rel=0.1)
    assert (weights[2] - weights[0]).abs().max() < 1e-4


def test_the_rate_follows_the_schedule_and_the_log_tells_it(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MODULE, "_LOG_EVERY_SECONDS", 0.0)
    train(pairs, tmp_path / "run", config(steps=6))
    lines = log_lines(tmp_path / "run")
    steps = [line for line in lines if "loss" in line]
    assert [line["step"] for line in steps] == [1, 2, 3, 4, 5, 6]
    assert [line["learning_rate"] for line in steps] == pytest.approx([1e-2] * 2 + [1e-3] * 4)
    assert all(0 < line["loss"] < 1 and line["skipped"] == 0 and 0 <= line["data_wait"] <= 1 for line in steps)
    assert lines[-1]["scores"]["psnr"] == load_checkpoint(tmp_path / "run" / "last.safetensors").scores["psnr"]


def test_the_log_of_bad_steps_is_json_too(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODULE, "_LOG_EVERY_SECONDS", 0.0)
    spoiled(monkeypatch, lambda call: call == 1)
    train(pairs, tmp_path / "run", config(steps=3))
    assert [line["loss"] is None for line in log_lines(tmp_path / "run") if "loss" in line] == [False, True, False]


def test_the_run_ends_in_time_with_its_schedule_finished(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []
    real = MODULE.learning_rate

    def noted(*arguments: Any) -> float:
        rates.append(real(*arguments))
        return rates[-1]

    monkeypatch.setattr(MODULE, "learning_rate", noted)
    settings = config(steps=10**9, minutes=0.005, schedule="cosine")
    begin = time.monotonic()
    result = train(pairs, tmp_path / "run", settings)
    assert time.monotonic() - begin < 10
    assert 0 < result.steps < 10**6
    assert load_checkpoint(result.last).progress["seconds"] >= 0.3
    assert rates[-1] < 0.5 * max(rates)
    again = train(pairs, tmp_path / "run", settings, resume=True)  # the time of both counts
    assert again.steps == result.steps


@pytest.fixture
def scores(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What validation finds, to be filled."""
    values: list[float] = []
    monkeypatch.setattr(MODULE, "validate", lambda *_arguments: values.pop(0))
    return values


def test_the_best_checkpoint_is_the_one_with_the_best_score(pairs: Path, tmp_path: Path, scores: list[float]) -> None:
    settings = config(steps=3, save_minutes=EVERY_STEP)
    scores.extend([20.0, 30.0, 25.0, 25.0])  # after each step and at the end
    result = train(pairs, tmp_path / "run", settings)
    assert result.best_psnr == 30
    assert [load_checkpoint(path).progress["step"] for path in (result.best, result.last)] == [2, 3]
    scores.extend([29.0, 29.0])
    resumed = train(pairs, tmp_path / "run", config(steps=4, save_minutes=EVERY_STEP), resume=True)
    assert resumed.best_psnr == 30
    assert load_checkpoint(result.best).progress["step"] == 2
    scores.extend([31.0, 31.0])
    resumed = train(pairs, tmp_path / "run", config(steps=5, save_minutes=EVERY_STEP), resume=True)
    assert resumed.best_psnr == 31
    assert load_checkpoint(result.best).progress["step"] == 5


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
    (tmp_path / "run").mkdir()
    with subprocess.Popen(["true"]) as process:
        pass  # its number is free again
    mark = importlib.import_module("blursynth.files")._host_mark()
    left = tmp_path / "run" / f".blursynth-{mark}-{process.pid}-{'0' * 8}.tmp"
    left.touch()
    train(pairs, tmp_path / "run", config(steps=1))
    assert not left.exists()


def test_a_folder_without_pairs_is_refused_before_a_run_is_made(tmp_path: Path) -> None:
    with pytest.raises(ShardError):
        train(tmp_path, tmp_path / "run", config())
    assert not (tmp_path / "run").exists()


def test_crops_larger_than_the_pairs_are_refused(pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="patch 64: larger than pairs of 24 px"):
        train(pairs, tmp_path / "run", config(patch=64))


def test_the_newest_run_is_the_one_saved_last(tmp_path: Path) -> None:
    for name, seconds in (("a", 200), ("b", 300), ("c", 100)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "last.safetensors").touch()
        os.utime(tmp_path / name / "last.safetensors", (seconds, seconds))
    assert newest_run(tmp_path) == tmp_path / "b"
    with pytest.raises(CheckpointError, match=r"no run to resume in .*missing/; name one with -o"):
        newest_run(tmp_path / "missing")
