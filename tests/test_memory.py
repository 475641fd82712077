"""How much memory there is, and how much a network takes."""

import sys

import psutil
import pytest
import torch
from torch import nn

from blursynth.model import memory as module
from blursynth.model.lite import Lite, LiteConfig
from blursynth.model.memory import bytes_per_pixel, free_bytes, free_gpu_bytes
from blursynth.model.mscnn import MSCNN, MSCNNConfig
from blursynth.model.published import NAFNet
from blursynth.model.published.nafnet import NAFNetConfig


def test_a_limit_counts_what_the_process_holds_already() -> None:
    resident = psutil.Process().memory_info().rss
    assert abs(free_bytes(resident + 50_000_000) - 50_000_000) < 30_000_000
    assert free_bytes(1000) < 0
    assert 0 < free_bytes(1 << 60) <= psutil.virtual_memory().total


def test_a_containers_limit_counts(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CGROUP", tmp_path)
    unlimited = free_bytes()
    module._CGROUP.joinpath("memory.max").write_text("3000000\n")
    module._CGROUP.joinpath("memory.current").write_text("1000000\n")
    assert free_bytes() == 2_000_000 < unlimited
    module._CGROUP.joinpath("memory.stat").write_text("anon 300000\ninactive_file 600000\nactive_file 5\n")
    assert free_bytes() == 2_600_000  # files that were read give way
    module._CGROUP.joinpath("memory.max").write_text("max\n")
    assert free_bytes() > 2_000_000


def test_without_psutil_what_is_free_is_known_still(monkeypatch: pytest.MonkeyPatch) -> None:
    total = psutil.virtual_memory().total
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert 0 < free_bytes() < total


def test_what_torch_keeps_of_a_gpu_counts_as_free(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("memory_reserved", 700), ("memory_allocated", 200), ("mem_get_info", (1000, 9000))):
        monkeypatch.setattr(torch.cuda, name, lambda _device, value=value: value)
    assert free_gpu_bytes(torch.device("cuda")) == 1500


@pytest.mark.parametrize("channels", [16, 32])
def test_what_a_pixel_takes_follows_the_widest_layer(channels: int) -> None:
    with torch.random.fork_rng(devices=[]):
        lite = Lite(LiteConfig(channels=(channels, 8), encoder_blocks=(1, 0), decoder_blocks=(1,))).eval()
        paper = MSCNN(MSCNNConfig(num_scales=2, num_blocks=1, channels=channels, kernel_size=3)).eval()
        nafnet = NAFNet(NAFNetConfig(channels, (1,), 1, (1,))).eval()
    before = {name: tensor.clone() for name, tensor in lite.state_dict().items()}
    assert bytes_per_pixel(lite, 4) == 8 * 4 * 2 * channels / 4  # expanded to twice the channels at half the resolution
    assert bytes_per_pixel(paper, 2) == 8 * 4 * channels
    assert bytes_per_pixel(nafnet, 2) == 8 * 4 * 2 * channels
    assert all(torch.equal(tensor, before[name]) for name, tensor in lite.state_dict().items())
    assert all(isinstance(module, nn.Module) and not module._forward_hooks for module in lite.modules())
