import contextlib
import io
import json
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from blursynth.model import Lite, LiteConfig
from blursynth.model.checkpoint import Checkpoint, save_checkpoint

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], one_thread: None) -> Callable[..., str]:
    """Run an example as a program would, in this process: starting one and importing torch takes seconds."""

    def run_example(name: str, argument: Path) -> str:
        monkeypatch.setattr(sys, "argv", [name, str(argument)])
        with torch.random.fork_rng(devices=[]):
            runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run_example


def test_pairs_in_your_own_loop(shards: Path, run: Callable[..., str]) -> None:
    lines = run("pairs_in_your_own_loop.py", shards).splitlines()
    assert lines[0] == "8 pairs train, 8 validate"
    assert len(lines) == 11


def test_shards_in_a_dataloader(shards: Path, run: Callable[..., str]) -> None:
    lines = run("shards_in_a_dataloader.py", shards).splitlines()
    assert len(lines) == 4
    assert all(f"batch {number}: (4, 3, 48, 64)" in line for number, line in enumerate(lines))


def test_your_own_network(shards: Path, run: Callable[..., str]) -> None:
    losses = [float(value) for value in re.findall(r"loss (\S+)", run("your_own_network.py", shards))]
    assert len(losses) == 10
    assert losses[-1] < losses[0]


def test_deblur_an_array(tmp_path: Path, run: Callable[..., str]) -> None:
    with torch.random.fork_rng():
        network = Lite(LiteConfig.tiny())
    save_checkpoint(tmp_path / "net.safetensors", Checkpoint(network.config, network.state_dict()))
    shown = run("deblur_an_array.py", tmp_path / "net.safetensors")
    assert shown == "uint8 (96, 256, 3), mean change 0.00 codes\n"  # untrained, it is the identity


def test_synthesise_arrays(tmp_path: Path, run: Callable[..., str]) -> None:
    lines = run("synthesise_arrays.py", tmp_path / "blurry.png").splitlines()
    changes = [float(line.rsplit(" ", 1)[1]) for line in lines]
    assert changes[0] == 0 < changes[1] < changes[2]
    with Image.open(tmp_path / "blurry.png") as picture:
        assert picture.size == (3 * 320, 180)


def test_your_own_response_curve(tmp_path: Path, run: Callable[..., str]) -> None:
    first, second = run("your_own_response_curve.py", tmp_path / "curve.txt").splitlines()
    assert first == f"light of code 128: {-np.log1p(128 / 255 * np.expm1(-7)) / 7:.4f}; back again: 128"
    assert float(second.split(";", maxsplit=1)[0].rsplit(" ", 1)[1]) < 1e-8


def test_shake_by_gyro(tmp_path: Path, run: Callable[..., str]) -> None:
    times = np.arange(200) / 200
    rates = [f"{t:.4f},{0.3 * np.sin(50 * t):.5f},{0.2 * np.cos(5 * t):.5f},0" for t in times]
    (tmp_path / "log.csv").write_text("\n".join(["time_s,gx,gy,gz", *rates]))
    shown = run("shake_by_gyro.py", tmp_path / "log.csv")
    assert "sharp is the photograph itself: True" in shown
    assert 3 < float(re.findall(r"blur (\S+) px", shown)[0]) < 15  # 0.2 rad/s for 1/15 s at 500 px, and 8 Hz of nodding


def test_the_notebook_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = json.loads((EXAMPLES / "synthesise_arrays.ipynb").read_text())
    assert notebook["nbformat"] == 4
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        for number, cell in enumerate(cells):
            exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
    assert (tmp_path / "blurry.png").exists()
    assert shown.getvalue().count("mean code") == 3


def test_every_example_is_tested() -> None:
    tests = Path(__file__).read_text()
    assert all(path.name in tests for path in (*EXAMPLES.glob("*.py"), *EXAMPLES.glob("*.ipynb")))
