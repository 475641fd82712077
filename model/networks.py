"""Which networks there are, by name; a checkpoint tells the name and the configuration, this builds the rest."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from blursynth.errors import SettingsError

from .lite import Lite, LiteConfig
from .mscnn import MSCNN, MSCNNConfig

__all__ = [
    "NETWORK_NAMES",
    "Network",
    "NetworkConfig",
    "NetworkName",
    "build_network",
    "describe_network",
    "network_config",
    "read_config",
    "takes_weights_of",
]

NetworkName = Literal["mscnn", "mscnn-2", "mscnn-1", "lite", "lite-tiny"]
NETWORK_NAMES: tuple[NetworkName, ...] = ("mscnn", "mscnn-2", "mscnn-1", "lite", "lite-tiny")
Network = MSCNN | Lite
NetworkConfig = MSCNNConfig | LiteConfig


def network_config(name: NetworkName) -> NetworkConfig:
    """Return the configuration that a name on the command line stands for.

    ``mscnn`` is the network of Nah et al. (CVPR 2017), whole, with three scales; ``mscnn-2`` and ``mscnn-1`` are those
    that they compare it with, as deep, with two scales and with one. ``lite`` and ``lite-tiny`` are ours.
    """
    match name:
        case "mscnn":
            return MSCNNConfig.paper()
        case "mscnn-2":
            return MSCNNConfig.paper(num_scales=2)
        case "mscnn-1":
            return MSCNNConfig.paper(num_scales=1)
        case "lite":
            return LiteConfig.base()
        case "lite-tiny":
            return LiteConfig.tiny()
        case _:
            raise SettingsError(f"network {name!r} is unknown; choose one of {', '.join(NETWORK_NAMES)}")


def takes_weights_of(config: NetworkConfig, other: NetworkConfig) -> bool:
    """Return whether two networks differ in nothing, or only in what has no weights (`LiteConfig.tone_px`)."""
    if isinstance(config, LiteConfig) and isinstance(other, LiteConfig):
        return replace(config, tone_px=other.tone_px) == other
    return config == other


def build_network(config: NetworkConfig) -> Network:
    """Build a network with fresh weights."""
    return MSCNN(config) if isinstance(config, MSCNNConfig) else Lite(config)


def describe_network(config: NetworkConfig) -> dict[str, Any]:
    """Return a configuration as plain values; `read_config` is the way back."""
    return {"kind": "mscnn" if isinstance(config, MSCNNConfig) else "lite", **asdict(config)}


def read_config(values: Mapping[str, Any]) -> NetworkConfig:
    """Return the configuration that `describe_network` described.

    Raises
    ------
    ValueError, TypeError
        If the values are not such a description.
    """
    arguments: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
    kind = arguments.pop("kind", None)
    if kind not in {"mscnn", "lite"}:
        raise ValueError(f"network kind {kind!r} is unknown")
    for name, value in arguments.items():
        if any(type(number) is not int for number in (value if isinstance(value, tuple) else (value,))):
            raise TypeError(f"network {name} {value!r}: expected whole numbers")
    return MSCNNConfig(**arguments) if kind == "mscnn" else LiteConfig(**arguments)


class Restorer(Protocol):
    """What restores images: any `Network`, and those of others."""

    @property
    def size_multiple(self) -> int:
        """What the sides of the images must be multiples of, in px."""
        ...

    def __call__(self, blurry: Tensor, /) -> list[Tensor]:
        """Return restored images, finest first."""
        ...


def restore_images(network: Restorer, blurry: Tensor) -> Tensor:
    """Restore images of any size with a network in evaluation mode.

    Parameters
    ----------
    blurry
        (N, 3, H, W) float in [0, 1]. Sides that the network cannot take are padded by reflection, and the result is cut
        back.

    Returns
    -------
    (N, 3, H, W) float32, clipped to [0, 1].
    """
    height, width = blurry.shape[2:]
    bottom, right = -height % network.size_multiple, -width % network.size_multiple
    if bottom or right:
        mode = "reflect" if bottom < height and right < width else "replicate"
        blurry = F.pad(blurry, (0, right, 0, bottom), mode=mode)
    blurry = blurry.contiguous(memory_format=torch.channels_last)
    restored: Tensor = network(blurry)[0]
    return restored[:, :, :height, :width].float().clamp(0, 1)
