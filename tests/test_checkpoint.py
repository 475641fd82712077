import errno
import json
import os
import pickle
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from blursynth.errors import CheckpointError, OutputError
from blursynth.model import checkpoint as module
from blursynth.model.checkpoint import (
    Checkpoint,
    load_checkpoint,
    newest_checkpoint,
    restore_network,
    save_checkpoint,
)
from blursynth.model.lite import LiteConfig
from blursynth.model.mscnn import MSCNNConfig
from blursynth.model.networks import NetworkConfig, build_network, describe_network

LITE = LiteConfig(channels=(2, 3), encoder_blocks=(1, 0), decoder_blocks=(1,))
PAPER = MSCNNConfig(num_scales=2, num_blocks=1, channels=2, kernel_size=3)


def weights_of(config: NetworkConfig) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        weights = build_network(config).state_dict()
    return {name: torch.randn(tensor.shape, generator=generator) for name, tensor in weights.items()}


def example(config: NetworkConfig = LITE, **changes: Any) -> Checkpoint:
    weights = weights_of(config)
    optimizer = {f"{name}.exp_avg": torch.sin(tensor) for name, tensor in weights.items()}
    optimizer |= {f"{name}.step": torch.tensor(7.0) for name in weights}
    values: dict[str, Any] = {
        "network": config,
        "weights": weights,
        "training": {"steps": 9, "minutes": None, "loss": "psnr", "learning_rate": 0.1 + 0.2},
        "progress": {"step": 7, "seconds": 1.25, "best_psnr": 31.0},
        "scores": {"psnr": 31.0},
        "optimizer": optimizer,
    }
    return Checkpoint(**(values | changes))


def saved(path: Path, **changes: Any) -> Path:
    save_checkpoint(path, example(**changes))
    return path


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()  # and so one line
    return message


