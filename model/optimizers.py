"""The optimiser of a network, and its state as tensors with names."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

__all__ = ["OptimizerName", "build_optimizer", "load_optimizer", "optimizer_tensors"]

OptimizerName = Literal["adam", "adamw"]

_ADAMW_BETAS = (0.9, 0.9)
_ADAMW_DECAY = 1e-3
_STATE = ("step", "exp_avg", "exp_avg_sq")


def build_optimizer(network: nn.Module, name: OptimizerName, learning_rate: float) -> torch.optim.Optimizer:
    """Return the optimiser of a network; on CUDA it is one fused kernel.

    Parameters
    ----------
    name
        ``adam``: betas 0.9 and 0.999, no decay, as in Nah et al. (CVPR 2017). ``adamw``: betas 0.9 and 0.9, decay 1e-3,
        as in NAFNet (ECCV 2022); vectors (biases, the scales gamma, norms) do not decay.
    """
    is_fused = next(network.parameters()).device.type == "cuda"
    if name == "adam":
        return torch.optim.Adam(network.parameters(), lr=learning_rate, fused=is_fused)
    parameters = list(network.parameters())
    groups = [
        {"params": [each for each in parameters if each.ndim > 1], "weight_decay": _ADAMW_DECAY},
        {"params": [each for each in parameters if each.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=_ADAMW_BETAS, fused=is_fused)


def optimizer_tensors(optimizer: torch.optim.Optimizer, network: nn.Module) -> dict[str, Tensor]:
    """Return the optimiser's state, ``{parameter}.{key}``: empty before its first step."""
    return {
        f"{name}.{key}": value
        for name, parameter in network.named_parameters()
        for key, value in optimizer.state[parameter].items()
    }


def load_optimizer(optimizer: torch.optim.Optimizer, network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Take over what `optimizer_tensors` returned, in whatever layout.

    Raises
    ------
    KeyError
        If part of a parameter's state is missing.
    """
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    order = [(names[id(each)], each) for group in optimizer.param_groups for each in group["params"]]
    state = optimizer.state_dict()
    state["state"] = {
        index: {key: _laid_out(tensors[f"{name}.{key}"], parameter) for key in _STATE}
        for index, (name, parameter) in enumerate(order)
        if any(f"{name}.{key}" in tensors for key in _STATE)
    }
    optimizer.load_state_dict(state)


def _laid_out(tensor: Tensor, parameter: Tensor) -> Tensor:
    """Lay a tensor out as its parameter: CUDA's fused kernel refuses any other, and files keep no layout."""
    return torch.empty_like(parameter).copy_(tensor) if tensor.shape == parameter.shape else tensor
