"""Two ways to train, by name: settings that fill in what was not said."""

from typing import Any, Literal

__all__ = ["PRESETS", "PresetName"]

PresetName = Literal["paper", "fast"]

PRESETS: dict[str, dict[str, Any]] = {
    # Nah et al., CVPR 2017. They are the defaults of `TrainConfig` too; a test holds the two together. docs/training.md
    # tells where the paper and the code released with it differ, and which of the two this is.
    "paper": {
        "network": "mscnn",
        "steps": 900_000,
        "patch": 256,
        "batch": 2,
        "progressive": False,
        "optimizer": "adam",
        "learning_rate": 5e-5,
        "schedule": "step",
        "clip_norm": None,
        "ema": 0.0,
        "loss": "content-l2",
        "coarse_weight": 1.0,
        "fft_weight": 0.0,
        "augmentation": "paper",
    },
    "fast": {
        "network": "lite",
        "steps": 200_000,
        "patch": 256,
        "batch": 64,
        "progressive": True,
        "optimizer": "adamw",
        "learning_rate": 1e-3,
        "schedule": "cosine",
        "clip_norm": 0.01,
        "ema": 0.999,
        "loss": "psnr",
        "coarse_weight": 1.0,
        "fft_weight": 1.0,
        "augmentation": "paper",
    },
}
