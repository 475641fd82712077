import copy
from typing import Any

import pytest
import torch

from blursynth.model.ema import Average
from blursynth.model.lite import Lite, LiteConfig

LITE = LiteConfig(channels=(2, 3), encoder_blocks=(1, 0), decoder_blocks=(1,))
pytestmark = pytest.mark.usefixtures("one_thread")


def filled(value: float) -> Lite:
    with torch.random.fork_rng(devices=[]):
        network = Lite(LITE)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(value)
    return network


def only_value(average: Average) -> float:
    values = torch.cat([parameter.flatten() for parameter in average.network.parameters()])
    assert torch.allclose(values, values[:1].expand_as(values))
    return float(values[0])


def test_the_mean_by_hand() -> None:
    average = Average(filled(0.0), decay=0.25)
    expected = 0.0
    for number, value in enumerate((1.0, 3.0, -2.0, 0.5), 1):
        average.update(filled(value))
        decay = min(0.25, (1 + number) / (10 + number))  # 2/11, 3/12, then 0.25
        expected = decay * expected + (1 - decay) * value
        assert only_value(average) == pytest.approx(expected, rel=1e-6)


def test_a_slow_mean_forgets_its_beginning_soon() -> None:
    average = Average(filled(100.0), decay=0.999)
    for _ in range(50):
        average.update(filled(1.0))
    assert only_value(average) == pytest.approx(1.0, abs=0.01)


def test_what_is_no_weight_is_taken_as_it_is() -> None:
    with torch.random.fork_rng(devices=[]):
        network: Any = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1), torch.nn.BatchNorm2d(3))
    average = Average(network, decay=0.9)
    for _ in range(3):
        network(torch.full((2, 3, 4, 4), 0.25))
        average.update(network)
    for name, buffer in network.named_buffers():
        assert torch.equal(average.network.get_buffer(name), buffer), name
    assert int(average.network.get_buffer("1.num_batches_tracked")) == 3


def test_the_network_is_neither_changed_nor_shared() -> None:
    network = filled(1.0)
    before = copy.deepcopy(network.state_dict())
    average = Average(network, decay=0.5)
    average.update(filled(5.0))
    assert all(torch.equal(network.state_dict()[name], before[name]) for name in before)
    assert not any(parameter.requires_grad for parameter in average.network.parameters())
    assert not average.network.training


def test_it_goes_on_to_the_same_bits() -> None:
    whole = Average(filled(0.0), decay=0.9)
    for number in range(7):
        whole.update(filled(0.1 * number))
    part = Average(filled(0.0), decay=0.9)
    for number in range(3):
        part.update(filled(0.1 * number))
    resumed = Average(filled(9.0), decay=0.9)
    resumed.load(part.tensors())
    for number in range(3, 7):
        resumed.update(filled(0.1 * number))
    expected, found = whole.tensors(), resumed.tensors()
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_what_is_missing_is_named() -> None:
    average = Average(filled(0.0), decay=0.9)
    tensors = average.tensors()
    del tensors["updates"]
    with pytest.raises(KeyError, match="updates"):
        average.load(tensors)
