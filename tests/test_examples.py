import subprocess
import sys
from pathlib import Path

import torch

from blursynth.model import Checkpoint, Lite, LiteConfig, save_checkpoint

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name: str, argument: Path) -> str:
    command = [sys.executable, str(EXAMPLES / name), str(argument)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_pairs_in_your_own_loop(shards: Path) -> None:
    lines = run("pairs_in_your_own_loop.py", shards).splitlines()
    assert lines[0] == "8 pairs train, 8 validate"
    assert len(lines) == 11


def test_deblur_an_array(tmp_path: Path) -> None:
    with torch.random.fork_rng():
        network = Lite(LiteConfig.tiny())
    save_checkpoint(tmp_path / "net.safetensors", Checkpoint(network.config, network.state_dict()))
    shown = run("deblur_an_array.py", tmp_path / "net.safetensors")
    assert shown == "uint8 (96, 256, 3), mean change 0.00 codes\n"  # untrained, it is the identity


def test_every_example_is_tested() -> None:
    tests = Path(__file__).read_text()
    assert all(path.name in tests for path in EXAMPLES.glob("*.py"))
