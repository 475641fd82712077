"""Training: the loop, to be read from top to bottom.

A run is a folder: ``last.safetensors`` (everything that is needed to go on), ``best.safetensors`` (the weights with the
best validation score) and ``log.jsonl``.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blursynth.errors import BlursynthError, CheckpointError, SettingsError
from blursynth.files import append_line, locked, make_directory, newest_first, printable, sweep
from blursynth.progress import SILENT, Progress

from .augment import augment, to_unit
from .checkpoint import Checkpoint, load_checkpoint, restore_network, save_checkpoint
from .clock import Clock, stopping
from .data import Batch, PairSet, batches, centre_crops, read_pairs, split_pairs
from .device import autocast, choose_device, memory_errors
from .losses import multiscale_content_loss, psnr_loss
from .metrics import psnr
from .networks import Network, build_network, network_config, restore_images
from .settings import FREE_ON_RESUME, Loss, TrainConfig, fraction_done, learning_rate

__all__ = ["TrainConfig", "TrainResult", "newest_run", "train"]

_LAST, _BEST, _LOG = "last.safetensors", "best.safetensors", "log.jsonl"
_PROGRESS = ("data_sha256", "step", "seconds", "best_psnr", "skipped")
_LOG_EVERY_SECONDS = 10.0
_MAX_SKIPPED_IN_A_ROW = 10
_PSNR_OF_EQUAL_IMAGES = 100.0  # not infinite, or one of them would hide what becomes of the others
SCORE_DEFINITION = "mean over images of PSNR in dB (100 at most), RGB, uint8 rounded, peak 255, centre crops"


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What became of a run: the checkpoints, the steps done in all, the best validation score and what it began at."""

    run: Path
    steps: int
    best_psnr: float | None
    blurry_psnr: float | None
    stopped_by: int | None

    @property
    def best(self) -> Path:
        """The checkpoint to deblur with."""
        return self.run / _BEST

    @property
    def last(self) -> Path:
        """The checkpoint to go on from."""
        return self.run / _LAST


@dataclass(slots=True)
class _Run:
    """What changes while training."""

    network: Network
    optimizer: torch.optim.Adam
    data_sha256: str
    step: int = 0
    seconds: float = 0.0
    best_psnr: float | None = None
    skipped: int = 0
    skipped_in_a_row: int = 0
    losses: list[float] = field(default_factory=list)


def train(
    directory: Path, run: Path, config: TrainConfig | None = None, *, resume: bool = False, progress: Progress = SILENT
) -> TrainResult:
    """Train a network on the pairs of a folder.

    Parameters
    ----------
    directory
        Shards.
    run
        Folder of the run; made if it is not there.
    resume
        Go on from ``last.safetensors`` in ``run``, if it is there; on the CPU with the weights that an unbroken run
        would have, to the bit, if only ``steps`` bounds it.

    Returns
    -------
    What was reached. Interrupted by Ctrl-C or SIGTERM, it saves a checkpoint first and tells the signal.

    Raises
    ------
    SettingsError
        If the run exists and ``resume`` is false, or its settings differ in what it learns.
    ShardError
        If the folder holds no pairs, or a shard is not what the manifest says.
    MachineError
        If memory runs out, the disk says no or the device is not there.
    """
    config = config or TrainConfig()
    device = choose_device(config.device)
    training, validation = split_pairs(read_pairs(directory), config.validation_fraction)
    make_directory(run)
    with (
        locked(run, "another blursynth train"),
        memory_errors(f"choose --batch or --patch below {config.batch}, {config.patch}, or fewer --workers"),
    ):
        sweep(run)
        state = _begin(run, config, device, data_sha256=training.sha256, resume=resume)
        if resume and not state.step:
            progress.note(f"{printable(run)}: nothing to resume there, a new run begins")
        examples = centre_crops(validation, patch=config.validation_patch, count=config.validation_pairs)
        blurry_psnr = _mean([_score(blurry, sharp) for blurry, sharp in examples])
        _announce(progress, config, device, training, validation)
        with stopping() as stopped_by:
            _loop(state, config, device, training, examples, run, progress, stopped_by)
        return TrainResult(run, state.step, state.best_psnr, blurry_psnr, stopped_by())


def _announce(
    progress: Progress, config: TrainConfig, device: torch.device, training: PairSet, validation: PairSet
) -> None:
    shared = set(training.sources) & set(validation.sources)
    where = " of the same clip: an optimistic score" if shared else f" of {len(validation.sources)} other clip(s)"
    progress.note(
        f"{config.network} on {device}: {len(training)} pairs train, {len(validation)} validate"
        + (where if len(validation) else "; no validation, the last weights will count as the best")
    )


