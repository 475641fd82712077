"""What a run does, learns, scores and writes."""

import importlib
import itertools
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from blursynth.errors import SettingsError, ShardError
from blursynth.make import MakeConfig, make_dataset
from blursynth.model.checkpoint import load_checkpoint, restore_network
from blursynth.model.data import Batch, centre_crops, read_pairs, split_pairs
from blursynth.model.lite import Lite as LiteNetwork
from blursynth.model.lite import LiteConfig
from blursynth.model.metrics import psnr
from blursynth.model.networks import restore_images
from blursynth.model.train import train
from training import (
    EVERY_STEP,
    GRADIENTS,
    LITE,
    MODULE,
    SETTINGS,
    STATE,
    Watcher,
    config,
    faded,
    log_lines,
    names,
    pairs_folder,
)

pytestmark = pytest.mark.usefixtures("small_networks", "one_thread")


def test_a_run_is_a_folder_of_two_checkpoints_and_a_log(pairs: Path, tmp_path: Path) -> None:
    watcher = Watcher()
    result = train(pairs, tmp_path / "runs" / "a", config(), progress=watcher)
    assert (result.run, result.steps, result.stopped_by) == (tmp_path / "runs" / "a", 6, None)
    ours = {"last.safetensors", "best.safetensors", "card.md", "log.jsonl", ".blursynth.lock"}
    assert names(result.run) - {"tensorboard"} == ours | {"samples"}
    assert names(result.run / "samples") == {"step-000006.png"}
    scores = f"step 6: validation {result.best_psnr:.2f} dB, blurry {result.blurry_psnr:.2f} dB, the best so far"
    assert watcher.notes[-1] == scores
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
    monkeypatch.setattr(GRADIENTS, "augment", lambda batch, **_seed: batch)
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


@pytest.mark.shared
def test_a_short_training_on_real_footage_restores_pairs_that_were_held_out(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = LiteConfig((16, 24, 32), encoder_blocks=(1, 1, 2), decoder_blocks=(1, 1), num_fused_levels=3)
    for module in (SETTINGS, STATE):
        monkeypatch.setattr(module, "network_config", lambda _name: network)
    clip = shared / "video" / "gopro_240fps.mp4"
    make_dataset([clip], tmp_path / "shards", MakeConfig(window="11", resize=(640, 360), measure=False))
    settings = config(
        steps=150, patch=64, batch=4, optimizer="adamw", learning_rate=2e-3, schedule="cosine", loss="psnr",
        clip_norm=0.1, ema=0.95, validation_pairs=3, validation_patch=256,
    )  # fmt: skip
    result = train(tmp_path / "shards", tmp_path / "run", settings)
    assert result.best_psnr is not None
    assert result.blurry_psnr is not None
    assert result.best_psnr > result.blurry_psnr + 0.03  # it began as the identity; 0.06 dB were found


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


def test_pairs_of_equal_images_are_left_out_of_the_scores(tmp_path: Path) -> None:
    equal = [(image, image) for image, _ in faded(6)]
    different = faded(6)[:1]
    settings = config(validation_fraction=0.5, validation_pairs=3, steps=1, learning_rate=1e-9)
    both = train(pairs_folder(tmp_path / "both", one=equal[:5] + different), tmp_path / "a", settings)
    assert both.blurry_psnr == pytest.approx(psnr(*different[0]))
    assert both.best_psnr == pytest.approx(psnr(*different[0]), abs=0.1)  # untrained, it is the identity
    assert load_checkpoint(both.best).scores["pairs"] == 1
    same = train(pairs_folder(tmp_path / "same", one=equal), tmp_path / "b", settings)
    assert (same.best_psnr, same.blurry_psnr) == (100, 100)
    assert log_lines(tmp_path / "b")[-1]["scores"]["psnr"] == 100


def test_crops_of_a_progressive_run_grow(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, ...]] = []
    real = GRADIENTS._on_device

    def noted(batch: Batch, device: torch.device) -> Batch:
        seen.append((*batch.blurry.shape[::3], batch.first_sample))
        moved: Batch = real(batch, device)
        return moved

    monkeypatch.setattr(GRADIENTS, "_on_device", noted)
    settings = config(network="mscnn", progressive=True, patch=16, batch=4, steps=10)
    result = train(pairs, tmp_path / "run", settings)
    assert [shape[:2] for shape in seen] == [(6, 12)] * 4 + [(4, 16)] * 5 + [(2, 24)]
    assert [shape[2] for shape in seen] == [0, 6, 12, 18, 16, 20, 24, 28, 32, 18]
    assert load_checkpoint(result.last).progress["samples"] == 4 * 6 + 5 * 4 + 2


