"""Training against a plain trainer: float32, eager, PNG files read whole, crops cut on the CPU, the same network.

Where a GPU is, the paper's network too, at the size of its table 4, against itself in eager float32.
"""

import copy
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

from benchmarks.loader import PngPairs, write_png
from benchmarks.side_by_side import rates, real_or_rendered_clip, show
from blursynth.make import MakeConfig, make_dataset
from blursynth.model import MSCNN, Lite, LiteConfig, MSCNNConfig, TrainConfig, train
from blursynth.model.device import autocast

PATCH, BATCH, STEPS = 256, 4, 30
PAPER_HEIGHT, PAPER_WIDTH, PAPER_SECONDS = 720, 1280, 3.09  # K = 3, Nah et al., CVPR 2017, on a Titan X
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def plain(folder: Path) -> float:
    """Train as the code of 2017 and its port do; return how many samples were seen."""
    with torch.random.fork_rng(devices=[]):
        network = Lite(LiteConfig.tiny()).to(DEVICE)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    seen = 0
    for blurry, sharp in DataLoader(PngPairs(folder, BATCH * STEPS), batch_size=BATCH, num_workers=2):
        pair = [images.permute(0, 3, 1, 2).to(DEVICE).float() / 255 for images in (blurry.flip(2), sharp.flip(2))]
        optimizer.zero_grad()
        F.l1_loss(network(pair[0])[0], pair[1]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        seen += len(blurry)
    return seen


def ours(shards: Path, run: Path) -> float:
    shutil.rmtree(run, ignore_errors=True)
    config = TrainConfig(
        network="lite-tiny", patch=PATCH, batch=BATCH, steps=STEPS, loss="content-l1", validation_pairs=1, workers=2
    )
    train(shards, run, config)
    return BATCH * STEPS


def inference(device: torch.device, height: int, width: int) -> None:
    """Time the paper's network as we run it against eager float32, and say how far their pictures are apart."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = MSCNN(MSCNNConfig()).eval().requires_grad_(False).to(device)
        images = torch.rand(1, 3, height, width).to(device)
    with torch.inference_mode():
        plain = network(images)[0].float()
        fast = torch.compile(copy.deepcopy(network).to(memory_format=torch.channels_last))  # type: ignore[call-overload]
        dense = images.contiguous(memory_format=torch.channels_last)
        with autocast(device):
            error = (fast(dense)[0].float() - plain).square().mean().item()
        eager = "eager float32"
        found = rates(
            {
                "compiled, bfloat16, channels last": lambda: _timed(device, lambda: fast(dense), is_low=True),
                eager: lambda: _timed(device, lambda: network(images), is_low=False),
            }
        )
    show(f"mscnn, K = 3, {width}x{height} px, on {device}", found, "images", against={eager: 6.0})
    for name, rate in [*found.items(), ("Nah et al., CVPR 2017, table 4", 1 / PAPER_SECONDS)]:
        print(f"  {name:<58} {1 / rate:>10.3g} s an image")
    print(f"  PSNR of one against the other: {-10 * math.log10(max(error, 1e-12)):.1f} dB")


def _timed(device: torch.device, forward: Callable[[], object], *, is_low: bool, images: int = 10) -> float:
    with autocast(device, "auto" if is_low else "float32"):
        for _ in range(images):
            forward()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return images


def run(folder: Path) -> None:
    clip = real_or_rendered_clip(folder)
    make_dataset([clip], folder / "shards", MakeConfig(window="7", stride=21, measure=False))
    write_png(folder / "shards", folder / "png")
    found = rates(
        {
            "blursynth train, whole, start and checkpoints included": lambda: ours(folder / "shards", folder / "run"),
            "plain trainer: float32, eager, PNG": lambda: plain(folder / "png"),
        },
        rounds=2,
    )
    title = f"training lite-tiny, {BATCH} crops of {PATCH} px a step, {STEPS} steps, on {DEVICE}"
    show(
        title, found, "samples", against={"plain trainer: float32, eager, PNG": 5.0 if DEVICE.type == "cuda" else None}
    )
    lines = [json.loads(line) for line in (folder / "run" / "log.jsonl").read_text().splitlines()]
    waits = [line["data_wait"] for line in lines if "data_wait" in line]
    print(f"  data wait at the end: {waits[-1]:.1%} of the time   (aim 3%: {'met' if waits[-1] < 0.03 else 'MISSED'})")
    if DEVICE.type == "cuda":
        inference(DEVICE, PAPER_HEIGHT, PAPER_WIDTH)
