"""Read random crops of pairs in a training loop of your own: ``python pairs_in_your_own_loop.py shards/``."""

import sys
from pathlib import Path

import torch

from blursynth.model import batches, read_pairs, split_pairs


def main(shards: Path) -> None:
    training, validation = split_pairs(read_pairs(shards))
    print(f"{len(training)} pairs train, {len(validation)} validate")
    patch = min(128, training.smallest_side // 4 * 4)
    network = torch.nn.Conv2d(3, 3, 5, padding=2)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for batch in batches(training, patch=patch, batch=4, seed=0, steps=range(10), workers=0):
        blurry, sharp = (images.float() / 255 for images in (batch.blurry, batch.sharp))  # (N, 3, H, W)
        loss = (network(blurry) - sharp).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(f"sample {batch.first_sample}: loss {loss.item():.4f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
