"""Training: the loop, to be read from top to bottom.

A run is a folder: ``last.safetensors`` (everything that is needed to go on), ``best.safetensors`` (the weights with the
best validation score), ``card.md`` (what they are), ``log.jsonl`` and ``samples/``, pictures of how it went.
"""

import math
from collections.abc import Sequence
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from blursynth.errors import CheckpointError, MachineError, SettingsError
from blursynth.files import make_directory, newest_first, printable, write_bytes
from blursynth.locks import locked
from blursynth.progress import SILENT, Progress
from blursynth.sweeping import swept

from .allocation import reused_memory
from .bundled import initial_weights
from .card import card_text
from .checkpoint import Checkpoint, save_checkpoint
from .clock import Clock, Signals, listening
from .compiled import is_compiled
from .device import choose_device, computes_bfloat16, fastest_convolutions, memory_errors
from .distributed import World, joined
from .feed import Feed
from .gradients import Method, compiled_method, gradients
from .guards import Guard
from .journal import SAMPLES, Journal
from .online.batch import Batch
from .settings import TrainConfig, fraction_done, learning_rate, stages_of
from .sources import Source, Sources, hold_in_memory, open_sources
from .stages import stage_at
from .state import RunState, begin_run, buffers_kept, resume_run
from .validation import SCORE_DEFINITION, Example, mean_score, score, validate

__all__ = ["TrainConfig", "TrainResult", "newest_run", "train"]

_LAST, _BEST, _CARD = "last.safetensors", "best.safetensors", "card.md"
_LOG_EVERY_SECONDS = 10.0


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


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """Where a run happens, and what does not change in it."""

    run: Path
    config: TrainConfig
    device: torch.device
    method: Method
    world: World
    training: Source
    examples: Sequence[Example]
    blurry_psnr: float | None
    progress: Progress


def train(
    directory: Path,
    run: Path,
    config: TrainConfig | None = None,
    *,
    resume: bool = False,
    progress: Progress = SILENT,
    network: nn.Module | None = None,
) -> TrainResult:
    """Train a network on the pairs of a folder.

    Several processes, started by ``torchrun``, train one network together: see `blursynth.model.distributed`.

    Parameters
    ----------
    directory
        Folder of shards, or a folder or pack of photographs, which are shaken while they train.
    run
        Folder of the run; made if it is not there.
    resume
        Go on from ``last.safetensors`` in ``run``, if it is there; on the CPU with the weights that an unbroken run
        would have, to the bit, if only ``steps`` bounds it.
    network
        A network of your own in place of ``config.network``, trained where it stands: a module with float32 weights
        that takes blurry crops, (N, 3, H, W) float32 in [0, 1], and returns a list of restored ones, finest first, not
        clipped; with ``size_multiple``, an int that H and W have to be multiples of, and ``pyramid(sharp)``, which
        returns what that list is compared with, as many tensors of the same sizes (``[sharp]`` for one scale). Its
        weights lie in the checkpoints as ``weights.NAME``, for ``safetensors.torch.load_file``; only your program can
        build it, so neither `Deblurrer` nor ``resume`` takes them.

    Returns
    -------
    What was reached. Interrupted by Ctrl-C or SIGTERM, it saves a checkpoint first and tells the signal.

    Raises
    ------
    SettingsError
        If the run exists and ``resume`` is false, its settings differ in what it learns, or ``config.init`` names
        weights of another network.
    CheckpointError
        If a checkpoint to go on from, or to begin with, is not there or cannot be used.
    ShardError
        If the folder holds no pairs, or a shard is not what the manifest says.
    BlursynthError
        If the loss stays not finite.
    MachineError
        If memory runs out, the disk says no, the device is not there or another process of the run has ended.
    """
    config = config or TrainConfig()
    with joined() as world, reused_memory():
        run = Path(world.text_of_first(str(run)))
        progress = progress if world.is_first else SILENT
        return _train(directory, run, config, world, resume=resume, progress=progress, network=network)


def _train(
    directory: Path,
    run: Path,
    config: TrainConfig,
    world: World,
    *,
    resume: bool,
    progress: Progress,
    network: nn.Module | None,
) -> TrainResult:
    device = choose_device(config.device)
    with memory_errors("train on fewer or smaller photographs, or with --device cpu"):
        sources = open_sources(directory, config, device)
    training, examples = sources.training, sources.examples
    make_directory(run)
    with (
        locked(run, "another blursynth train") if world.is_first else nullcontext(),
        swept([run, run / SAMPLES] if world.is_first else []),
        memory_errors(f"choose --batch or --patch below {config.batch}, {config.patch}, or fewer --workers"),
        fastest_convolutions(device),
    ):
        state = _begin(run, config, device, data_sha256=training.sha256, resume=resume, own=network)
        _begin_together(state, world)
        if resume and not state.step:
            progress.note(f"{printable(run)}: nothing to resume there, a new run begins")
        blurry_psnr = mean_score([score(blurry, sharp) for blurry, sharp in examples])
        _announce(progress, state.own.name if state.own else config.network, config, device, world, sources)
        training = hold_in_memory(training, config, device, progress.note)
        method = _method(state, config, device, world, progress)
        place = _Place(run, config, device, method, world, training, examples, blurry_psnr, progress)
        with listening() as signals:
            _loop(state, place, signals)
        return TrainResult(run, state.step, state.best_psnr, blurry_psnr, signals.stopped_by)


