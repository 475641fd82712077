"""torch.compile for the network that learns."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

__all__ = ["Compile", "Forward", "compiled", "is_compiled"]

Compile = Literal["auto", "on", "off"]
Forward = Callable[[Tensor], list[Tensor]]


def is_compiled(choice: Compile, device: torch.device) -> bool:
    """Return whether to compile: ``auto`` does on CUDA, where it pays."""
    return choice == "on" or (choice == "auto" and device.type == "cuda")


def compiled(network: nn.Module) -> Forward:
    """Return a compiled way to call a network; the network itself, its weights and their names stay as they are.

    Each size of batch and image is compiled by itself, when it first comes.
    """
    forward: Forward = torch.compile(network, dynamic=False)
    return forward
