"""torch.compile for the network that learns, and for what makes its crops."""

from collections.abc import Callable
from typing import Literal, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

__all__ = ["Compile", "Forward", "compiled", "compiled_or_plain", "is_compiled"]

Compile = Literal["auto", "on", "off"]
Forward = Callable[[Tensor], list[Tensor]]
_P = ParamSpec("_P")
_R = TypeVar("_R")


def is_compiled(choice: Compile, device: torch.device) -> bool:
    """Return whether to compile: ``auto`` does on CUDA, where it pays."""
    return choice == "on" or (choice == "auto" and device.type == "cuda")


def compiled(network: nn.Module) -> Forward:
    """Return a compiled way to call a network; the network itself, its weights and their names stay as they are.

    Each size of batch and image is compiled by itself, when it first comes.
    """
    forward: Forward = torch.compile(network, dynamic=False)
    return forward


def compiled_or_plain(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Return a function that is compiled when it is first called, and stays as it is where that cannot be done.

    The same code serves all sizes. What the function itself raises, it raises.
    """
    ways: list[Callable[_P, _R]] = [torch.compile(function, dynamic=True), function]

    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        if len(ways) > 1:
            try:
                return ways[0](*args, **kwargs)
            except torch.OutOfMemoryError:
                raise
            except Exception:  # of compilers, C++ or Triton: any kind
                del ways[0]
        return ways[0](*args, **kwargs)

    return call
