import pytest
import torch
from torch import nn

from blursynth.model.lite import Lite, LiteConfig
from blursynth.model.optimizers import OptimizerName, build_optimizer, load_optimizer, optimizer_tensors

LITE = LiteConfig(channels=(2, 3), encoder_blocks=(1, 0), decoder_blocks=(1,))
NAMES: list[OptimizerName] = ["adam", "adamw"]
pytestmark = pytest.mark.usefixtures("one_thread")


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Lite(LITE)


def step(module: nn.Module, optimizer: torch.optim.Optimizer, number: int) -> None:
    for k, parameter in enumerate(module.parameters()):
        parameter.grad = torch.full_like(parameter, 0.01 * (number + k + 1))
    optimizer.step()


def test_the_papers_is_adam_without_decay() -> None:
    optimizer = build_optimizer(network(), "adam", 5e-5)
    (group,) = optimizer.param_groups
    assert type(optimizer) is torch.optim.Adam
    assert (group["lr"], group["betas"], group["eps"], group["weight_decay"]) == (5e-5, (0.9, 0.999), 1e-8, 0)


def test_adamw_decays_kernels_only() -> None:
    module = network()
    optimizer = build_optimizer(module, "adamw", 1e-3)
    assert type(optimizer) is torch.optim.AdamW
    assert all(group["betas"] == (0.9, 0.9) for group in optimizer.param_groups)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in module.named_parameters():
        assert decay[id(parameter)] == (0 if name.endswith(("bias", "gamma")) else 1e-3), name
    assert len(decay) == len(list(module.parameters()))


@pytest.mark.parametrize("name", NAMES)
def test_it_goes_on_to_the_same_bits(name: OptimizerName) -> None:
    whole, part = network(), network()
    optimizer, first = build_optimizer(whole, name, 1e-2), build_optimizer(part, name, 1e-2)
    for number in range(4):
        step(whole, optimizer, number)
    for number in range(2):
        step(part, first, number)
    tensors = {key: value.clone() for key, value in optimizer_tensors(first, part).items()}
    second = build_optimizer(part, name, 1e-2)
    load_optimizer(second, part, tensors)
    for number in range(2, 4):
        step(part, second, number)
    for key, value in whole.state_dict().items():
        assert torch.equal(part.state_dict()[key], value), key


def test_what_is_taken_over_lies_in_memory_as_the_weights_do() -> None:
    """A file gives it back contiguous, and on a GPU one fused kernel goes through both."""
    module = network().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = build_optimizer(module, "adamw", 1e-2)
    step(module, optimizer, 0)
    from_file = {
        name: tensor.clone(memory_format=torch.contiguous_format)
        for name, tensor in optimizer_tensors(optimizer, module).items()
    }
    second = build_optimizer(module, "adamw", 1e-2)
    load_optimizer(second, module, from_file)
    weights = {name: weight for name, weight in module.named_parameters() if not weight.is_contiguous()}
    assert weights
    for name, weight in weights.items():
        for key in ("exp_avg", "exp_avg_sq"):
            taken = second.state[weight][key]
            assert taken.stride() == weight.stride(), name
            assert torch.equal(taken, from_file[f"{name}.{key}"]), name


def test_before_its_first_step_there_is_nothing_to_keep() -> None:
    module = network()
    optimizer = build_optimizer(module, "adamw", 1e-3)
    assert optimizer_tensors(optimizer, module) == {}
    step(module, optimizer, 0)
    load_optimizer(optimizer, module, {})  # and going back to it forgets
    assert optimizer_tensors(optimizer, module) == {}


def test_what_is_missing_is_named() -> None:
    module = network()
    optimizer = build_optimizer(module, "adam", 1e-3)
    step(module, optimizer, 0)
    tensors = optimizer_tensors(optimizer, module)
    name = next(name for name in tensors if name.endswith(".exp_avg"))
    with pytest.raises(KeyError, match=name):
        load_optimizer(optimizer, module, {key: value for key, value in tensors.items() if key != name})
