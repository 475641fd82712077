"""From photographs to weights that `load_bundled` finds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from blursynth.errors import SettingsError
from blursynth.files import printable
from blursynth.progress import SILENT, Progress

from ..bundled import WEIGHTS, bundle
from ..checkpoint import load_checkpoint
from ..device import choose_device
from ..metrics import psnr, ssim
from ..online.photos import read_pixels
from ..restore import Deblurrer
from ..settings import TrainConfig
from ..train import TrainResult, train
from .budget import Budget, affordable
from .photographs import prepare_photographs, shake_once

__all__ = ["Made", "make_weights", "score_pairs"]


@dataclass(frozen=True, slots=True)
class Made:
    """Weights that were made: their name, file, and scores on pairs that had no part in it."""

    name: str
    path: Path
    scores: Mapping[str, Any]


def make_weights(
    photos: Sequence[str],
    work: Path,
    budget: Budget,
    *,
    exclude: Sequence[str] = (),
    pairs: Path | None = None,
    weights: Path = WEIGHTS,
    progress: Progress = SILENT,
) -> list[Made]:
    """Train the networks that come with blursynth.

    Parameters
    ----------
    photos
        Files, folders, globs, or one pack.
    work
        Folder for what lies between: photographs, pairs, runs.
    exclude
        Patterns of names of photographs to leave out.
    pairs
        Folder with ``blur/`` and ``sharp/``, to score with; never trained on.
    weights
        Where the files for `load_bundled` go.

    Raises
    ------
    SettingsError, PhotoError, MachineError
        As what it is made of.
    """
    has_gpu = choose_device(budget.device).type == "cuda"
    prepared = prepare_photographs(photos, work / "photographs", exclude=exclude, progress=progress)
    is_online = has_gpu or budget.is_online
    data = work / "photographs" if is_online else shake_once(prepared, work / "pairs", progress)
    if has_gpu:
        budget = affordable(budget, progress)
    made = []
    for name in budget.sizes:
        config = budget.config(name, has_gpu=has_gpu)
        result = train(data, work / name, config, resume=True, progress=progress)
        if result.stopped_by:
            break
        made.append(_finish(name, result, config, pairs, weights))
    return made


def _finish(name: str, result: TrainResult, config: TrainConfig, pairs: Path | None, weights: Path) -> Made:
    checkpoint = load_checkpoint(result.best)
    scores = score_pairs(result.best, pairs, config.device) if pairs else {}
    card = (result.run / "card.md").read_text(encoding="utf-8")
    if scores:
        rows = "".join(f"| {key} | {value} |\n" for key, value in scores.items())
        card += f"\n## Pairs that had no part in it\n\n| | |\n|---|---|\n{rows}"
    return Made(name, bundle(name, checkpoint, card, weights), scores)


def score_pairs(checkpoint: Path, pairs: Path, device: str = "auto") -> dict[str, Any]:
    """Return mean PSNR and, with numba, SSIM (see `metrics`) of the images of ``blur/`` and of their restored ones."""
    names = sorted(path.name for path in (pairs / "blur").iterdir()) if (pairs / "blur").is_dir() else []
    if not names:
        raise SettingsError(f"{printable(pairs)}: no pictures in blur/")
    deblurrer = Deblurrer.load(checkpoint, device=device)
    metrics = (psnr, ssim) if find_spec("numba") else (psnr,)
    rows = []
    for name in names:
        blurry, sharp = (read_pixels((pairs / side / name).read_bytes(), name) for side in ("blur", "sharp"))
        restored = deblurrer(blurry)
        rows.append([metric(image, sharp) for metric in metrics for image in (blurry, restored)])
    means = np.mean(rows, axis=0)
    scores = {
        "images": len(rows),
        "PSNR, RGB, uint8, mean over images": f"{means[0]:.2f} dB blurry, {means[1]:.2f} dB restored",
    }
    if len(metrics) > 1:
        scores["SSIM, RGB, Gaussian 11x11, sigma 1.5"] = f"{means[2]:.4f} blurry, {means[3]:.4f} restored"
    return scores | {"least gain of an image": f"{min(row[1] - row[0] for row in rows):+.2f} dB"}
