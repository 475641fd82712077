"""What the tests of training share: small networks, pairs that are quickly learned, and someone who watches."""

import hashlib
import importlib
import itertools
import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from blursynth.files import sha256_of
from blursynth.model.checkpoint import load_checkpoint
from blursynth.model.lite import LiteConfig
from blursynth.model.mscnn import MSCNNConfig
from blursynth.model.networks import NetworkConfig
from blursynth.model.settings import TrainConfig
from blursynth.shards import Entry, Manifest, ShardWriter

MODULE = importlib.import_module("blursynth.model.train")  # the package gives this name to the function
GRADIENTS = importlib.import_module("blursynth.model.gradients")
SETTINGS, STATE, DATA = (importlib.import_module(f"blursynth.model.{name}") for name in ("settings", "state", "data"))
LITE = LiteConfig(channels=(4, 6, 6), encoder_blocks=(1, 0, 1), decoder_blocks=(1, 0))
PAPER = MSCNNConfig(num_scales=2, num_blocks=1, channels=4, kernel_size=3)


def let_networks_be_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the names of networks stand for small ones."""

    def small(name: str) -> NetworkConfig:
        return PAPER if name == "mscnn" else LITE

    for module in (STATE, SETTINGS):
        monkeypatch.setattr(module, "network_config", small)


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


def spoiled(monkeypatch: pytest.MonkeyPatch, calls: Callable[[int], bool], factor: float = float("nan")) -> None:
    """Let the loss of some steps, counted from 0, not be finite."""
    real, counter = GRADIENTS._losses, itertools.count()

    def losses(*arguments: Any) -> dict[str, Tensor]:
        values: dict[str, Tensor] = real(*arguments)
        return {name: value * factor for name, value in values.items()} if calls(next(counter)) else values

    monkeypatch.setattr(GRADIENTS, "_losses", losses)
