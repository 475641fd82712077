"""A network of the caller's own in the bundled trainer."""

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from blursynth.errors import SettingsError

from .networks import Network

__all__ = ["OwnConfig", "as_network"]

_NEEDED = ("size_multiple", "pyramid")


@dataclass(frozen=True, slots=True)
class OwnConfig:
    """What a checkpoint says of a network that only its author's program can build."""

    name: str
    kind: str = "own"


def as_network(module: nn.Module, patch: int) -> tuple[Network, OwnConfig]:
    """Check that a module can be trained on crops of a side in px, and return it with what checkpoints call it.

    Raises
    ------
    SettingsError
        If it lacks something, holds other weights than float32, or takes other sizes.
    """
    name = type(module).__name__
    missing = [each for each in _NEEDED if not hasattr(module, each)]
    if missing:
        raise SettingsError(f"network {name}: has no {' and no '.join(missing)}; see blursynth.model.train.train")
    own: Any = module
    if own.size_multiple < 1 or patch % own.size_multiple:
        raise SettingsError(f"patch {patch}: must be a multiple of {own.size_multiple} for {name}")
    kinds = {tensor.dtype for tensor in module.state_dict().values() if tensor.is_floating_point()}
    if kinds != {torch.float32}:
        raise SettingsError(f"network {name}: its weights must be float32")
    return cast("Network", module), OwnConfig(name)
