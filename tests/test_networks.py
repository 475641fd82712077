import json
from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from blursynth.errors import SettingsError
from blursynth.model.lite import Lite, LiteConfig
from blursynth.model.mscnn import MSCNN, MSCNNConfig
from blursynth.model.networks import (
    NETWORK_NAMES,
    Network,
    NetworkConfig,
    NetworkName,
    build_network,
    describe_network,
    network_config,
    read_config,
    restore_images,
)

LITE = LiteConfig(channels=(3, 4), encoder_blocks=(1, 0), decoder_blocks=(1,))  # sides of multiples of 4
PAPER = MSCNNConfig(num_scales=2, num_blocks=1, channels=3, kernel_size=3)  # sides of multiples of 2
pytestmark = pytest.mark.usefixtures("one_thread")


def random_images(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def evaluating(config: NetworkConfig) -> Network:
    """A network with random weights everywhere, so that it is no identity."""
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        network = build_network(config).eval().requires_grad_(False)
    for parameter in network.parameters():
        parameter.normal_(std=0.3, generator=generator)
    return network


def test_every_name_has_a_configuration_of_its_own() -> None:
    assert get_args(NetworkName) == NETWORK_NAMES
    assert network_config("mscnn") == MSCNNConfig() == MSCNNConfig.paper()
    assert [network_config(name) for name in ("mscnn-2", "mscnn-1")] == [MSCNNConfig(2, 29), MSCNNConfig(1, 59)]
    assert network_config("lite") == LiteConfig.base()
    assert network_config("lite-tiny") == LiteConfig.tiny()


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(SettingsError, match=r"'unet' is unknown.*mscnn, mscnn-2, mscnn-1, lite, lite-tiny"):
        network_config("unet")  # type: ignore[arg-type]


def lite_configs() -> st.SearchStrategy[LiteConfig]:
    return st.integers(2, 5).flatmap(
        lambda levels: st.builds(
            LiteConfig,
            channels=st.tuples(*[st.integers(1, 9)] * levels),
            encoder_blocks=st.tuples(*[st.integers(0, 3)] * levels),
            decoder_blocks=st.tuples(*[st.integers(0, 3)] * (levels - 1)),
            num_fused_levels=st.integers(0, 6),
            depthwise_kernel_size=st.sampled_from([1, 3, 7]),
        )
    )


def mscnn_configs() -> st.SearchStrategy[MSCNNConfig]:
    small = st.integers(1, 5)
    return st.builds(MSCNNConfig, small, small, small, st.sampled_from([1, 3, 5]))


@given(st.one_of(lite_configs(), mscnn_configs()))
def test_descriptions_survive_json(config: NetworkConfig) -> None:
    again = read_config(json.loads(json.dumps(describe_network(config))))
    assert type(again) is type(config)
    assert again == config
    assert hash(again) == hash(config)  # lists inside would not have one


@pytest.mark.parametrize(("config", "kind"), [(LITE, Lite), (PAPER, MSCNN)])
def test_a_network_is_built_of_its_configuration(config: NetworkConfig, kind: type[Network]) -> None:
    network = evaluating(config)
    assert type(network) is kind
    assert network.config == config


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"kind": "unet"},
        {"kind": None},
        {"kind": ["lite"]},
        {"kind": {}},
        {"kind": "lite", "depth": 3},
        {"kind": "mscnn", "channels": [4, 4]},  # those of the other kind
        {"kind": "lite", "num_scales": 3},
        {"kind": "mscnn", "num_scales": "3"},
        {"kind": "mscnn", "num_scales": 3.0},
        {"kind": "mscnn", "num_scales": True},
        {"kind": "mscnn", "num_scales": None},
        {"kind": "mscnn", "num_scales": 0},
        {"kind": "mscnn", "kernel_size": 4},
        {"kind": "lite", "channels": 4},
        {"kind": "lite", "channels": []},
        {"kind": "lite", "channels": [4, 4.0], "encoder_blocks": [1, 1], "decoder_blocks": [1]},
        {"kind": "lite", "channels": ["a", "b"]},
        {"kind": "lite", "channels": {"4": 4, "5": 5}},
        {"kind": "lite", "num_fused_levels": 1.5},
    ],
)
def test_what_describes_no_network_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        read_config(values)


@pytest.mark.parametrize("config", [LITE, PAPER])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 5), (2, 9), (17, 33), (16, 15), (16, 32)])
def test_restored_images_keep_their_size_and_range(config: NetworkConfig, height: int, width: int) -> None:
    blurry = random_images(2, 3, height, width)
    before = blurry.clone()
    restored = restore_images(evaluating(config), blurry)
    assert restored.shape == blurry.shape
    assert restored.dtype == torch.float32
    assert restored.min() >= 0
    assert restored.max() <= 1
    assert torch.equal(blurry, before)


@pytest.mark.parametrize("config", [LITE, PAPER])
def test_sizes_the_network_takes_are_restored_by_it_alone(config: NetworkConfig) -> None:
    network = evaluating(config)
    blurry = random_images(2, 3, 16, 24)
    (finest, *_) = network(blurry.contiguous(memory_format=torch.channels_last))
    assert finest.min() < 0 or finest.max() > 1  # there is something to clip
    assert torch.equal(restore_images(network, blurry), finest.clamp(0, 1))


@pytest.mark.parametrize("config", [LITE, PAPER])
def test_other_sizes_are_continued_by_their_mirror_image(config: NetworkConfig) -> None:
    network = evaluating(config)
    blurry = random_images(1, 3, 17, 31)
    bottom, right = -17 % network.size_multiple, -31 % network.size_multiple
    rows = [*range(17), *range(15, 15 - bottom, -1)]
    columns = [*range(31), *range(29, 29 - right, -1)]
    whole = restore_images(network, blurry[:, :, rows][:, :, :, columns])
    assert torch.equal(restore_images(network, blurry), whole[:, :, :17, :31])


@settings(max_examples=30)
@given(st.integers(1, 40), st.integers(1, 40))
def test_an_untrained_lite_network_changes_nothing_whatever_the_size(height: int, width: int) -> None:
    with torch.random.fork_rng(devices=[]):
        network = Lite(LITE).eval()
    blurry = random_images(1, 3, height, width)
    assert torch.equal(restore_images(network, blurry), blurry)


def test_values_that_are_not_finite_are_passed_on() -> None:
    network = evaluating(PAPER)
    blurry = random_images(1, 3, 8, 8)
    blurry[0, 0, 0, 0] = torch.nan
    assert not torch.isfinite(restore_images(network, blurry)).all()  # clipping must not make them look right
