"""A network of your own with the trainer's data, augmentation and loss: ``python your_own_network.py shards/``."""

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from blursynth.model import batches, read_pairs, split_pairs
from blursynth.model.augment import augment, to_unit
from blursynth.model.losses import multiscale_content_loss
from blursynth.model.pyramid import gaussian_pyramid


class TwoScales(nn.Module):
    """Restores at half the size first, and adds what is missing at full size; all it shares with ours is its output."""

    def __init__(self) -> None:
        super().__init__()
        self.coarse, self.fine = nn.Conv2d(3, 3, 5, padding=2), nn.Conv2d(6, 3, 5, padding=2)

    def forward(self, blurry: Tensor) -> list[Tensor]:
        """Return restored images, finest first."""
        half = blurry[..., ::2, ::2]
        restored_half = half + self.coarse(half)
        enlarged = nn.functional.interpolate(restored_half, scale_factor=2.0)
        return [blurry + self.fine(torch.cat([blurry, enlarged], dim=1)), restored_half]


def main(shards: Path) -> None:
    training, _ = split_pairs(read_pairs(shards))
    torch.manual_seed(0)
    network = TwoScales()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    patch = min(128, training.smallest_side // 4 * 4)
    for batch in batches(training, patch=patch, batch=4, seed=0, steps=range(10), workers=0):
        varied = augment(batch, seed=0)  # turns, mirrors, channel orders: what a sample gets follows from its number
        blurry, sharp = to_unit(varied.blurry), to_unit(varied.sharp)  # (N, 3, H, W) in [0, 1]
        loss = multiscale_content_loss(network(blurry), gaussian_pyramid(sharp, 2))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        print(f"sample {varied.first_sample}: loss {loss.item():.5f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