def _begin(run: Path, config: TrainConfig, device: torch.device, *, data_sha256: str, resume: bool) -> _Run:
    path = run / _LAST
    if path.exists() and not resume:
        raise SettingsError(f"{printable(run)}: holds a run already; add --resume to go on, or choose another -o")
    if path.exists():
        state = _resumed(path, config, device)
        if state.data_sha256 != data_sha256:
            raise SettingsError(f"{printable(run)}: was begun with other pairs; train them in a new run")
        return state
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = build_network(network_config(config.network))
    network = _placed(network, device)
    return _Run(network, _optimizer(network, config), data_sha256)


def _placed(network: Network, device: torch.device) -> Network:
    return network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _optimizer(network: Network, config: TrainConfig) -> torch.optim.Adam:
    is_fused = next(network.parameters()).device.type == "cuda"
    return torch.optim.Adam(network.parameters(), lr=config.learning_rate, fused=is_fused)


def _resumed(path: Path, config: TrainConfig, device: torch.device) -> _Run:
    checkpoint = load_checkpoint(path)
    for name, value in asdict(config).items():
        before = checkpoint.training.get(name)
        if name not in FREE_ON_RESUME and before != value:
            raise SettingsError(f"{printable(path.parent)}: was begun with {name} {before}, not {value}")
    network = _placed(restore_network(checkpoint), device)
    optimizer = _optimizer(network, config)
    names = [name for name, _ in network.named_parameters()]
    state = optimizer.state_dict()
    try:
        state["state"] = {
            index: {key: checkpoint.optimizer[f"{name}.{key}"] for key in ("step", "exp_avg", "exp_avg_sq")}
            for index, name in enumerate(names)
            if f"{name}.step" in checkpoint.optimizer
        }
        kept = {key: checkpoint.progress[key] for key in _PROGRESS}
    except KeyError as error:
        raise CheckpointError(f"{printable(path)}: {error} is missing; no run can go on from it") from error
    optimizer.load_state_dict(state)
    return _Run(network, optimizer, **kept)


def _loop(
    state: _Run,
    config: TrainConfig,
    device: torch.device,
    training: PairSet,
    examples: Sequence[tuple[NDArray[np.uint8], NDArray[np.uint8]]],
    run: Path,
    progress: Progress,
    stopped_by: Callable[[], int | None],
) -> None:
    crops = batches(
        training,
        patch=config.patch,
        batch=config.batch,
        seed=config.seed,
        steps=range(state.step, config.steps),
        workers=config.workers,
        is_pinned=device.type == "cuda",
        is_fresh=config.light == "fresh",
    )
    clock = Clock(state.seconds)
    unit, total = (
        ("min", config.minutes - state.seconds / 60) if config.minutes else ("steps", float(config.steps - state.step))
    )
    with closing(crops) as stream, progress.task("train", total, unit) as advance:
        while state.step < config.steps and not stopped_by() and not _time_is_up(config, clock):
            with clock.waiting():
                batch = _next_unless_stopped(stream, stopped_by)
            if batch is None:
                break
            batch = augment(_on_device(batch, device), seed=config.seed)
            for group in state.optimizer.param_groups:
                group["lr"] = learning_rate(config, fraction_done(config, state.step, clock.seconds))
            _update(state, config, batch, device)
            state.step += 1
            state.seconds = clock.seconds
            advance(clock.lap() / 60 if config.minutes else 1.0, _remark(state, clock))
            if clock.is_time_to("log", _LOG_EVERY_SECONDS):
                _log(run, state, clock)
            if clock.is_time_to("save", 60 * config.save_minutes):
                _validate_and_save(state, config, device, examples, run, progress)
    _validate_and_save(state, config, device, examples, run, progress)


def _next_unless_stopped(stream: Iterator[Batch], stopped_by: Callable[[], int | None]) -> Batch | None:
    try:
        return next(stream)
    except Exception:
        if stopped_by():  # the processes that read may have got the signal too, and be gone
            return None
        raise


def _on_device(batch: Batch, device: torch.device) -> Batch:
    blurry, sharp = (images.to(device, non_blocking=True) for images in (batch.blurry, batch.sharp))
    return Batch(blurry, sharp, batch.first_sample)


def _update(state: _Run, config: TrainConfig, batch: Batch, device: torch.device) -> None:
    """Do one step; a gradient that is not finite is thrown away and counted."""
    network, optimizer = state.network, state.optimizer
    network.train()
    optimizer.zero_grad(set_to_none=True)
    with autocast(device):
        restored = network(to_unit(batch.blurry))
    loss = _loss(config.loss, restored, network.pyramid(to_unit(batch.sharp)))
    loss.backward()  # type: ignore[no-untyped-call]
    norm = torch.nn.utils.clip_grad_norm_(network.parameters(), config.clip_norm or math.inf)
    if math.isfinite(norm.item()):
        optimizer.step()
        state.losses.append(loss.item())
        state.skipped_in_a_row = 0
        return
    state.skipped += 1
    state.skipped_in_a_row += 1
    if state.skipped_in_a_row > _MAX_SKIPPED_IN_A_ROW:
        raise BlursynthError(
            f"the loss is not finite since step {state.step - _MAX_SKIPPED_IN_A_ROW}; the last checkpoint is kept; "
            "lower --learning-rate"
        )


