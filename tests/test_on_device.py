"""Pairs held in memory and light developed on the device: "cpu" stands for the device."""

import importlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from blursynth.errors import SettingsError, ShardError
from blursynth.make import MakeConfig, make_dataset
from blursynth.model.data import Batch, PairSet, batches, read_pairs
from blursynth.model.on_device import Developer, chosen_cache, developed_batches, hold
from blursynth.model.online.batch import Request
from blursynth.model.online.light import with_plain_noise
from blursynth.radiometry import Light
from blursynth.radiometry.noise import add_noise
from blursynth.shards import Manifest
from samples import ClipMaker, moving_texture

MODULE = importlib.import_module("blursynth.model.on_device")
CPU = torch.device("cpu")
REQUEST = Request(patch=32, batch=4, seed=5, steps=range(4))
pytestmark = pytest.mark.usefixtures("one_thread")


def made(clip: Path, folder: Path, **changes: Any) -> PairSet:
    make_dataset([clip], folder, MakeConfig(**({"window": "3"} | changes)))
    return read_pairs(folder)


def by_workers(pairs: PairSet, request: Request = REQUEST) -> list[Batch]:
    asked = {"patch": request.patch, "batch": request.batch, "seed": request.seed, "steps": request.steps}
    return list(batches(pairs, **asked, workers=0, is_fresh=request.is_fresh))  # type: ignore[arg-type]


def held(pairs: PairSet, *, is_exact: bool = True, is_fresh: bool = True) -> list[Batch]:
    memory = hold(pairs, CPU, is_fresh=is_fresh)
    return list(memory.batches(Developer(pairs, CPU, is_exact=is_exact), REQUEST))


def assert_same(found: list[Batch], expected: list[Batch]) -> None:
    assert len(found) == len(expected) == 4
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.blurry, other.blurry)
        assert torch.equal(one.sharp, other.sharp)
        assert one.blurry.stride() == other.blurry.stride()
        assert one.first_sample == other.first_sample


@pytest.mark.parametrize("codec", ["raw", "zstd"])
def test_held_in_memory_samples_are_those_that_workers_read(make_clip: ClipMaker, tmp_path: Path, codec: str) -> None:
    pairs = made(make_clip(), tmp_path / "out", codec=codec)
    assert_same(held(pairs), by_workers(pairs))
    some = pairs.select(np.arange(len(pairs)) % 3 == 1)
    assert_same(held(some), by_workers(some))


def test_in_memory_light_is_drawn_anew_to_the_same_bytes(make_clip: ClipMaker, tmp_path: Path) -> None:
    chain = {"noise": "iso:3200", "highlights": "on", "output_crf": "srgb,bt709", "jpeg": "60-95"}
    pairs = made(make_clip(), tmp_path / "lit", store="linear", **chain)
    assert_same(held(pairs), by_workers(pairs))
    stored = Request(patch=32, batch=4, seed=5, steps=range(4), is_fresh=False)
    assert_same(held(pairs, is_fresh=False), by_workers(pairs, stored))


@pytest.mark.parametrize(
    "chain",
    [{"highlights": "on"}, {"output_crf": "srgb,bt709,gamma:2.2"}, {"highlights": "0.25-1.75", "jpeg": "50-95"}],
    ids=["highlights", "curves", "jpeg"],
)
def test_without_noise_the_device_develops_the_workers_codes(
    make_clip: ClipMaker, tmp_path: Path, chain: dict[str, str]
) -> None:
    bright = np.minimum(moving_texture(12, 48, 64).astype(int) * 2, 255).astype(np.uint8)
    pairs = made(make_clip(frames=bright), tmp_path / "lit", store="linear", **chain)
    expected, found = by_workers(pairs), held(pairs, is_exact=False)
    for one, other in zip(found, expected, strict=True):
        assert (one.blurry.int() - other.blurry.int()).abs().max() <= 1
        assert torch.equal(one.sharp, other.sharp)


@pytest.mark.parametrize("noise", ["iso:3200", "match"])
def test_noise_on_the_device_is_as_strong_as_the_workers(make_clip: ClipMaker, tmp_path: Path, noise: str) -> None:
    grain = np.random.default_rng(0).normal(0, 6, (24, 48, 64, 3))
    frames = (moving_texture(24, 48, 64, speed=0) * 0.5 + 60 + grain).clip(0, 255).astype(np.uint8)
    pairs = made(make_clip(frames=frames), tmp_path / "lit", store="linear", noise=noise)
    expected, found = by_workers(pairs), held(pairs, is_exact=False)
    errors = []
    for side in (expected, found):
        difference = torch.cat([batch.blurry.float() - batch.sharp.float() for batch in side])
        errors.append((difference.mean().item(), difference.std().item()))
    assert errors[1] == pytest.approx(errors[0], abs=0.15, rel=0.03)
    assert not torch.equal(found[0].blurry, expected[0].blurry)  # from torch's generators


def test_noise_by_channel_is_as_strong_as_the_data_sides() -> None:
    light = Light(3, 0.0, 4e-4, 2e-3, -1, 1.0, 1.0, 0.0, 0)
    linear = np.full((64, 64, 3), 0.2, np.float32)
    ours = with_plain_noise(torch.from_numpy(linear)[None], [light])[0].numpy() - linear
    theirs = add_noise(linear, light) - linear
    assert ours.std() == pytest.approx(theirs.std(), rel=0.03)
    assert abs(ours.mean()) < 4 * theirs.std() / 110
    assert np.asarray(np.corrcoef(ours.reshape(-1, 3).T))[0, 1] == pytest.approx(0, abs=0.05)


