import importlib
import math

import pytest
import torch
from torch import Tensor

from blursynth.model.adversarial import Critic
from blursynth.model.mscnn import Discriminator

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def _small_discriminator(monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("blursynth.model.adversarial")
    monkeypatch.setattr(module, "Discriminator", lambda: Discriminator(4))


def critic(seed: int = 0) -> Critic:
    return Critic(seed=seed, learning_rate=3e-3, device=torch.device("cpu"))


def images(value: float, seed: int = 0) -> Tensor:
    noise = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(seed))
    return (value + 0.1 * noise).clamp(0, 1)


def learn(player: Critic, steps: int) -> None:
    for number in range(steps):
        player.optimizer.zero_grad()
        player.mistaken(images(0.8, number), images(0.1, number)).backward()  # type: ignore[no-untyped-call]
        player.optimizer.step()


def test_undecided_it_costs_lambda_log_2() -> None:
    player = critic()
    with torch.no_grad():
        for parameter in player.network.parameters():
            parameter.zero_()
    assert player.deceived(images(0.5)).item() == pytest.approx(1e-4 * math.log(2))
    assert player.mistaken(images(0.5), images(0.1)).item() == pytest.approx(2 * math.log(2))


def test_the_network_learns_from_it_and_it_does_not_learn_from_that() -> None:
    player = critic()
    restored = images(0.3).requires_grad_()
    player.deceived(restored).backward()  # type: ignore[no-untyped-call]
    assert restored.grad is not None
    assert restored.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in player.network.parameters())


def test_it_learns_without_the_network_learning() -> None:
    player = critic()
    restored = images(0.3).requires_grad_()
    player.mistaken(images(0.8), restored).backward()  # type: ignore[no-untyped-call]
    assert restored.grad is None
    assert all(parameter.grad is not None for parameter in player.network.parameters())


def test_it_learns_to_tell_sharp_from_restored() -> None:
    player = critic()
    before = player.mistaken(images(0.8, 99), images(0.1, 99)).item()
    learn(player, 25)
    after = player.mistaken(images(0.8, 99), images(0.1, 99)).item()
    assert after < 0.85 * before


def test_it_goes_on_to_the_same_bits() -> None:
    whole, part = critic(), critic()
    learn(whole, 2)
    learn(part, 2)
    resumed = critic(seed=5)
    resumed.load({name: tensor.clone() for name, tensor in part.tensors().items()})
    learn(whole, 2)
    learn(resumed, 2)
    expected, found = whole.tensors(), resumed.tensors()
    assert expected.keys() == found.keys()
    assert any(name.startswith("optimizer.") for name in expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_the_seed_decides_its_weights() -> None:
    first, same, other = (critic(seed).tensors() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)