def assert_equal_bits(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        assert found[name].shape == tensor.shape, name
        bits = [t.contiguous().reshape(-1).view(torch.uint8) for t in (found[name], tensor)]
        assert torch.equal(*bits), name


@pytest.mark.parametrize("config", [LITE, PAPER])
def test_what_was_saved_is_loaded_to_the_bit(tmp_path: Path, config: NetworkConfig) -> None:
    before = example(config)
    save_checkpoint(tmp_path / "a.safetensors", before)
    after = load_checkpoint(tmp_path / "a.safetensors")
    assert after.network == before.network
    assert_equal_bits(dict(after.weights), dict(before.weights))
    assert_equal_bits(dict(after.optimizer), dict(before.optimizer))
    assert (after.training, after.progress, after.scores) == (before.training, before.progress, before.scores)
    network = restore_network(after)
    assert network.config == config
    assert_equal_bits(network.state_dict(), dict(before.weights))


def test_odd_values_of_the_optimizer_survive(tmp_path: Path) -> None:
    odd = {
        "not finite": torch.tensor([torch.nan, torch.inf, -torch.inf]),
        "zeros": torch.tensor([0.0, -0.0]),
        "tiny": torch.tensor([1e-45]),
        "empty": torch.zeros(0, 3),
        "number": torch.tensor(3),
        "half": torch.ones(3, dtype=torch.bfloat16),
        "switch": torch.tensor([True, False]),
    }
    path = saved(tmp_path / "a.safetensors", optimizer=odd)
    assert_equal_bits(dict(load_checkpoint(path).optimizer), odd)


def test_the_mean_and_the_second_player_survive(tmp_path: Path) -> None:
    average = {name: 2 * tensor for name, tensor in weights_of(LITE).items()} | {"updates": torch.tensor(3)}
    discriminator = {"weights.a": torch.ones(2), "optimizer.a.step": torch.tensor(1.0)}
    checkpoint = load_checkpoint(saved(tmp_path / "a.safetensors", average=average, discriminator=discriminator))
    assert_equal_bits(dict(checkpoint.average), average)
    assert_equal_bits(dict(checkpoint.discriminator), discriminator)
    assert not load_checkpoint(saved(tmp_path / "b.safetensors")).average


def test_a_mean_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    average = weights_of(LITE)
    average["heads.0.bias"][1] = torch.nan
    assert "heads.0.bias holds values that are not finite" in refusal(
        saved(tmp_path / "a.safetensors", average=average)
    )


def test_layout_and_gradients_do_not_matter(tmp_path: Path) -> None:
    config = LiteConfig(channels=(2, 3), encoder_blocks=(1, 1), decoder_blocks=(1,))
    with torch.random.fork_rng(devices=[]):
        network = build_network(config)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    weights = dict(network.named_parameters())
    assert any(not weight.is_contiguous() for weight in weights.values())
    path = saved(tmp_path / "a.safetensors", config=config, weights=weights)
    assert_equal_bits(dict(load_checkpoint(path).weights), {name: t.detach() for name, t in weights.items()})


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_others_may_read_what_the_umask_says(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        path = saved(tmp_path / "a.safetensors")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


@pytest.mark.parametrize("call", ["pwrite", "fsync"])
def test_a_full_disk_leaves_the_checkpoint_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = saved(tmp_path / "a.safetensors")
    before = path.read_bytes()

    def fail(*_arguments: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OutputError, match=r"a\.safetensors: the disk is full"):
        saved(path, progress={"step": 8})
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_an_interrupt_in_the_middle_of_writing_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path / "a.safetensors")
    before = path.read_bytes()
    pwrite = os.pwrite

    def interrupted(descriptor: int, data: memoryview, offset: int) -> int:
        if offset:
            raise KeyboardInterrupt
        return pwrite(descriptor, data[:100], offset)

    monkeypatch.setattr(os, "pwrite", interrupted)
    with pytest.raises(KeyboardInterrupt):
        saved(path, progress={"step": 8})
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_writes_that_are_cut_short_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, offset: pwrite(descriptor, data[:999], offset))
    assert load_checkpoint(saved(tmp_path / "a.safetensors")).progress["step"] == 7


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A sound checkpoint."""
    return saved(tmp_path_factory.mktemp("sound") / "a.safetensors").read_bytes()


def data_start(content: bytes) -> int:
    return 8 + int.from_bytes(content[:8], "little")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_a_flipped_bit_of_a_tensor_is_noticed(tmp_path: Path, content: bytes, data: st.DataObject) -> None:
    place = data.draw(st.integers(data_start(content), len(content) - 1))
    damaged = bytearray(content)
    damaged[place] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path / "a.safetensors"
    path.write_bytes(damaged)
    assert "damaged" in refusal(path)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_a_damaged_header_is_refused_or_still_makes_a_network(
    tmp_path: Path, content: bytes, data: st.DataObject
) -> None:
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(1, 2))):
        damaged[data.draw(st.integers(0, data_start(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "a.safetensors"
    path.write_bytes(damaged)
    try:
        checkpoint = load_checkpoint(path)
    except CheckpointError:
        refusal(path)
    else:
        restore_network(checkpoint)


@pytest.mark.parametrize("kept", [1, 7, 8, 9, 100, -1, -1000])
def test_a_file_cut_short_is_refused(tmp_path: Path, kept: int) -> None:
    path = saved(tmp_path / "a.safetensors")
    path.write_bytes(path.read_bytes()[:kept])
    refusal(path)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "empty file"),
        (b"weights\n", "not a checkpoint of blursynth"),
        (b"a text that is longer than a header and has no brace in the right place\n" * 50, "not a checkpoint"),
        ((2**64 - 1).to_bytes(8, "little") + b"{}", "not a checkpoint"),
        ((2**40).to_bytes(8, "little") + b"{" + b" " * 1000, "not a checkpoint"),
        ((70 << 20).to_bytes(8, "little") + b"{}" + b" " * 1000, "not a checkpoint"),
        ((2).to_bytes(8, "little") + b"{}", "not a checkpoint of blursynth"),
        ((1000).to_bytes(8, "little") + b"{" * 1000, "not a checkpoint of blursynth"),
        ((0).to_bytes(8, "little") + b"{}", "not a checkpoint"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    assert why in refusal(path)


def test_something_after_the_tensors_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.safetensors")
    path.write_bytes(path.read_bytes() + b"\0")
    refusal(path)


def test_what_is_not_a_file_is_refused(tmp_path: Path) -> None:
    assert "not a regular file" in refusal(tmp_path)
    assert "No such file" in refusal(tmp_path / "missing.safetensors")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert "not a regular file" in refusal(pipe)  # and does not wait for a writer


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("write", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_a_pickle_is_refused_and_its_code_does_not_run(tmp_path: Path, write: Callable[[object, Path], None]) -> None:
    proof = tmp_path / "executed"
    path = tmp_path / "model.pt"
    write({"weights": Bomb(proof)}, path)
    refusal(path)
    assert not proof.exists()
    torch.load(path, weights_only=False) if write is torch.save else pickle.loads(path.read_bytes())
    assert proof.exists()  # so it was a bomb


def with_description(path: Path, description: object, tensors: dict[str, Tensor] | None = None) -> Path:
    """Write a file whose tensors are sound and fit their SHA-256, whatever the description says otherwise."""
    tensors = {f"weights.{name}": t for name, t in weights_of(LITE).items()} if tensors is None else tensors
    values = {
        "schema": 1,
        "network": describe_network(LITE),
        "training": {},
        "progress": {},
        "scores": {},
    }
    if isinstance(description, dict):
        values |= {name: value for name, value in description.items() if name != "sha256"}
        text = json.dumps({"sha256": module._digest(tensors, values), **values} | description)
    else:
        text = str(description)
    safetensors.torch.save_file(tensors, path, {"blursynth": text})
    return path


def test_the_description_of_the_next_tests_is_sound_without_changes(tmp_path: Path) -> None:
    load_checkpoint(with_description(tmp_path / "a.safetensors", {}))


def test_weights_of_other_programs_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    safetensors.torch.save_file({"conv.weight": torch.zeros(3)}, path)
    assert "not a checkpoint of blursynth" in refusal(path)
    safetensors.torch.save_file({"conv.weight": torch.zeros(3)}, path, {"format": "pt"})
    assert "not a checkpoint of blursynth" in refusal(path)


@pytest.mark.parametrize("schema", [2, 0, -1, "1", None, 1.5])
def test_other_schemas_are_refused(tmp_path: Path, schema: object) -> None:
    message = refusal(with_description(tmp_path / "a.safetensors", {"schema": schema}))
    assert f"schema {schema!r}; this version reads schema 1" in message


@pytest.mark.parametrize(
    "description",
    [
        "",
        "null",
        "[]",
        "{}",
        '"text"',
        '{"schema": 1}',
        "[" * 100_000,
        '{"schema": 1' + "1" * 5000 + "}",
        {"network": None},
        {"network": []},
        {"network": {}},
        {"network": {"kind": "unet"}},
        {"network": {"kind": "unet\n\x1b[2J"}},
        {"network": describe_network(LITE) | {"channels": [2, 3.5]}},
        {"network": describe_network(LITE) | {"channels": [2]}},
        {"network": describe_network(LITE) | {"depth": 2}},
        {"training": None},
        {"progress": 3},
        {"scores": "31 dB"},
        {"sha256": None},
        {"sha256": "0" * 64},
    ],
)
def test_descriptions_that_are_not_ours_are_refused(tmp_path: Path, description: object) -> None:
    refusal(with_description(tmp_path / "a.safetensors", description))


@pytest.mark.parametrize(
    "network",
    [
        describe_network(PAPER),
        describe_network(LITE) | {"channels": [2, 4]},
        describe_network(LITE) | {"encoder_blocks": [2, 0]},
        describe_network(LITE) | {"encoder_blocks": [10**9, 0]},  # would be built for hours
        describe_network(LITE) | {"channels": [10**9, 10**9]},
        describe_network(LITE) | {"channels": [10**30, 3]},
        describe_network(PAPER) | {"num_scales": 10**9},
        describe_network(PAPER) | {"kernel_size": 10**12 + 1, "num_blocks": 1},
    ],
)
def test_a_description_of_another_network_is_refused(tmp_path: Path, network: dict[str, Any]) -> None:
    message = refusal(with_description(tmp_path / "a.safetensors", {"network": network}))
    assert "does not fit its network" in message or "impossible size" in message


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    weights = weights_of(LITE)
    weights["heads.0.bias"][1] = value
    message = refusal(saved(tmp_path / "a.safetensors", weights=weights))
    assert "heads.0.bias holds values that are not finite" in message


def test_weights_too_large_for_float32_are_refused(tmp_path: Path) -> None:
    weights = {name: tensor.double() for name, tensor in weights_of(LITE).items()}
    weights["heads.0.bias"][1] = 1e300
    assert "not finite" in refusal(saved(tmp_path / "a.safetensors", weights=weights))


def wrong_weights() -> dict[str, dict[str, Tensor]]:
    right = weights_of(LITE)
    first, *rest = right
    return {
        "none": {},
        "one missing": {name: right[name] for name in rest},
        "one too many": right | {"zoom": torch.zeros(1)},
        "one renamed": {name: right[name] for name in rest} | {"zoom": right[first]},
        "another shape": right | {first: right[first][:1]},
        "same size, another shape": right | {first: right[first].reshape(-1)},
        "whole numbers": right | {first: right[first].int()},
        "complex": right | {first: right[first].to(torch.complex64)},
        "of another network": weights_of(PAPER),
    }


@pytest.mark.parametrize("name", wrong_weights())
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, name: str) -> None:
    weights = wrong_weights()[name]
    with pytest.raises(CheckpointError, match="does not fit its network"):
        restore_network(Checkpoint(LITE, weights))
    assert "does not fit its network" in refusal(saved(tmp_path / "a.safetensors", weights=weights))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_precision_become_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    weights = {name: tensor.to(dtype) for name, tensor in weights_of(LITE).items()}
    network = restore_network(load_checkpoint(saved(tmp_path / "a.safetensors", weights=weights)))
    assert_equal_bits(network.state_dict(), {name: tensor.float() for name, tensor in weights.items()})


def test_a_network_of_a_checkpoint_can_be_trained_on(tmp_path: Path) -> None:
    network = restore_network(load_checkpoint(saved(tmp_path / "a.safetensors")))
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in network.parameters())
    network(torch.zeros(1, 3, 8, 8))[0].sum().backward()


def test_the_newest_checkpoint_is_that_of_the_run_that_improved_last(tmp_path: Path) -> None:
    for name, seconds in (("a", 200), ("b", 300), ("c", 100)):
        path = tmp_path / name / "best.safetensors"
        path.parent.mkdir()
        path.touch()
        os.utime(path, (seconds, seconds))
        os.utime(path.parent, (1000 - seconds, 1000 - seconds))
    last = tmp_path / "a" / "last.safetensors"  # newer, but not the best
    last.touch()
    assert newest_checkpoint(tmp_path) == tmp_path / "b" / "best.safetensors"


@pytest.mark.parametrize("name", ["empty", "missing", "file"])
def test_without_a_checkpoint_the_error_says_how_to_get_one(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match=rf"{name}/: run 'blursynth train shards/' first, or use --checkpoint"):
        newest_checkpoint(tmp_path / name)
