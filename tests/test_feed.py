import importlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from blursynth.errors import SettingsError
from blursynth.model.data import Batch, PairSet, read_pairs
from blursynth.model.distributed import World
from blursynth.model.feed import Feed
from blursynth.model.lite import LiteConfig
from blursynth.model.settings import TrainConfig
from blursynth.model.sources import ShardSource

LITE = LiteConfig(channels=(4, 6), encoder_blocks=(1, 0), decoder_blocks=(1,))


@pytest.fixture(autouse=True)
def _small_network(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = importlib.import_module("blursynth.model.settings")
    monkeypatch.setattr(settings, "network_config", lambda _name: LITE)


def config(**changes: Any) -> TrainConfig:
    values: dict[str, Any] = {"patch": 16, "batch": 4, "steps": 10, "workers": 0, "seed": 3}
    return TrainConfig(**(values | changes))


def feed(pairs: PairSet, world: World, **changes: Any) -> Feed:
    return Feed(ShardSource(pairs), config(**changes), world, is_pinned=False)


def read(pairs: PairSet, world: World, steps: range, **changes: Any) -> Iterator[Batch]:
    with closing(feed(pairs, world, **changes)) as source:
        for step in steps:
            yield source.read(step, step / 10)


@pytest.mark.parametrize("progressive", [False, True])
def test_the_shares_of_all_processes_are_the_batch_of_one(shards: Path, progressive: bool) -> None:
    pairs = read_pairs(shards)
    whole = read(pairs, World(), range(10), progressive=progressive)
    shares = [read(pairs, World(rank, 2), range(10), progressive=progressive) for rank in range(2)]
    sizes = []
    for batch, *parts in zip(whole, *shares, strict=True):
        assert torch.equal(torch.cat([part.blurry for part in parts]), batch.blurry)
        assert torch.equal(torch.cat([part.sharp for part in parts]), batch.sharp)
        half = len(batch.blurry) // 2
        assert [part.first_sample - batch.first_sample for part in parts] == [0, half]
        sizes.append(len(batch.blurry))
    assert sizes == ([6] * 4 + [4] * 5 + [2] if progressive else [4] * 10)


def test_reading_may_begin_at_any_step(shards: Path) -> None:
    pairs = read_pairs(shards)
    whole = list(read(pairs, World(), range(10), progressive=True))
    late = list(read(pairs, World(), range(3, 10), progressive=True, workers=1))
    for batch, expected in zip(late, whole[3:], strict=True):
        assert torch.equal(batch.blurry, expected.blurry)
        assert batch.first_sample == expected.first_sample


def test_what_cannot_be_read_is_refused_before_anything_is(shards: Path) -> None:
    pairs = read_pairs(shards)
    assert feed(pairs, World(), patch=32, progressive=True).samples(0.9) == 2
    with pytest.raises(SettingsError, match=r"patch 72: larger than pairs of 48 px; .* or leave --progressive out"):
        feed(pairs, World(), patch=48, progressive=True)
    with pytest.raises(SettingsError, match="batch 3: 2 processes cannot share it evenly"):
        feed(pairs, World(0, 2), batch=3)
