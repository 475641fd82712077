import json
from pathlib import Path

import numpy as np
import pytest
import torch

from blursynth.errors import CheckpointError
from blursynth.model.bundled import WEIGHTS, bundle, bundled_names, load_bundled
from blursynth.model.checkpoint import Checkpoint
from blursynth.model.lite import Lite, LiteConfig

SMALL = LiteConfig(channels=(4, 4), encoder_blocks=(1, 1), decoder_blocks=(1,))


@pytest.fixture
def network() -> Lite:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Lite(SMALL).eval()
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
    return network


def test_what_is_bundled_is_found_by_name_and_restores_nearly_the_same(network: Lite, tmp_path: Path) -> None:
    bundle("small", Checkpoint(SMALL, network.state_dict()), "# a card", tmp_path)
    bundle("other", Checkpoint(SMALL, network.state_dict()), "# a card", tmp_path)
    assert bundled_names(tmp_path) == ("small", "other")
    loaded = load_bundled("small", tmp_path).eval()
    images = torch.linspace(0, 1, 3 * 32 * 32).reshape(1, 3, 32, 32)
    with torch.inference_mode():
        worst = (loaded(images)[0] - network(images)[0]).abs().max()
    assert 0 < worst < 1 / 255  # half precision
    assert (tmp_path / "small.md").read_text() == "# a card"


def test_a_changed_byte_a_lost_file_and_an_unknown_name_are_told(network: Lite, tmp_path: Path) -> None:
    path = bundle("small", Checkpoint(SMALL, network.state_dict()), "", tmp_path)
    with pytest.raises(CheckpointError, match=r"'?large'?: no weights of this name.*small"):
        load_bundled("large", tmp_path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"small\.safetensors: differs from what was made"):
        load_bundled("small", tmp_path)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"small\.safetensors"):
        load_bundled("small", tmp_path)


def test_the_weights_that_come_along_are_whole_small_and_start_from_nothing_secret() -> None:
    names = bundled_names()
    assert names[0] == "tiny"
    entry = json.loads((WEIGHTS / "index.json").read_text())["tiny"]
    assert (WEIGHTS / entry["file"]).stat().st_size < 12_000_000
    network = load_bundled("tiny").eval()
    flat = torch.full((1, 3, 64, 64), 0.5)
    with torch.inference_mode():
        assert np.abs(network(flat)[0].numpy() - 0.5).max() < 2 / 255  # flat sky stays flat
    card = (WEIGHTS / "tiny.md").read_text()
    assert "PSNR" in card
    assert "| seen of GOPRO, REDS, RealBlur or another published test set | nothing |" in card