def test_by_the_clock_crops_grow_too(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    real = GRADIENTS._on_device

    def noted(batch: Batch, device: torch.device) -> Batch:
        seen.append(batch.blurry.shape[3])
        moved: Batch = real(batch, device)
        return moved

    monkeypatch.setattr(GRADIENTS, "_on_device", noted)
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


@pytest.mark.parametrize("loss", ["content-l2", "psnr"])
@pytest.mark.parametrize("parts", [2, 3, 4])
def test_in_parts_a_batch_gives_the_same_step(pairs: Path, tmp_path: Path, loss: str, parts: int) -> None:
    settings = {"batch": 4, "loss": loss, "steps": 1, "augmentation": "paper", "optimizer": "adamw", "clip_norm": 1.0}
    whole = train(pairs, tmp_path / "whole", config(**settings))
    split = train(pairs, tmp_path / "split", config(accumulate=parts, **settings))
    expected, found = load_checkpoint(whole.last), load_checkpoint(split.last)
    for name, tensor in expected.optimizer.items():  # of Adam's first step: a tenth of the gradient
        torch.testing.assert_close(found.optimizer[name], tensor, rtol=1e-3, atol=1e-6)


def test_bfloat16_learns_about_the_same_and_validates_as_it_learns(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.dtype] = []
    real = LiteNetwork.forward

    def noted(self: LiteNetwork, blurry: Tensor) -> list[Tensor]:
        seen.append((self.entries[0](torch.zeros(1, 12, 2, 2))).dtype)
        return real(self, blurry)

    expected = load_checkpoint(train(pairs, tmp_path / "a", config()).last)
    monkeypatch.setattr(LiteNetwork, "forward", noted)
    found = load_checkpoint(train(pairs, tmp_path / "b", config(precision="bfloat16")).last)
    assert set(seen) == {torch.bfloat16}
    assert len(seen) == 6 + 2  # steps and crops to validate
    assert {tensor.dtype for tensor in [*found.weights.values(), *found.optimizer.values()]} == {torch.float32}
    differs = [name for name in expected.weights if not torch.equal(found.weights[name], expected.weights[name])]
    assert differs
    assert found.scores["psnr"] == pytest.approx(expected.scores["psnr"], abs=1)


def test_without_units_for_bfloat16_the_run_says_what_is_faster(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher = Watcher()
    monkeypatch.setattr(MODULE, "computes_bfloat16", lambda _device: False)
    train(pairs, tmp_path / "run", config(steps=1, precision="bfloat16"), progress=watcher)
    assert "cpu has no units for bfloat16: --precision float32 is faster here" in watcher.notes
    watcher = Watcher()
    train(pairs, tmp_path / "run", config(steps=2), progress=watcher, resume=True)  # it may be changed on resume
    assert not [note for note in watcher.notes if "bfloat16" in note]


def test_the_seed_decides_what_is_learned(pairs: Path, tmp_path: Path) -> None:
    first = train(pairs, tmp_path / "a", config(steps=1))
    other = train(pairs, tmp_path / "b", config(steps=1, seed=1))
    weights, others = load_checkpoint(first.last).weights, load_checkpoint(other.last).weights
    assert not any(torch.equal(weights[name], others[name]) for name in weights if name.startswith("entries"))


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
        return {name: value.item() for name, value in GRADIENTS._losses(config(**changes), restored, sharp).items()}

    assert parts(loss="content-l2") == pytest.approx({"content": (0.25**2 + 0.125**2) / 4})
    assert parts(loss="content-l2", coarse_weight=0.5) == pytest.approx({"content": (0.25**2 + 0.125**2 / 2) / 4})
    assert parts(loss="content-l1", coarse_weight=0) == pytest.approx({"content": 0.25 / 4})
    assert parts(loss="charbonnier") == pytest.approx({"content": (0.25 + 0.125) / 4}, rel=1e-4)
    assert parts(loss="psnr", coarse_weight=2) == pytest.approx(
        {"psnr": 10 * math.log10(0.25**2 + 1e-4), "coarse": 0.125}, rel=1e-5
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


def test_the_run_ends_in_time_with_its_schedule_finished(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []
    real = MODULE.learning_rate

    def noted(*arguments: Any) -> float:
        rates.append(real(*arguments))
        return rates[-1]

    monkeypatch.setattr(MODULE, "learning_rate", noted)
    ticks = itertools.count()  # in place of a clock, so that a busy machine makes as many steps
    clock = SimpleNamespace(monotonic=lambda: 0.002 * next(ticks))
    monkeypatch.setattr(importlib.import_module("blursynth.model.clock"), "time", clock)
    settings = config(steps=10**9, minutes=0.005, schedule="cosine")
    result = train(pairs, tmp_path / "run", settings)
    assert 5 < result.steps < 150
    assert load_checkpoint(result.last).progress["seconds"] >= 0.3
    assert rates[-1] < 0.5 * max(rates)
    again = train(pairs, tmp_path / "run", settings, resume=True)  # the time of both counts
    assert again.steps == result.steps


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


def test_a_folder_without_pairs_is_refused_before_a_run_is_made(tmp_path: Path) -> None:
    with pytest.raises(ShardError):
        train(tmp_path, tmp_path / "run", config())
    assert not (tmp_path / "run").exists()


def test_crops_larger_than_the_pairs_are_refused(pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="patch 64: larger than pairs of 24 px"):
        train(pairs, tmp_path / "run", config(patch=64))
