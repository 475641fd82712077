"""The second player of adversarial training: a discriminator that learns beside the network (Nah et al., CVPR 2017)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from .losses import ADVERSARIAL_WEIGHT, adversarial_loss, discriminator_loss
from .mscnn import Discriminator
from .optimizers import build_optimizer, load_optimizer, optimizer_tensors

__all__ = ["Critic"]

_SEED_STREAM = 1  # its weights are drawn from another seed than the network's
_WEIGHTS, _OPTIMIZER = "weights.", "optimizer."


class Critic:
    """A discriminator with its optimiser, which is Adam as for the paper's network.

    In a step, the network answers to the discriminator as it was, then the discriminator learns from the same restored
    images, as in the released code. It sees the finest scale only.

    Parameters
    ----------
    seed
        Of its weights.
    learning_rate
        Of Adam; `optimizer` is open for a schedule.
    """

    def __init__(self, *, seed: int, learning_rate: float, device: torch.device) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + _SEED_STREAM)
            network = Discriminator()
        self.network: Discriminator = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = build_optimizer(self.network, "adam", learning_rate)

    def deceived(self, restored: Tensor) -> Tensor:
        """Return what the network pays for restored images that are seen through: lambda times eq. 5.

        Its gradient reaches ``restored`` and not the discriminator.
        """
        self.network.requires_grad_(False)
        return ADVERSARIAL_WEIGHT * adversarial_loss(self.network(restored))

    def mistaken(self, sharp: Tensor, restored: Tensor) -> Tensor:
        """Return what the discriminator pays for its mistakes; its gradient does not reach the images."""
        self.network.requires_grad_(True)
        return discriminator_loss(self.network(sharp), self.network(restored.detach()))

    def tensors(self) -> dict[str, Tensor]:
        """Return what `load` needs to go on to the same bits."""
        weights = {f"{_WEIGHTS}{name}": tensor for name, tensor in self.network.state_dict().items()}
        state = optimizer_tensors(self.optimizer, self.network)
        return weights | {f"{_OPTIMIZER}{name}": tensor for name, tensor in state.items()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what `tensors` returned.

        Raises
        ------
        KeyError
            If something is missing.
        """
        self.network.load_state_dict({name: tensors[f"{_WEIGHTS}{name}"] for name in self.network.state_dict()})
        state = {
            name.removeprefix(_OPTIMIZER): tensor for name, tensor in tensors.items() if name.startswith(_OPTIMIZER)
        }
        load_optimizer(self.optimizer, self.network, state)
