"""The model card: what a run's checkpoints are, made from which data, how, and how good, for a person to read."""

import platform
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

import blursynth

from .checkpoint import Checkpoint
from .networks import NetworkConfig, build_network, describe_network
from .own import OwnConfig

__all__ = ["card_text", "count_macs"]

_SIDE_PX = 256


@lru_cache
def count_macs(config: NetworkConfig) -> float:
    """Return the multiplications (and additions) that restoring 256 × 256 px takes: of convolutions and matrices."""
    with torch.device("meta"), torch.inference_mode():
        network = build_network(config).eval()
        with FlopCounterMode(display=False) as counter:
            network(torch.empty(1, 3, _SIDE_PX, _SIDE_PX))
    return int(counter.get_total_flops()) / 2


def card_text(last: Checkpoint, data: Mapping[str, Any], device: str) -> str:
    """Return the card of a run in Markdown.

    Parameters
    ----------
    last
        The checkpoint to go on from; its progress tells which one is the best.
    data
        What it learned from: names and values, as they shall be read.
    device
        What it was trained on.
    """
    best, scores = last.progress["best"], last.progress["best"]["scores"]
    average = last.training["ema"]
    kind = f"running mean of the weights (EMA, decay {average})" if average else "weights"
    files = {
        "best.safetensors": f"step {best['step']}: {kind}; to deblur with",
        "last.safetensors": f"step {last.progress['step']}: weights, optimiser and what else a run needs to go on",
    }
    best_scores = {
        "validation PSNR": _decibel(scores["psnr"]),
        "of the blurry images": _decibel(scores["blurry"]),
        "images": scores["pairs"],
        "definition": scores["definition"],
    }
    network = describe_network(last.network) | {
        "parameters": f"{sum(tensor.numel() for tensor in last.weights.values()):,}",
    }
    if not isinstance(last.network, OwnConfig):  # only its author's program can build it
        network[f"multiply-adds for {_SIDE_PX} x {_SIDE_PX} px"] = f"{count_macs(last.network) / 1e9:.3g} G"
    made = {
        "begun with": _beginning(last.progress.get("init", {})),
        "samples seen": f"{last.progress['samples']:,}",
        "time": f"{last.progress['seconds'] / 60:.1f} min",
        "skipped steps": last.progress["skipped"],
        "device": device,
    }
    versions = {
        "blursynth": blursynth.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
    parts = {
        "Files": files,
        "Scores": best_scores,
        "Data": data,
        "Network": network,
        "Training": made,
        "Settings": last.training,
        "Versions": versions,
    }
    return f"# {last.training['network']}\n" + "".join(_table(*part) for part in parts.items())


def _beginning(init: Mapping[str, str]) -> str:
    return f"{init['name']}, SHA-256 {init['sha256']}" if init else "random weights, of the seed"


def _table(title: str, values: Mapping[str, Any]) -> str:
    rows = "".join(f"| {name} | {_shown(value)} |\n" for name, value in values.items())
    return f"\n## {title}\n\n| | |\n|---|---|\n{rows}"


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _decibel(psnr: float | None) -> str:
    return "none" if psnr is None else f"{psnr:.2f} dB"
