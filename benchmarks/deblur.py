"""Deblurring a photograph: the network alone against everything around it, and the paper's network beside ours."""

import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.side_by_side import rates, show
from blursynth.model import MSCNN, Deblurrer, Lite, LiteConfig, MSCNNConfig
from blursynth.model.allocation import reused_memory
from blursynth.model.photographs import FileSettings, deblur_files
from blursynth.photos import Photo, write_photo

HEIGHT, WIDTH = 3000, 4000  # 12 megapixels; BLURSYNTH_BENCH_SHRINK=4 takes a quarter of both, for busy machines
SIDE, PAPER_SIDE = 1024, 256
CPU = torch.device("cpu")


def photograph(height: int, width: int) -> NDArray[np.uint8]:
    """Return a smooth picture with some noise, so that coding it takes what a photograph takes."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    waves = [128 + 80 * np.sin(x / 37 + y / 61 + phase) for phase in range(3)]
    noisy = np.stack(waves, axis=2) + rng.normal(0, 6, (height, width, 3)).astype(np.float32)
    pixels: NDArray[np.uint8] = np.clip(noisy, 0, 255).astype(np.uint8)
    return pixels


def trained_like() -> Lite:
    """Return the small network with weights of the usual size: zeros, with which it begins, may be faster."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Lite(LiteConfig.tiny()).eval().requires_grad_(False)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.03)
    return network


def run(folder: Path) -> None:
    shrink = int(os.environ.get("BLURSYNTH_BENCH_SHRINK", "1"))
    height, width = HEIGHT // shrink, WIDTH // shrink
    pixels = photograph(height, width)
    source = folder / "photo.jpg"
    write_photo(source, Photo(pixels=pixels, alpha=None, format="JPEG"), pixels)
    network = trained_like()
    tiny = Deblurrer(network, device=CPU, is_guarded=False)
    with torch.random.fork_rng():
        paper = Deblurrer(MSCNN(MSCNNConfig()), device=CPU)
        eager = trained_like()  # as PyTorch makes it: float32, one plane of channels after the other

    def files() -> float:
        deblur_files([source], [folder / "sharp.jpg"], tiny, FileSettings(overwrite=True))
        return height * width / 1e6

    @torch.inference_mode()
    def forward(precision: AbstractContextManager[object], side_y: int, side_x: int, layers: Lite) -> float:
        multiple = layers.size_multiple
        images = torch.zeros(1, 3, side_y // multiple * multiple, side_x // multiple * multiple)
        with precision:
            layers(images)
        return images[0, 0].numel() / 1e6

    def restored(deblurrer: Deblurrer, side: int) -> float:
        deblurrer(pixels[:side, :side])
        return float(min(side, height) * min(side, width)) / 1e6

    @reused_memory()
    def forward_alone() -> float:  # as deblur calls it
        return forward(tiny._fast(), height, width, network)

    end_to_end = f"blursynth deblur, lite-tiny, {height * width / 1e6:.3g} megapixels, JPEG to JPEG"
    alone = "lite-tiny forward alone, in one piece, precision and memory as in deblur"
    found = rates(
        {
            end_to_end: files,
            alone: forward_alone,
            f"lite-tiny forward alone, {SIDE} px, float32": lambda: forward(nullcontext(), SIDE, SIDE, network),
            "deblurring with mscnn (the paper's network)": lambda: restored(paper, PAPER_SIDE),
        },
        rounds=3,
    )
    aims = {alone: 1 / 1.3, "deblurring with mscnn (the paper's network)": 15.0}
    show("deblurring on the CPU", found, "megapixels", against=aims)
    layouts = rates(
        {
            "lite-tiny as in deblur (layout and precision)": lambda: forward(tiny._fast(), SIDE, SIDE, network),
            "lite-tiny, float32, planes of channels": lambda: planes_forward(eager),
        },
        rounds=2,
    )
    show("layout and precision", layouts, "megapixels", against={"lite-tiny, float32, planes of channels": 2.0})


@torch.inference_mode()
def planes_forward(network: Lite) -> float:
    """Run the network on features that lie plane by plane, which it usually avoids."""
    from blursynth.model import lite  # noqa: PLC0415

    last = lite._channels_last
    lite._channels_last = lambda features: features.contiguous()
    try:
        network(torch.zeros(1, 3, SIDE, SIDE))
    finally:
        lite._channels_last = last
    return SIDE * SIDE / 1e6
