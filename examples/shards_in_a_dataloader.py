"""Shards in PyTorch's own DataLoader: ``python shards_in_a_dataloader.py shards/``."""

import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset

from blursynth.shards import Manifest, Shard


class Pairs(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Whole pairs of a folder of shards, (3, H, W) uint8 each. Every worker process opens files for itself."""

    def __init__(self, folder: Path) -> None:
        self._places = [(entry.path(folder), row) for entry in Manifest.read(folder) for row in range(entry.pairs)]
        self._open: dict[Path, Shard] = {}

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        path, row = self._places[index]
        if path not in self._open:
            self._open[path] = Shard(path)
        blurry, sharp = (torch.from_numpy(image.copy()).permute(2, 0, 1) for image in self._open[path].pair(row))
        return blurry, sharp


def main(folder: Path) -> None:
    pairs = Pairs(folder)
    order = torch.Generator().manual_seed(0)
    loader = DataLoader(pairs, batch_size=4, shuffle=True, generator=order, num_workers=0)  # 2 or more in earnest
    for number, (blurry, sharp) in enumerate(loader):
        error = (blurry.float() - sharp.float()).square().mean()
        print(f"batch {number}: {tuple(blurry.shape)}, {10 * torch.log10(255**2 / error):.2f} dB before any training")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
