import importlib
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from click.testing import CliRunner

from blursynth.cli.main import cli
from blursynth.errors import BlursynthError
from blursynth.model.checkpoint import Checkpoint, save_checkpoint
from blursynth.model.lite import Lite, LiteConfig
from blursynth.model.presets import PRESETS, PresetName
from blursynth.model.settings import TrainConfig


class BegunError(BlursynthError):
    """Carries the settings of a run that was not begun."""


def settings_of(monkeypatch: pytest.MonkeyPatch, *arguments: str, **environment: str) -> TrainConfig:
    """What the command line makes of its arguments."""
    caught: list[TrainConfig] = []

    def train(_directory: Path, _run: Path, config: TrainConfig, **_others: Any) -> None:
        caught.append(config)
        raise BegunError

    monkeypatch.setattr(importlib.import_module("blursynth.model.train"), "train", train)
    result = CliRunner().invoke(cli, ["train", "shards", *arguments], env=environment)
    assert isinstance(result.exception, BegunError), result.output
    return caught[0]


def test_the_paper_is_the_default() -> None:
    assert TrainConfig(**PRESETS["paper"]) == TrainConfig()


def test_presets_name_settings_and_the_same_ones() -> None:
    assert tuple(PRESETS) == get_args(PresetName)
    assert PRESETS["paper"].keys() == PRESETS["fast"].keys() < {field.name for field in fields(TrainConfig)}


def test_the_fast_preset_is_what_its_documentation_says() -> None:
    config = TrainConfig(**PRESETS["fast"])
    assert (config.network, config.optimizer, config.learning_rate, config.schedule) == (
        "lite",
        "adamw",
        1e-3,
        "cosine",
    )
    assert (config.loss, config.fft_weight > 0, config.clip_norm, config.ema) == ("psnr", True, 0.01, 0.999)
    assert (config.progressive, config.patch, config.batch) == (True, 256, 64)


def test_without_a_preset_the_command_trains_as_the_paper_does(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings_of(monkeypatch) == settings_of(monkeypatch, "--preset", "paper") == TrainConfig()


def test_a_preset_fills_what_was_not_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    expected = {**asdict(TrainConfig()), **PRESETS["fast"]}
    assert asdict(settings_of(monkeypatch, "--preset", "fast")) == expected
    # Said by the command, the environment or a file; even if it is the command's own default.
    found = settings_of(
        monkeypatch, "--preset", "fast", "--network", "mscnn", "--loss", "content-l1", "--no-progressive",
        BLURSYNTH_TRAIN_BATCH="16",
    )  # fmt: skip
    said = {"network": "mscnn", "loss": "content-l1", "progressive": False, "batch": 16}
    assert asdict(found) == {**expected, **said}


def test_a_resumed_run_keeps_its_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lite = LiteConfig(channels=(2, 3), encoder_blocks=(0, 0), decoder_blocks=(0,))
    with torch.random.fork_rng(devices=[]):
        weights = Lite(lite).state_dict()
    begun = asdict(TrainConfig(**PRESETS["fast"], seed=5))
    save_checkpoint(tmp_path / "last.safetensors", Checkpoint(lite, weights, training=begun))
    resume = ("--resume", "-o", str(tmp_path))
    assert asdict(settings_of(monkeypatch, *resume)) == begun
    found = settings_of(monkeypatch, *resume, "--preset", "paper", "--steps", "7")
    assert found == TrainConfig(seed=5, steps=7)  # the trainer refuses to go on with those
