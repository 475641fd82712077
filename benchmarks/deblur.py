"""Deblurring a photograph: the network alone against everything around it, and the paper's network beside ours."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.side_by_side import rates, show
from blursynth.model import MSCNN, Deblurrer, Lite, LiteConfig, MSCNNConfig

SIDE = 1024
PAPER_SIDE = 256


def run(folder: Path) -> None:
    del folder
    rng = np.random.default_rng(0)
    photo: NDArray[np.uint8] = rng.integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
    small = photo[:PAPER_SIDE, :PAPER_SIDE]
    with torch.random.fork_rng():
        network, paper_network = Lite(LiteConfig.tiny()), MSCNN(MSCNNConfig())
    tiny, paper = (Deblurrer(each, device=torch.device("cpu")) for each in (network, paper_network))
    images = torch.rand(1, 3, SIDE, SIDE)

    @torch.inference_mode()
    def forward() -> float:
        network(images)
        return SIDE * SIDE / 1e6

    def deblurred(deblurrer: Deblurrer, pixels: NDArray[np.uint8]) -> float:
        deblurrer(pixels)
        return float(pixels.shape[0] * pixels.shape[1]) / 1e6

    found = rates(
        {
            "Deblurrer, lite-tiny, tiles blended": lambda: deblurred(tiny, photo),
            "lite-tiny, the network's forward pass alone": forward,
            "Deblurrer, mscnn (the paper's network)": lambda: deblurred(paper, small),
        }
    )
    against = {"lite-tiny, the network's forward pass alone": None, "Deblurrer, mscnn (the paper's network)": 15.0}
    show("deblurring on the CPU", found, "megapixels", against=against)
