"""How long which network trains, and how: on a GPU and without one."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from blursynth.errors import SettingsError
from blursynth.progress import SILENT, Progress

from ..device import autocast, choose_device, memory_errors
from ..networks import build_network, network_config
from ..optimizers import build_optimizer
from ..presets import PRESETS
from ..settings import OnlineConfig, TrainConfig

__all__ = ["ONLINE", "SIZES", "Budget", "Size", "affordable", "samples_per_second"]

# What is drawn, with a GPU and without. Blur of 5 to 60 px makes pairs as hard as published ones: blurry images of
# 25.8 dB on average, as against 25.6 dB of GOPRO's test set. With fewer at rest, sharp photographs did not come back as
# they were. Noise and JPEG are those of good light and good cameras. Half of it is right in light, half a mean of
# codes: as cameras make it, and as published pairs are.
ONLINE = OnlineConfig(
    blur_px="5-60", still=0.16, codes=0.5, crf="srgb", highlights="0-1", noise="iso:50-400", jpeg="85-100"
)
_WARM_UP_STEPS = 3
_LEAST_SAMPLES = 300_000  # that make training a size worth while


@dataclass(frozen=True, slots=True)
class Size:
    """A network to train, and how: on a GPU, and what differs without one."""

    share: float
    gpu: Mapping[str, Any]
    cpu: Mapping[str, Any]


# Decibels leave the identity within a minute; absolute errors, with a sixth of the pairs at rest, not within six. The
# spectrum adds little to them and takes time.
_CPU = {
    "patch": 128,
    "learning_rate": 1e-3,
    "fft_weight": 0.0,
    "augmentation": "turns",
    "precision": "bfloat16",
}

_GPU = {"workers": 16}  # or as many as there are processors: drawing a shake takes one of them 5 to 10 ms

SIZES: Mapping[str, Size] = {
    "tiny": Size(
        share=1.0,
        gpu=_GPU | {"network": "lite-tiny", "batch": 128, "learning_rate": 1.4e-3},
        cpu=_CPU | {"network": "lite-tiny", "batch": 16, "workers": 1},
    ),
    "base": Size(share=3.0, gpu=_GPU | {"network": "lite", "batch": 64}, cpu=_CPU | {"network": "lite", "batch": 8}),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Budget:
    """What there is to train with.

    Parameters
    ----------
    minutes
        Of training, shared among the sizes; preparing the data comes on top.
    sizes
        Names of `SIZES`.
    device
        ``auto``, ``cpu``, ``cuda``, ``mps``.
    init
        Weights to begin with, of the one size that there is then; see `TrainConfig`.
    is_online
        Whether photographs are shaken while they train even without a GPU.
    """

    minutes: float
    sizes: tuple[str, ...] = ("tiny",)
    device: str = "auto"
    init: str | None = None
    is_online: bool = False

    def __post_init__(self) -> None:
        unknown = [name for name in self.sizes if name not in SIZES]
        if unknown or not self.sizes:
            raise SettingsError(f"size {', '.join(unknown) or 'none'}: choose from {', '.join(SIZES)}")
        if not 0 < self.minutes < math.inf:
            raise SettingsError(f"minutes {self.minutes:g}: must be more than 0")
        if self.init and len(self.sizes) > 1:
            raise SettingsError(f"init {self.init}: weights are of one size; choose it with --sizes")

    def config(self, name: str, *, has_gpu: bool) -> TrainConfig:
        """Return the settings of the run that trains one size."""
        size = SIZES[name]
        minutes = self.minutes * size.share / sum(SIZES[each].share for each in self.sizes)
        chosen = dict(size.gpu if has_gpu else size.cpu)
        ours = {"minutes": minutes, "online": ONLINE, "device": self.device, "init": self.init}
        return TrainConfig(**PRESETS["fast"] | chosen | ours)


def affordable(budget: Budget, progress: Progress = SILENT) -> Budget:
    """Return the budget without sizes that would see too few crops in their minutes, unless none would be left."""
    sizes = []
    for name in budget.sizes:
        config = budget.config(name, has_gpu=True)
        with memory_errors("leave the larger of --sizes out"):
            rate = samples_per_second(config)
        total = rate * 60 * (config.minutes or 0)
        progress.note(f"{name}: {rate:.0f} crops of {config.patch} px a second, {total:,.0f} in {config.minutes:g} min")
        if total >= _LEAST_SAMPLES:
            sizes.append(name)
    return replace(budget, sizes=tuple(sizes) or budget.sizes[:1])


def samples_per_second(config: TrainConfig, seconds: float = 5.0) -> float:
    """Measure how many crops a second a network learns from, forward, backward and step, without reading any."""
    device = choose_device(config.device)
    with torch.random.fork_rng(devices=[]):
        network = build_network(network_config(config.network)).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = build_optimizer(network, config.optimizer, config.learning_rate)
    images = torch.full((config.batch, 3, config.patch, config.patch), 0.5, device=device)
    steps = -_WARM_UP_STEPS
    begin = time.perf_counter()
    while steps < 1 or time.perf_counter() < begin + seconds:
        if steps == 0:
            begin = time.perf_counter()
        with autocast(device, config.precision):
            restored = network(images)
        torch.stack([image.float().abs().mean() for image in restored]).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        steps += 1
        if device.type == "cuda":
            torch.cuda.synchronize()
    return config.batch * steps / (time.perf_counter() - begin)