def _announce(
    progress: Progress,
    name: str,
    config: TrainConfig,
    device: torch.device,
    world: World,
    sources: Sources,
) -> None:
    shared = set(sources.training.sources) & set(sources.validation)
    where = " of the same clip: an optimistic score" if shared else f" of {len(sources.validation)} other source(s)"
    together = f" × {world.size}" if world.size > 1 else ""
    progress.note(
        f"{name} on {device}{together}: {len(sources.training)} {sources.unit} train, "
        f"{len(sources.examples)} crop(s) validate"
        + (where if sources.examples else "; no validation, the last weights will count as the best")
    )
    if config.precision == "bfloat16" and not computes_bfloat16(device):
        progress.note(f"{device} has no units for bfloat16: --precision float32 is faster here")


def _method(state: RunState, config: TrainConfig, device: torch.device, world: World, progress: Progress) -> Method:
    """Compile before the clock runs, for the sizes that are still to come."""
    method = Method(config, device, state.network, progress.note)
    if not is_compiled(config.compile, device):
        return method
    now = stage_at(stages_of(config), fraction_done(config, state.step, state.seconds))
    to_come = [stage for stage in stages_of(config) if stage.begin >= now.begin]
    return compiled_method(state, method, [(stage.batch // world.size, stage.patch) for stage in to_come])


def _begin(
    run: Path,
    config: TrainConfig,
    device: torch.device,
    *,
    data_sha256: str,
    resume: bool,
    own: nn.Module | None,
) -> RunState:
    path = run / _LAST
    if path.exists() and not resume:
        raise SettingsError(f"{printable(run)}: holds a run already; add --resume to go on, or choose another -o")
    if config.init and own is not None:
        raise SettingsError("init: is of no use to a network of your own; load its weights before")
    if path.exists() and own is not None:
        raise SettingsError(f"{printable(run)}: a run with a network of your own cannot go on; choose another folder")
    if path.exists():
        state = resume_run(path, config, device, data_sha256)
    else:
        initial = initial_weights(config.init) if config.init else None
        state = begin_run(config, device, data_sha256, own=own, initial=initial)
    state.parts = config.accumulate
    return state


def _begin_together(state: RunState, world: World) -> None:
    """See to it that all processes begin with the same; a network of one's own may have other weights in each."""
    found = f"step {state.step} of pairs {state.data_sha256[:16]}"
    first = world.text_of_first(found)
    if found != first:
        raise MachineError(
            f"process {world.rank} found {found}, the first one {first}: "
            "each needs the same shards and, to resume, the same folder of the run"
        )
    world.copy_first(state.shared)


def _loop(state: RunState, place: _Place, signals: Signals) -> None:
    config, world = place.config, place.world
    clock, guard = Clock(state.seconds), Guard()
    guard.keep(state.tensors())
    unit, total = (
        ("min", config.minutes - state.seconds / 60) if config.minutes else ("steps", float(config.steps - state.step))
    )
    with ExitStack() as stack:
        feed = stack.enter_context(closing(Feed(place.training, config, world, is_pinned=place.device.type == "cuda")))
        journal = stack.enter_context(closing(Journal(place.run, step=state.step, is_writer=world.is_first)))
        advance = stack.enter_context(place.progress.task("train", total, unit))
        while state.step < config.steps:
            fraction = fraction_done(config, state.step, state.seconds)
            with clock.waiting():
                batch = _next_unless_stopped(feed, state.step, fraction, signals)
            now = world.agree(
                is_stopped=batch is None or signals.stopped_by is not None,
                is_save_due=clock.is_time_to("save", 60 * config.save_minutes) or signals.is_save_asked(),
                seconds=clock.seconds,
            )
            if batch is None or now.is_stopped or (config.minutes and now.seconds >= 60 * config.minutes):
                break
            rate = learning_rate(config, fraction) * 0.5**state.rollbacks
            losses, norm = _update(state, place, batch, rate)
            is_made = math.isfinite(norm)
            _settle(state, guard, place, is_made=is_made)
            samples = feed.samples(fraction)
            state.step, state.samples, state.seconds = state.step + 1, state.samples + samples, now.seconds
            journal.note_step(losses, norm, samples, is_made=is_made)
            remark = journal.remark(state.step, clock.waited_fraction, state.best_psnr)
            advance(clock.lap() / 60 if config.minutes else 1.0, remark)
            if clock.is_time_to("log", _LOG_EVERY_SECONDS):
                _log(state, journal, clock)
            if now.is_save_due:
                _validate_and_save(state, place, journal)
                guard.keep(state.tensors())
        state.seconds = max(state.seconds, clock.seconds)
        _log(state, journal, clock)
        _validate_and_save(state, place, journal)


def _log(state: RunState, journal: Journal, clock: Clock) -> None:
    rate = state.optimizer.param_groups[0]["lr"]
    wait = round(clock.waited_fraction, 3)
    counts = {"skipped": state.skipped, "parts": state.parts}
    journal.write_steps(state.step, state.seconds, learning_rate=rate, data_wait=wait, **counts)


def _next_unless_stopped(feed: Feed, step: int, fraction: float, signals: Signals) -> Batch | None:
    try:
        return feed.read(step, fraction)
    except Exception:
        if signals.stopped_by:  # the processes that read may have got the signal too, and be gone
            return None
        raise


def _update(state: RunState, place: _Place, batch: Batch, rate: float) -> tuple[dict[str, float], float]:
    """Do one step; return the parts of the loss and the norm of the gradient. If it is not finite, nothing changes."""
    for _, optimizer in state.players:
        for group in optimizer.param_groups:
            group["lr"] = rate
    put_back = buffers_kept(state.network)
    losses = gradients(state, place.method, batch)
    values = torch.stack(list(losses.values()))
    parameters = [list(network.parameters()) for network, _ in state.players]
    place.world.average([*(each.grad for player in parameters for each in player if each.grad is not None), values])
    place.world.copy_first(list(state.network.buffers()))
    limits = (place.config.clip_norm or math.inf, math.inf)  # the discriminator's is only looked at
    norms = [torch.nn.utils.clip_grad_norm_(*player) for player in zip(parameters, limits, strict=False)]
    *found, norm, total = torch.cat([values, norms[0][None], torch.stack(norms).sum()[None]]).tolist()
    if math.isfinite(total):
        for _, optimizer in state.players:
            optimizer.step()
        if state.average:
            state.average.update(state.network)
    else:
        put_back()
    return dict(zip(losses, found, strict=True)), norm if math.isfinite(total) else total


def _settle(state: RunState, guard: Guard, place: _Place, *, is_made: bool) -> None:
    """Count a step that was skipped; after too many of them in a row, go back, once, and go on more slowly."""
    if is_made:
        guard.passed()
        return
    state.skipped += 1
    before = guard.failed(state.step, rollbacks=state.rollbacks)
    if before is not None:
        state.load(before)
        state.rollbacks += 1
        place.progress.note(
            f"step {state.step}: the loss stays not finite; going back to the last good weights, at half the rate"
        )


def _validate_and_save(state: RunState, place: _Place, journal: Journal) -> None:
    psnr = validate(
        state.best_network,
        place.device,
        place.examples,
        place.world,
        journal.show,
        precision=place.config.precision,
    )
    is_best = psnr is None or state.best_psnr is None or psnr > state.best_psnr
    if psnr is not None and is_best:
        state.best_psnr = psnr
    if not place.world.is_first:
        return
    scores = {
        "psnr": psnr,
        "blurry": place.blurry_psnr,
        "pairs": len(place.examples),
        "definition": SCORE_DEFINITION,
    }
    if is_best:
        state.best = {"step": state.step, "scores": scores}
    last = state.to_resume(place.config, scores)
    if is_best:  # first: a run killed between the two goes on from the older last one, and finds a best one there
        save_checkpoint(place.run / _BEST, state.to_use(place.config, scores))
    save_checkpoint(place.run / _LAST, last)
    _write_card(place, last)
    journal.write_scores(state.step, state.seconds, scores, place.examples)
    if psnr is not None:
        place.progress.note(
            f"step {state.step}: validation {psnr:.2f} dB, blurry {place.blurry_psnr:.2f} dB"
            + (", the best so far" if is_best else "")
        )


def _write_card(place: _Place, last: Checkpoint) -> None:
    data = {
        "pairs": len(place.training),
        "clips": len(place.training.sources),
        "SHA-256 of the pairs": place.training.sha256,
    }
    device = f"{place.world.size} × {place.device}" if place.world.size > 1 else str(place.device)
    text = card_text(last, data, device)
    write_bytes(place.run / _CARD, text.encode(), overwrite=True)


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
