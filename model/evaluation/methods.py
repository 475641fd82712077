"""What is evaluated: the blurry input as it is, and networks."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blursynth.errors import SettingsError
from blursynth.files import printable, sha256_of

from ..bundled import bundled_names
from ..device import choose_device
from ..published import AnyNetwork, load_network
from ..restore import Deblurrer
from .results import BLURRY_INPUT

__all__ = ["Method", "load_methods"]

Image = NDArray[np.uint8]
Restore = Callable[[Image], tuple[NDArray[Any], int]]
_NAMES_OF_RUNS = {"best.safetensors", "last.safetensors"}


@dataclass(frozen=True, slots=True)
class Method:
    """What makes restored images of blurry ones, both (H, W, 3) uint8.

    ``restore`` also returns how many tiles stayed as they were because what the network gave was not usable; it is None
    for the blurry input itself.
    """

    name: str
    checkpoint_sha256: str = ""
    restore: Restore | None = None


def load_methods(
    checkpoints: Sequence[str], *, device: str = "auto", tile: int | None = None, self_ensemble: bool = False
) -> list[Method]:
    """Return the blurry input and networks.

    Parameters
    ----------
    checkpoints
        Paths of checkpoints or of published weights, or names of weights that come with blursynth. Networks are called
        by the shortest end of their path that tells them apart.
    device, tile, self_ensemble
        See `Deblurrer`.

    Raises
    ------
    CheckpointError
        If one cannot be used.
    DeviceError
        If the device is not there.
    SettingsError
        If one is given twice.
    """
    methods = [Method(BLURRY_INPUT)]
    for text, name in zip(checkpoints, _names(checkpoints), strict=True):
        network = load_network(text)
        deblurrer = Deblurrer(network, device=choose_device(device), tile=tile, self_ensemble=self_ensemble)
        sha256 = _hash_of_weights(network) if text in bundled_names() else sha256_of(Path(text))
        same = [other for other in methods if other.checkpoint_sha256 == sha256]
        if same:
            raise SettingsError(f"{printable(text)}: the same checkpoint as {printable(same[0].name)}; give it once")
        methods.append(Method(name, sha256, _restore_with(deblurrer)))
    return methods


def _restore_with(deblurrer: Deblurrer) -> Restore:
    def restore(blurry: Image) -> tuple[NDArray[Any], int]:
        kept = 0

        def on_tile(is_restored: bool) -> None:
            nonlocal kept
            kept += not is_restored

        return deblurrer(blurry, on_tile=on_tile), kept

    return restore


def _hash_of_weights(network: AnyNetwork) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy())
    return digest.hexdigest()


def _names(checkpoints: Sequence[str]) -> list[str]:
    parts = [(text,) if text in bundled_names() else Path(text).resolve().parts for text in checkpoints]
    # best.safetensors is what every run calls its best: the folder is what tells them apart.
    least = 2 if any(part[-1] in _NAMES_OF_RUNS for part in parts) else 1
    for length in range(least, max(map(len, parts), default=0) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return list(checkpoints)
