"""The settings of a training run, and the learning rate that follows from them."""

import math
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import torch

from blursynth.crf import response_curve
from blursynth.errors import SettingsError
from blursynth.radiometry import LightChain
from blursynth.rendition import output_curves
from blursynth.shake import ShakeRule

from .compiled import Compile
from .device import Precision
from .networks import NetworkConfig, NetworkName, build_network, network_config
from .optimizers import OptimizerName
from .stages import Stage, plan_stages

__all__ = [
    "FREE_ON_RESUME",
    "Augmentation",
    "Cache",
    "Loss",
    "OnlineConfig",
    "TrainConfig",
    "fraction_done",
    "learning_rate",
    "stages_of",
]

Augmentation = Literal["paper", "turns"]
Cache = Literal["auto", "off", "host", "device"]
Light = Literal["fresh", "stored"]
Loss = Literal["content-l2", "content-l1", "charbonnier", "psnr"]
Schedule = Literal["step", "cosine"]
# What may differ when a run is resumed: where it stops and how it runs, not what it learns.
FREE_ON_RESUME = {
    "init",
    "steps",
    "minutes",
    "save_minutes",
    "workers",
    "device",
    "validation_pairs",
    "accumulate",
    "precision",
    "compile",
    "cache",
}
_WORDS = {
    "optimizer": OptimizerName,
    "schedule": Schedule,
    "loss": Loss,
    "augmentation": Augmentation,
    "light": Light,
    "precision": Precision,
    "compile": Compile,
    "cache": Cache,
}
_LEAST = {
    "steps": 1,
    "batch": 1,
    "patch": 16,
    "accumulate": 1,
    "workers": 0,
    "validation_pairs": 1,
    "validation_patch": 16,
    "seed": 0,
}
_POSITIVE = ("minutes", "learning_rate", "clip_norm", "save_minutes")
_DISCRIMINATOR_MULTIPLE = 256
_WARM_UP = 0.02  # of a cosine schedule
_COSINE_FLOOR = 0.01


