"""A network of the caller's own in the trainer."""

from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from blursynth.errors import CheckpointError, SettingsError
from blursynth.model import Deblurrer
from blursynth.model.train import train
from training import Watcher, config, spoiled

pytestmark = pytest.mark.usefixtures("one_thread")


class Contrast(nn.Module):
    """Two numbers to learn: what is needed to bring faded noise back."""

    size_multiple = 4

    def __init__(self) -> None:
        super().__init__()
        self.gain, self.offset = nn.Parameter(torch.ones(1)), nn.Parameter(torch.zeros(1))

    def forward(self, blurry: Tensor) -> list[Tensor]:
        return [blurry * self.gain + self.offset]

    @staticmethod
    def pyramid(sharp: Tensor) -> list[Tensor]:
        return [sharp]


def test_a_network_of_ones_own_learns_is_scored_and_saved(pairs: Path, tmp_path: Path) -> None:
    own, watcher = Contrast(), Watcher()
    settings = config(
        network="mscnn", steps=60, optimizer="adamw", learning_rate=0.02, schedule="cosine", ema=0.5, loss="content-l1"
    )
    result = train(pairs, tmp_path / "run", settings, network=own, progress=watcher)
    assert result.steps == 60
    assert result.best_psnr is not None
    assert result.blurry_psnr is not None
    assert result.best_psnr != pytest.approx(result.blurry_psnr, abs=0.1)
    assert own.gain.item() != 1
    assert watcher.notes[0].startswith("Contrast on cpu: ")
    last = safetensors.torch.load_file(result.last)
    assert torch.equal(last["weights.gain"], own.gain)
    fresh = Contrast()
    best = safetensors.torch.load_file(result.best)
    fresh.load_state_dict({name.removeprefix("weights."): tensor for name, tensor in best.items()})
    card = (result.run / "card.md").read_text()
    assert card.startswith("# Contrast\n")
    assert "multiply-adds" not in card


class Normed(Contrast):
    """With statistics, which are no weights."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, blurry: Tensor) -> list[Tensor]:
        return [self.norm(super().forward(blurry)[0])]


def test_a_skipped_step_leaves_statistics_as_they_were(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoiled(monkeypatch, lambda call: call in {1, 3})
    own = Normed()
    result = train(pairs, tmp_path / "run", config(network="mscnn", steps=6, ema=0.9), network=own)
    assert int(own.norm.get_buffer("num_batches_tracked")) == 4
    best = safetensors.torch.load_file(result.best)
    assert torch.equal(best["weights.norm.running_mean"], own.norm.get_buffer("running_mean"))


def test_compiling_it_leaves_statistics_as_they_were(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", lambda network, **_settings: network)
    own = Normed()
    train(pairs, tmp_path / "run", config(network="mscnn", steps=2, compile="on"), network=own)
    assert int(own.norm.get_buffer("num_batches_tracked")) == 2


def test_what_only_its_program_can_build_is_refused_elsewhere(pairs: Path, tmp_path: Path) -> None:
    result = train(pairs, tmp_path / "run", config(network="mscnn", steps=1), network=Contrast())
    with pytest.raises(CheckpointError, match="'own'"):
        Deblurrer.load(result.best)
    with pytest.raises(SettingsError, match="a network of your own cannot go on; choose another folder"):
        train(pairs, tmp_path / "run", config(network="mscnn", steps=2), network=Contrast(), resume=True)


def test_a_module_that_lacks_something_is_refused_at_the_door(pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="network Identity: has no size_multiple and no pyramid"):
        train(pairs, tmp_path / "a", config(network="mscnn"), network=nn.Identity())
    with pytest.raises(SettingsError, match="Contrast: its weights must be float32"):
        train(pairs, tmp_path / "b", config(network="mscnn"), network=Contrast().half())
    large = Contrast()
    large.size_multiple = 32
    with pytest.raises(SettingsError, match="patch 16: must be a multiple of 32 for Contrast"):
        train(pairs, tmp_path / "c", config(network="mscnn"), network=large)
