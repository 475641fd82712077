"""Whether the weights of a file belong to a network."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from blursynth.errors import CheckpointError
from blursynth.files import printable

__all__ = ["build_empty", "check_shapes"]

AnyModule = TypeVar("AnyModule", bound=nn.Module)


def build_empty(path: Path, build: Callable[[], AnyModule]) -> AnyModule:
    """Build a network without memory for its weights.

    Raises
    ------
    CheckpointError
        If its sides are beyond what a tensor can have.
    """
    try:
        with torch.device("meta"):
            return build()
    except (RuntimeError, TypeError, OverflowError) as error:
        raise CheckpointError(f"{printable(path)}: a network of impossible size") from error


def check_shapes(path: Path, expected: Mapping[str, tuple[int, ...]], state: Mapping[str, Tensor]) -> None:
    """Refuse weights that are missing, of another shape, or too many; the message names one.

    Raises
    ------
    CheckpointError
        If there are such.
    """
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if expected == found:
        return
    name = min(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if name not in found:
        raise CheckpointError(f"{printable(path)}: {name} is missing")
    what = f"expected {expected[name]}" if name in expected else "which this network does not have"
    raise CheckpointError(f"{printable(path)}: {printable(name[:100])} is {found[name]}, {what}")
