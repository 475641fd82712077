"""torch.compile in training: the same steps, the same names, and a run without it where it fails."""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from blursynth.model import compiled as module
from blursynth.model.checkpoint import load_checkpoint
from blursynth.model.train import train
from training import (
    GRADIENTS,
    LITE,
    MODULE,
    PAPER,
    Watcher,
    config,
    faded,
    interrupted,
    pairs_folder,
    tensors,
)

pytestmark = pytest.mark.usefixtures("small_networks", "one_thread", "signals_as_in_a_terminal")
COMPILE = torch.compile


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, ...]]]:
    """Compile without a C++ compiler; the shapes of what was compiled."""
    shapes: list[tuple[int, ...]] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        shapes.extend(
            tuple(each.shape) for each in inputs if each.dim() == 4 and each.shape[1] == 3 and each.shape[-1] >= 12
        )
        return graph.forward

    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", functools.partial(COMPILE, backend=backend))
    yield shapes
    torch._dynamo.reset()


@pytest.mark.parametrize("network", ["lite-tiny", "mscnn"])
def test_compiled_it_takes_the_same_steps_with_the_same_names(
    pairs: Path, tmp_path: Path, seen: list[tuple[int, ...]], network: str
) -> None:
    settings = {"network": network, "optimizer": "adamw", "ema": 0.9, "accumulate": 2, "batch": 4, "steps": 3}
    eager = train(pairs, tmp_path / "eager", config(**settings))
    assert not seen
    watcher = Watcher()
    compiled = train(pairs, tmp_path / "compiled", config(compile="on", **settings), progress=watcher)
    assert seen == [(2, 3, 16, 16)]
    assert [note for note in watcher.notes if note.startswith("network compiled for crops of 16 px in ")]
    expected, found = tensors(eager.last), tensors(compiled.last)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-5)
    assert load_checkpoint(compiled.last).network == (PAPER if network == "mscnn" else LITE)


def test_each_size_to_come_is_compiled_once_before_the_first_step(
    pairs: Path, tmp_path: Path, seen: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    real = GRADIENTS.gradients

    def noted(*arguments: Any) -> Any:
        steps.append(len(seen))
        return real(*arguments)

    monkeypatch.setattr(MODULE, "gradients", noted)
    settings = config(network="mscnn", progressive=True, patch=16, batch=4, steps=10, compile="on")
    train(pairs, tmp_path / "run", settings, progress=interrupted(5))
    assert seen == [(6, 3, 12, 12), (4, 3, 16, 16), (2, 3, 24, 24)]
    assert steps == [3] * 5
    torch._dynamo.reset()
    del seen[:], steps[:]
    train(pairs, tmp_path / "run", settings, resume=True)  # what is over is not compiled again
    assert seen == [(4, 3, 16, 16), (2, 3, 24, 24)]
    assert steps == [2] * 5


def test_a_stage_of_fewer_crops_than_parts_is_compiled_crop_by_crop(
    pairs: Path, tmp_path: Path, seen: list[tuple[int, ...]]
) -> None:
    watcher = Watcher()
    settings = config(network="mscnn", progressive=True, patch=16, batch=4, accumulate=4, steps=1, compile="on")
    train(pairs, tmp_path / "run", settings, progress=watcher)
    assert not [note for note in watcher.notes if "without it" in note]
    assert [shape[0] for shape in seen] == [2, 1, 1, 1]  # six crops in four parts, four, two


def test_where_it_fails_the_run_says_so_and_goes_on_to_the_same_bits(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_network: object, **_settings: object) -> Any:
        def forward(_blurry: Tensor) -> None:
            raise OSError("c++: not found\nand much more")

        return forward

    expected = train(pairs, tmp_path / "eager", config(compile="off"))
    monkeypatch.setattr(torch, "compile", broken)
    watcher = Watcher()
    found = train(pairs, tmp_path / "run", config(compile="on"), progress=watcher)
    (note,) = [note for note in watcher.notes if "compile" in note]
    assert note.startswith("torch.compile: c++: not found; training goes on without it (--compile off")
    before = tensors(expected.last)
    assert all(torch.equal(tensor, before[name]) for name, tensor in tensors(found.last).items())


def test_memory_that_runs_out_while_it_compiles_is_left_to_the_batch(
    pairs: Path, tmp_path: Path, seen: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = GRADIENTS._part

    def part(state: Any, method: Any, batch: Any, share: float) -> Any:
        if len(batch.blurry) > 2:
            raise torch.OutOfMemoryError
        return real(state, method, batch, share)

    monkeypatch.setattr(GRADIENTS, "_part", part)
    watcher = Watcher()
    result = train(pairs, tmp_path / "run", config(compile="on", batch=4, steps=2), progress=watcher)
    assert result.steps == 2
    assert [note for note in watcher.notes if "worked out in 2 parts" in note]
    assert seen == [(2, 3, 16, 16)]


def test_left_alone_it_compiles_on_cuda() -> None:
    for device, expected in (("cpu", False), ("cuda", True), ("mps", False)):
        assert module.is_compiled("auto", torch.device(device)) is expected
        assert module.is_compiled("on", torch.device(device))
        assert not module.is_compiled("off", torch.device(device))


@pytest.mark.gpu
def test_on_a_gpu_it_is_compiled_with_inductor(tmp_path: Path) -> None:
    folder = pairs_folder(tmp_path / "pairs", one=faded(3, 64))
    watcher = Watcher()
    settings = config(device="cuda", patch=64, optimizer="adamw", ema=0.9, loss="psnr", validation_fraction=0)
    result = train(folder, tmp_path / "run", settings, progress=watcher)
    assert result.steps == 6
    assert [note for note in watcher.notes if note.startswith("network compiled")]
    assert all(tensor.isfinite().all() for tensor in tensors(result.last).values())