def test_developed_samples_follow_from_their_number_alone(make_clip: ClipMaker, tmp_path: Path) -> None:
    lit = made(make_clip("a.mkv"), tmp_path / "out", store="linear", noise="iso:3200", jpeg="60-95")
    whole = held(lit, is_exact=False)
    for workers in (0, 1):
        request = Request(patch=32, batch=4, seed=5, steps=range(2, 4), workers=workers)
        late = list(developed_batches(lit, Developer(lit, CPU, is_exact=False), request))
        assert_same(whole[:2] + late, whole)


def test_pairs_with_and_without_light_are_held_together(make_clip: ClipMaker, tmp_path: Path) -> None:
    lit = made(make_clip("a.mkv"), tmp_path / "lit", store="linear", highlights="on")
    plain = made(make_clip("b.mkv", moving_texture(12, 48, 64, seed=3)), tmp_path / "plain")
    (tmp_path / "out").mkdir()
    manifest = Manifest(tmp_path / "out")
    for part in (lit, plain):
        for entry in part.entries:
            shutil.copy(entry.path(part.directory), entry.path(manifest.directory))
            manifest.add(entry)
    pairs = read_pairs(manifest.directory)
    assert len(pairs.sources) == 2
    for part, has_work in ((lit, True), (plain, False), (pairs, True)):
        assert Developer(part, CPU, is_exact=False).has_work is has_work
    expected = by_workers(pairs)
    assert_same(held(pairs), expected)
    assert_same(list(developed_batches(pairs, Developer(pairs, CPU, is_exact=True), REQUEST)), expected)


def test_a_pair_damaged_since_is_named(make_clip: ClipMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = made(make_clip(), tmp_path / "lit", store="linear", noise="iso:400")
    real = MODULE.light_of_shard

    def damaged(shard: Any) -> Any:
        rendition, frames = real(shard)

        def draw(key: int, effective_frames: float) -> None:
            raise SettingsError("effective frames 0.0")

        monkeypatch.setattr(type(rendition), "draw", lambda _self, *arguments: draw(*arguments))
        return rendition, frames

    monkeypatch.setattr(MODULE, "light_of_shard", damaged)
    with pytest.raises(ShardError, match=r"\.h5: pair \d+ is damaged \(effective frames 0\.0\); make it again"):
        held(pairs)


@pytest.mark.parametrize(
    ("choice", "device", "free", "expected"),
    [
        ("auto", "cpu", 1e12, None),
        ("auto", "cuda", 1e12, "cuda"),
        ("auto", "cuda", 1.0, None),
        ("off", "cuda", 1e12, None),
        ("host", "cuda", 1e12, "cpu"),
        ("host", "cpu", 1e12, "cpu"),
        ("device", "cpu", 1e12, "cpu"),
        ("device", "cuda", 1e12, "cuda"),
    ],
)
def test_where_pairs_are_held(
    shards: Path, monkeypatch: pytest.MonkeyPatch, choice: Any, device: str, free: float, expected: str | None
) -> None:
    monkeypatch.setattr(MODULE, "_free_bytes", lambda _device: free)
    place = chosen_cache(read_pairs(shards), choice, torch.device(device), is_fresh=True)
    assert place == (torch.device(expected) if expected else None)


def test_pairs_that_do_not_fit_are_refused_and_sixty_percent_is_left_to_choose(
    shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = read_pairs(shards)
    needed = 6 * 48 * 64 * len(pairs)
    assert hold(pairs, CPU, is_fresh=True).num_bytes == needed
    for share, is_held in ((0.59, True), (0.61, False)):
        monkeypatch.setattr(MODULE, "_free_bytes", lambda _device, share=share: needed / share)
        assert (chosen_cache(pairs, "auto", torch.device("cuda"), is_fresh=True) is not None) is is_held
    monkeypatch.setattr(MODULE, "_free_bytes", lambda _device: needed - 1)
    with pytest.raises(SettingsError, match=r"cache host: the pairs take .* GB are free; choose --cache off"):
        chosen_cache(pairs, "host", CPU, is_fresh=True)


@pytest.mark.gpu
def test_a_gpu_gives_what_it_gives_without_holding(make_clip: ClipMaker, tmp_path: Path) -> None:
    device = torch.device("cuda")
    lit = made(
        make_clip(), tmp_path / "out", store="linear", highlights="on", noise="iso:3200", output_crf="srgb,bt709"
    )
    developer = Developer(lit, device, is_exact=False)
    in_memory = hold(lit, device, is_fresh=True).batches(developer, REQUEST)
    read = developed_batches(lit, developer, Request(patch=32, batch=4, seed=5, steps=range(4), is_pinned=True))
    assert_same(list(in_memory), list(read))
    quiet = made(make_clip("b.mkv"), tmp_path / "quiet", store="linear", highlights="on", output_crf="srgb,bt709")
    found = hold(quiet, device, is_fresh=True).batches(Developer(quiet, device, is_exact=False), REQUEST)
    for one, other in zip(found, by_workers(quiet), strict=True):
        assert (one.blurry.cpu().int() - other.blurry.int()).abs().max() <= 1
        assert (one.sharp.cpu().int() - other.sharp.int()).abs().max() <= 1
