"""Training against a plain trainer: float32, eager, PNG files read whole, crops cut on the CPU, the same network."""

import json
import shutil
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

from benchmarks.loader import PngPairs, write_png
from benchmarks.side_by_side import rates, real_or_rendered_clip, show
from blursynth.make import MakeConfig, make_dataset
from blursynth.model import Lite, LiteConfig, TrainConfig, train

PATCH, BATCH, STEPS = 256, 4, 30
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