def _loss(name: Loss, restored: Sequence[Tensor], sharp: Sequence[Tensor]) -> Tensor:
    match name:
        case "content-l2":
            return multiscale_content_loss(restored, sharp)
        case "content-l1":
            return multiscale_content_loss(restored, sharp, norm="l1")
        case "psnr":
            finest = psnr_loss(restored[0], sharp[0])
            return finest + multiscale_content_loss(restored[1:], sharp[1:], norm="l1") if restored[1:] else finest


def _time_is_up(config: TrainConfig, clock: Clock) -> bool:
    return config.minutes is not None and clock.seconds >= 60 * config.minutes


def _validate_and_save(
    state: _Run,
    config: TrainConfig,
    device: torch.device,
    examples: Sequence[tuple[NDArray[np.uint8], NDArray[np.uint8]]],
    run: Path,
    progress: Progress,
) -> None:
    score = _validate(state.network, device, examples)
    is_best = score is None or state.best_psnr is None or score > state.best_psnr
    if score is not None and is_best:
        state.best_psnr = score
    scores = {"psnr": score, "pairs": len(examples), "definition": SCORE_DEFINITION}
    checkpoint = Checkpoint(
        network=state.network.config,
        weights=state.network.state_dict(),
        training=asdict(config),
        progress={key: getattr(state, key) for key in _PROGRESS},
        scores=scores,
        optimizer=_optimizer_tensors(state),
    )
    if is_best:  # first: a run killed between the two goes on from the older last one, and finds a best one there
        values = {f.name: getattr(checkpoint, f.name) for f in fields(checkpoint) if f.name != "optimizer"}
        save_checkpoint(run / _BEST, Checkpoint(**values))
    save_checkpoint(run / _LAST, checkpoint)
    append_line(run / _LOG, json.dumps({"step": state.step, "seconds": round(state.seconds, 1), "scores": scores}))
    if score is not None:
        progress.note(f"step {state.step}: validation {score:.2f} dB{', the best so far' if is_best else ''}")


@torch.inference_mode()
def _validate(
    network: Network, device: torch.device, examples: Sequence[tuple[NDArray[np.uint8], NDArray[np.uint8]]]
) -> float | None:
    network.eval()
    scores = []
    for blurry, sharp in examples:
        images = to_unit(torch.from_numpy(blurry).to(device)).permute(2, 0, 1)[None]
        with autocast(device):
            restored = restore_images(network, images)
        codes = restored[0].permute(1, 2, 0).mul(255).round().to(torch.uint8).cpu().numpy()
        scores.append(_score(codes, sharp))
    return _mean(scores)


def _score(restored: NDArray[np.uint8], sharp: NDArray[np.uint8]) -> float:
    return min(_PSNR_OF_EQUAL_IMAGES, psnr(restored, sharp))


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _optimizer_tensors(state: _Run) -> dict[str, Tensor]:
    tensors = {}
    for name, parameter in state.network.named_parameters():
        for key, value in state.optimizer.state[parameter].items():
            tensors[f"{name}.{key}"] = value
    return tensors


def _remark(state: _Run, clock: Clock) -> str:
    best = f"  best {state.best_psnr:.2f} dB" if state.best_psnr is not None else ""
    loss = f"loss {np.mean(state.losses[-50:]):.4g}  " if state.losses else ""
    return f"step {state.step}  {loss}data wait {clock.waited_fraction:.0%}{best}"


def _log(run: Path, state: _Run, clock: Clock) -> None:
    values = {
        "step": state.step,
        "seconds": round(state.seconds, 1),
        "loss": float(np.mean(state.losses)) if state.losses else None,
        "learning_rate": state.optimizer.param_groups[0]["lr"],
        "data_wait": round(clock.waited_fraction, 3),
        "skipped": state.skipped,
    }
    state.losses.clear()
    append_line(run / _LOG, json.dumps(values))


def newest_run(runs: Path) -> Path:
    """Return the run that was saved last, to resume it.

    Raises
    ------
    CheckpointError
        If there is none.
    """
    found = newest_first(list(runs.glob(f"*/{_LAST}"))) if runs.is_dir() else []
    if not found:
        raise CheckpointError(f"no run to resume in {printable(runs)}/; name one with -o")
    return found[0].parent
