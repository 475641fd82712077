import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from blursynth.errors import SettingsError
from blursynth.model.mscnn import MSCNN, Discriminator, MSCNNConfig
from blursynth.model.pyramid import gaussian_pyramid

SMALL = MSCNNConfig(num_blocks=2, channels=4, kernel_size=3)


def random_images(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def seeded(config: MSCNNConfig) -> MSCNN:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return MSCNN(config)


def num_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def gmacs(network: nn.Module) -> float:
    """Multiplications for one image of 256 × 256 px, in billions; on the meta device nothing is computed."""
    with FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 3, 256, 256, device="meta"))
    return int(counter.get_total_flops()) / 2e9


@pytest.mark.parametrize(("num_scales", "expected"), [(1, 792.5), (2, 487.7), (3, 335.94)])
def test_work_of_the_papers_networks(num_scales: int, expected: float) -> None:
    with torch.device("meta"):
        network = MSCNN(MSCNNConfig.paper(num_scales))
    assert gmacs(network) == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize(("num_scales", "num_blocks"), [(1, 59), (2, 29), (3, 19)])
def test_the_papers_networks_have_120_convolutions(num_scales: int, num_blocks: int) -> None:
    config = MSCNNConfig.paper(num_scales)
    assert config == MSCNNConfig(num_scales, num_blocks, 64, 5)
    with torch.device("meta"):
        network = MSCNN(config)
    assert sum(isinstance(module, nn.Conv2d) for module in network.scales.modules()) == 120
    assert sum(isinstance(module, nn.Conv2d) for module in network.upconvs.modules()) == num_scales - 1


def test_size_of_the_papers_network() -> None:
    with torch.device("meta"):
        network = MSCNN()
    assert network.config == MSCNNConfig.paper(3)
    assert num_parameters(network) == 11_721_321
    assert num_parameters(network.scales[0]) == 3_908_099


def test_forward_is_the_papers_network_written_out() -> None:
    network = seeded(MSCNNConfig(num_scales=2, num_blocks=1, channels=4))
    blurry = random_images(2, 3, 12, 8)
    weights = network.state_dict()

    def convolve(images: Tensor, name: str) -> Tensor:
        return F.conv2d(images, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=2)

    def scale(images: Tensor, k: int) -> Tensor:
        features = convolve(images, f"scales.{k}.0")
        hidden = convolve(features, f"scales.{k}.1.first").clamp(min=0)
        return convolve(features + convolve(hidden, f"scales.{k}.1.second"), f"scales.{k}.2")

    fine, coarse = gaussian_pyramid(blurry, 2)
    coarse_image = scale(coarse - 0.5, 1)
    upconvolved = convolve(coarse_image, "upconvs.0.0")  # (2, 12, 6, 4): channel 4 c + 2 i + j is pixel (i, j) of c
    upconvolved = upconvolved.view(2, 3, 2, 2, 6, 4).permute(0, 1, 4, 2, 5, 3).reshape(2, 3, 12, 8)
    fine_image = scale(torch.cat((fine - 0.5, upconvolved), dim=1), 0)

    restored = network(blurry)
    torch.testing.assert_close(restored[0], fine_image + 0.5, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(restored[1], coarse_image + 0.5, atol=1e-6, rtol=1e-5)
    assert len(restored) == 2


@pytest.mark.parametrize("num_scales", [1, 2, 3, 4])
def test_sizes_of_all_scales(num_scales: int) -> None:
    network = seeded(dataclasses.replace(SMALL, num_scales=num_scales, num_blocks=1))
    assert network.size_multiple == 2 ** (num_scales - 1)
    blurry = random_images(2, 3, 2 * network.size_multiple, 3 * network.size_multiple)
    expected = [(2, 3, blurry.shape[2] >> k, blurry.shape[3] >> k) for k in range(num_scales)]
    assert [tuple(image.shape) for image in network(blurry)] == expected
    assert [tuple(image.shape) for image in network.pyramid(blurry)] == expected


def test_gradients_reach_every_parameter() -> None:
    network = seeded(SMALL)
    finest = network(random_images(1, 3, 16, 16))[0]  # its gradient alone reaches the other scales
    torch.autograd.backward(finest.square().sum())
    missing = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert missing == []


def test_the_input_is_left_as_it_is() -> None:
    network = seeded(SMALL)
    for layout in (torch.contiguous_format, torch.channels_last):
        blurry = random_images(1, 3, 8, 8).contiguous(memory_format=layout)
        before = blurry.clone()
        network(blurry)
        assert torch.equal(blurry, before)


def test_layout_and_autocast_change_only_rounding() -> None:
    network = seeded(SMALL)
    blurry = random_images(1, 3, 16, 16)
    expected = network(blurry)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        lower = network(blurry)[0]
    assert lower.dtype == torch.float32
    torch.testing.assert_close(lower, expected, atol=0.02, rtol=0)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    torch.testing.assert_close(network(blurry)[0], expected, atol=1e-5, rtol=0)


def test_weights_are_drawn_as_torch_draws_them() -> None:
    for parameter in seeded(SMALL).get_submodule("scales.1.1.first").parameters():
        bound = 1 / math.sqrt(SMALL.channels * SMALL.kernel_size**2)
        assert 0.5 * bound < parameter.abs().max() <= bound


@pytest.mark.parametrize(("height", "width"), [(18, 16), (16, 18), (17, 16)])
def test_sizes_that_cannot_be_halved_are_refused(height: int, width: int) -> None:
    with pytest.raises(ValueError, match=f"{height} × {width}.*multiples of 4"):
        seeded(SMALL)(torch.zeros(1, 3, height, width))


@pytest.mark.parametrize("name", ["num_scales", "num_blocks", "channels", "kernel_size"])
def test_settings_below_one_are_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} is 0"):
        dataclasses.replace(SMALL, **{name: 0})


def test_other_settings_are_refused() -> None:
    with pytest.raises(SettingsError, match="kernel_size is 4"):
        MSCNNConfig(kernel_size=4)
    with pytest.raises(SettingsError, match="num_scales is 4"):
        MSCNNConfig.paper(4)
    with pytest.raises(SettingsError, match="channels is 0"):
        Discriminator(channels=0)


def test_size_of_the_discriminator() -> None:
    with torch.device("meta"):
        discriminator = Discriminator()
    assert num_parameters(discriminator) == 10_725_216
    assert gmacs(discriminator) == pytest.approx(3.07, abs=0.005)
    layers = [module for module in discriminator.modules() if isinstance(module, nn.Conv2d)]
    assert [layer.out_channels for layer in layers] == [32, 32, 64, 64, 128, 128, 256, 256, 512, 512, 1]
    assert [layer.stride[0] for layer in layers] == [1, 2, 1, 2, 1, 4, 1, 4, 1, 4, 1]
    assert [layer.kernel_size[0] for layer in layers] == [5] * 9 + [4, 1]


def test_the_discriminator_judges_each_square() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        discriminator = Discriminator(channels=2)
    images = random_images(1, 3, 256, 512)
    before = images.clone()
    logits = discriminator(images)
    assert logits.shape == (1, 1, 2)
    assert torch.equal(images, before)
    torch.autograd.backward(logits.sum())
    missing = [name for name, p in discriminator.named_parameters() if p.grad is None or not p.grad.any()]
    assert missing == []
    with torch.no_grad():
        list(discriminator.parameters())[-1].neg_()
    torch.testing.assert_close(discriminator(images), -logits)  # logits, not what a sigmoid makes of them
    with pytest.raises(ValueError, match=r"128 × 256.*multiples of 256"):
        discriminator(torch.zeros(1, 3, 128, 256))