@dataclass(frozen=True, slots=True)
class OnlineConfig:
    """What is drawn for each sample when photographs train; see `blursynth.make.stills.ShakeConfig`.

    ``still`` is the share of samples whose camera does not move, ``crf`` the response curve of the photographs.

    ``codes`` is the share of batches that are plain means of codes, without highlights, noise and JPEG, as most
    published pairs are (GOPRO's track ``blur``): light that is averaged is brighter than the mean of its codes, and a
    network that saw nothing else makes such pictures darker.
    """

    blur_px: str = "2-40"
    trajectory: str = "mixed"
    exposure_seconds: str = "0.02-0.5"
    readout: str = "0-0.5"
    layers: str = "1-3"
    still: float = 0.1
    codes: float = 0.0
    crf: str = "srgb"
    output_crf: str = "same"
    highlights: str = "0.25-1.75"
    noise: str = "iso:100-1600"
    jpeg: str = "60-95"

    def __post_init__(self) -> None:
        ShakeRule(self.blur_px, self.trajectory, self.exposure_seconds, self.readout, self.layers)
        chain = LightChain(self.highlights, self.noise, self.jpeg)
        if chain.noise == "match":
            raise SettingsError("noise 'match' compares frames of a clip; for photographs choose iso:A-B")
        for name in ("highlights", "noise", "jpeg"):
            object.__setattr__(self, name, getattr(chain, name))
        response_curve(self.crf)
        output_curves(self.output_crf)
        for name in ("still", "codes"):
            if not 0 <= getattr(self, name) <= 1:
                raise SettingsError(f"{name} {getattr(self, name)}: must be from 0 to 1")

    def moving(self) -> "OnlineConfig":
        """Return the same with a camera that always moves."""
        return replace(self, still=0.0)


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """What decides a run; stored in its checkpoints. The defaults are those of Nah et al., CVPR 2017.

    Parameters
    ----------
    network
        ``mscnn`` (the paper's), ``mscnn-2`` or ``mscnn-1`` (as deep, fewer scales), ``lite`` or ``lite-tiny``.
    init
        Weights to begin with: a name among those that come with blursynth, or a checkpoint of the same network. Without
        it the seed decides them. A resumed run has its own.
    steps, minutes
        The run ends with whichever comes first; ``minutes`` counts the time of resumed runs together.
    patch, batch
        Side of the crops in px, and crops in a step, of all processes together.
    progressive
        Begin with crops of 3/4 the side and end with 3/2, the batch scaled so that a step keeps its pixels.
    accumulate
        Work the batch out in so many parts: less memory, the same step.
    optimizer
        ``adam`` as in the paper, or ``adamw`` with betas 0.9 and 0.9, decay 1e-3 of all but vectors.
    learning_rate
        Of the optimiser, at its highest.
    schedule
        ``step``: a tenth after a third of the run, as in the paper. ``cosine``: warm-up, then down to a hundredth.
    clip_norm
        Gradients longer than this are shortened to it; None leaves them.
    ema
        Decay of the running mean of the weights, which is then what is scored and saved as the best; 0 keeps none.
    loss
        ``content-l2``: multi-scale content loss, eq. 4. ``content-l1``: the same with absolute errors;
        ``charbonnier``: with those, rounded off below 1e-3. ``psnr``: the negative PSNR of the finest scale in dB, with
        the coarser ones by ``content-l1``.
    coarse_weight
        Weight of each scale but the finest.
    fft_weight
        Weight of the mean absolute error of the finest scale's orthonormal spectrum, which is about as large as the
        mean absolute error; 0 leaves it out.
    adversarial
        Train against a discriminator too, eq. 5 and 6, lambda 1e-4.
    augmentation
        ``turns``: quarter turns, mirroring, permuted channels. ``paper``: saturation, noise on the blurry crop and a
        tenth of sharp pairs too.
    light
        ``fresh``: pairs that were made with ``--store linear`` get curve, highlights, noise and JPEG drawn anew, as
        they were made, for each sample. ``stored``: as they lie in the shard.
    online
        What is drawn when photographs train.
    validation_fraction, validation_pairs, validation_patch
        How much is set aside, how many pairs are scored each time, and the side of their centre crops in px.
    save_minutes
        Validate and write checkpoints this often.
    seed
        Of weights, crops and augmentation.
    workers
        Processes that read shards.
    device
        ``auto``, ``cpu``, ``cuda``, ``mps``.
    precision
        ``bfloat16``: where that is safe; losses, spectra, weights and optimiser stay float32. ``auto``: so on CUDA, and
        ``float32`` elsewhere.
    compile
        Call the network through torch.compile, each size of crops compiled before the clock runs. ``auto``: on CUDA.
    cache
        Hold the pairs that train in memory: of the ``device``, or of the ``host``, which pays where shards are
        compressed. ``auto``: of a GPU, if they take at most 60 % of what is free there. The samples stay the same.
    """

    network: NetworkName = "mscnn"
    init: str | None = None
    steps: int = 900_000
    minutes: float | None = None
    patch: int = 256
    batch: int = 2
    progressive: bool = False
    accumulate: int = 1
    optimizer: OptimizerName = "adam"
    learning_rate: float = 5e-5
    schedule: Schedule = "step"
    clip_norm: float | None = None
    ema: float = 0.0
    loss: Loss = "content-l2"
    coarse_weight: float = 1.0
    fft_weight: float = 0.0
    adversarial: bool = False
    augmentation: Augmentation = "paper"
    light: Light = "fresh"
    online: OnlineConfig = field(default_factory=OnlineConfig)
    validation_fraction: float = 0.1
    validation_pairs: int = 16
    validation_patch: int = 256
    save_minutes: float = 5.0
    seed: int = 0
    workers: int = 2
    device: str = "auto"
    precision: Precision = "auto"
    compile: Compile = "auto"
    cache: Cache = "auto"

    def __post_init__(self) -> None:
        network = network_config(self.network)
        for name, words in _WORDS.items():
            known = get_args(words)
            if getattr(self, name) not in known:
                raise SettingsError(f"{name} {getattr(self, name)!r} is unknown; choose one of {', '.join(known)}")
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                raise SettingsError(f"{name} {getattr(self, name)}: must be {least} or more")
        if self.init == "":
            raise SettingsError("init: a name or a file of weights; leave it out to begin with random ones")
        self._check_quantities()
        self._check_patches(_size_multiple(network))

    def _check_quantities(self) -> None:
        if not 0 <= self.validation_fraction < 1:
            raise SettingsError(f"validation_fraction {self.validation_fraction}: must be 0 or more and less than 1")
        if not 0 <= self.ema < 1:
            raise SettingsError(f"ema {self.ema}: must be 0 or more and less than 1")
        for name in _POSITIVE:
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise SettingsError(f"{name} {value}: must be more than 0")
        for name in ("coarse_weight", "fft_weight"):
            value = getattr(self, name)
            if not (value >= 0 and math.isfinite(value)):
                raise SettingsError(f"{name} {value}: must be 0 or more")
        if self.accumulate > self.batch:
            raise SettingsError(f"accumulate {self.accumulate}: a batch of {self.batch} has no more parts than crops")

    def _check_patches(self, multiple: int) -> None:
        for stage in stages_of(self):
            if stage.patch % multiple:
                part = f" (progressive, from patch {self.patch})" if self.progressive else ""
                unit = 4 * multiple if self.progressive else multiple  # three quarters of it are a multiple too
                raise SettingsError(
                    f"patch {stage.patch}{part}: must be a multiple of {multiple} for {self.network}; "
                    f"choose --patch {max(1, round(self.patch / unit)) * unit}"
                )
            if self.adversarial and stage.patch % _DISCRIMINATOR_MULTIPLE:
                raise SettingsError(
                    f"patch {stage.patch}: the discriminator of --adversarial takes multiples of "
                    f"{_DISCRIMINATOR_MULTIPLE}; choose --patch 256 without --progressive"
                )


def stages_of(config: TrainConfig) -> tuple[Stage, ...]:
    """Return what is read when: one stage, or three of a progressive run."""
    return plan_stages(config.patch, config.batch, config.seed, is_progressive=config.progressive)


def _size_multiple(config: NetworkConfig) -> int:
    """Return what the sides of images must be multiples of, without building weights."""
    with torch.device("meta"):
        return build_network(config).size_multiple


def fraction_done(config: TrainConfig, step: int, seconds: float) -> float:
    """Return how much of a run is done, by steps or by time, in [0, 1]."""
    by_time = seconds / (60 * config.minutes) if config.minutes else 0.0
    return min(1.0, max(step / config.steps, by_time))


def learning_rate(config: TrainConfig, fraction: float) -> float:
    """Return the learning rate at a fraction of the run."""
    if config.schedule == "step":
        return config.learning_rate * (1.0 if fraction < 1 / 3 else 0.1)
    if fraction < _WARM_UP:
        return config.learning_rate * (fraction + 1e-3) / (_WARM_UP + 1e-3)
    wave = 0.5 * (1 + math.cos(math.pi * (fraction - _WARM_UP) / (1 - _WARM_UP)))
    return config.learning_rate * (_COSINE_FLOOR + (1 - _COSINE_FLOOR) * wave)
