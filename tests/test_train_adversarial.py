"""Training against the discriminator."""

import importlib
import math
from pathlib import Path

import pytest
import torch

from blursynth.model.checkpoint import load_checkpoint
from blursynth.model.mscnn import Discriminator
from blursynth.model.train import train
from training import (
    MODULE,
    assert_same_tensors,
    config,
    faded,
    interrupted,
    log_lines,
    pairs_folder,
    spoiled,
    tensors,
)

pytestmark = pytest.mark.usefixtures("small_networks", "one_thread", "signals_as_in_a_terminal")


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
