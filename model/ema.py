"""The running mean of the weights: steadier than the weights themselves, and usually the better network."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor

from .networks import Network

__all__ = ["Average"]

_UPDATES = "updates"


class Average:
    """Exponential moving average of a network's weights, in float32 on the network's device.

    What is no weight, such as the statistics of a batch norm, is that of the network.

    Parameters
    ----------
    network
        Whose weights it begins with.
    decay
        Weight of the past in one update, in (0, 1): 0.999 remembers about a thousand steps. The first updates forget
        faster, min(decay, (1 + n) / (10 + n)) for update n, so that a short run is not judged by its random beginning.
    """

    def __init__(self, network: Network, decay: float) -> None:
        self._decay = decay
        self._updates = 0
        self.network = copy.deepcopy(network).float().eval().requires_grad_(False)

    def update(self, network: Network) -> None:
        """Move towards the weights of a network, all at once.

        Call it after steps that were made only: one value that is not finite would never leave the mean again.
        """
        self._updates += 1
        decay = min(self._decay, (1 + self._updates) / (10 + self._updates))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.network.parameters()), list(network.parameters()), 1 - decay)
            for ours, its in zip(self.network.buffers(), network.buffers(), strict=True):
                ours.copy_(its)

    def tensors(self) -> dict[str, Tensor]:
        """Return what `load` needs to go on to the same bits."""
        return {**self.network.state_dict(), _UPDATES: torch.tensor(self._updates)}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what `tensors` returned.

        Raises
        ------
        KeyError
            If something is missing.
        """
        weights = {name: tensors[name] for name in self.network.state_dict()}
        self._updates = int(tensors[_UPDATES])
        self.network.load_state_dict(weights)
