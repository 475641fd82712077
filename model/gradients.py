"""The gradients of a batch: augmented, in parts where memory asks for it, through the network and its losses."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .augment import augment, degrade, to_unit
from .compiled import Forward, compiled
from .device import autocast, is_out_of_memory
from .losses import fft_loss, multiscale_content_loss, psnr_loss
from .online.batch import Batch
from .settings import TrainConfig
from .state import RunState, buffers_kept

__all__ = ["Method", "compiled_method", "gradients"]


@dataclass(frozen=True, slots=True, eq=False)
class Method:
    """How gradients are worked out: settings, device, the way through the network, and what is told."""

    config: TrainConfig
    device: torch.device
    forward: Forward
    note: Callable[[str], None]


def compiled_method(state: RunState, method: Method, sizes: Sequence[tuple[int, int]]) -> Method:
    """Return a method that calls the network compiled, ready for batches of these sizes: (crops, side in px).

    Where that fails, which is told, it is the method as it was. State and random numbers stay as they are.
    """
    trial = replace(method, forward=compiled(state.network))
    begin = time.monotonic()
    put_back = buffers_kept(state.network)
    try:
        for count, patch in sizes:
            _rehearse(state, trial, count, patch)
    except Exception as error:  # of compilers, C++ or Triton: any kind
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        method.note(f"torch.compile: {first[:120]}; training goes on without it (--compile off does so from the start)")
        return method
    finally:
        for _, optimizer in state.players:
            optimizer.zero_grad(set_to_none=True)
        put_back()
    sides = ", ".join(str(patch) for _, patch in sizes)
    method.note(f"network compiled for crops of {sides} px in {time.monotonic() - begin:.0f} s")
    return trial


def _rehearse(state: RunState, method: Method, count: int, patch: int) -> None:
    """Go the way of a batch, so that all of it is compiled; if memory does not suffice, leave it to the batch."""
    black = torch.zeros(count, patch, patch, 3, dtype=torch.uint8, device=method.device).permute(0, 3, 1, 2)
    batch = augment(Batch(black, black, 0), seed=0)
    try:
        _sum_of_parts(state, method, batch, min(state.parts, count))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise


def gradients(state: RunState, method: Method, batch: Batch) -> dict[str, Tensor]:
    """Work out the gradients of a batch, in smaller parts if memory runs out; the step stays the same."""
    batch = augment(_on_device(batch, method.device), seed=method.config.seed)
    size = len(batch.blurry)
    state.parts = min(state.parts, size)
    while True:
        for _, optimizer in state.players:
            optimizer.zero_grad(set_to_none=True)
        try:
            return _sum_of_parts(state, method, batch, state.parts)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or state.parts == size:
                raise
        # Only out here is the traceback gone, and with it the tensors that it kept.
        state.parts = min(2 * state.parts, size)
        if method.device.type == "cuda":
            torch.cuda.empty_cache()
        method.note(
            f"out of memory: each batch is worked out in {state.parts} parts from here on; the steps stay the same "
            f"(--accumulate {state.parts} does so from the start)"
        )


def _sum_of_parts(state: RunState, method: Method, batch: Batch, count: int) -> dict[str, Tensor]:
    total: dict[str, Tensor] = {}
    for part in _parts(batch, count):
        share = len(part.blurry) / len(batch.blurry)
        for name, loss in _part(state, method, part, share).items():
            total[name] = total.get(name, 0) + loss
    return total


def _part(state: RunState, method: Method, batch: Batch, share: float) -> dict[str, Tensor]:
    """Add the gradients of one part to those there are; return its share of the losses."""
    config, critic = method.config, state.critic
    state.network.train()
    blurry, sharp = to_unit(batch.blurry), to_unit(batch.sharp)
    if config.augmentation == "paper":
        blurry, sharp = degrade(blurry, sharp, first_sample=batch.first_sample, seed=config.seed)
    with autocast(method.device, config.precision):
        restored = method.forward(blurry)
    losses = _losses(config, restored, state.network.pyramid(sharp))
    if critic:
        with autocast(method.device, config.precision):
            losses["adversarial"] = critic.deceived(restored[0])
    losses = {name: share * loss for name, loss in losses.items()}
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    if critic:
        with autocast(method.device, config.precision):
            losses["discriminator"] = share * critic.mistaken(sharp, restored[0])
        losses["discriminator"].backward()  # type: ignore[no-untyped-call]
    return {name: loss.detach() for name, loss in losses.items()}


def _losses(config: TrainConfig, restored: Sequence[Tensor], sharp: Sequence[Tensor]) -> dict[str, Tensor]:
    """Return the parts of what is minimised, each with its weight."""
    losses = {}
    match config.loss:
        case "psnr":
            losses["psnr"] = psnr_loss(restored[0], sharp[0])
            if restored[1:] and config.coarse_weight:
                coarse = multiscale_content_loss(restored[1:], sharp[1:], norm="l1")
                losses["coarse"] = config.coarse_weight * coarse
        case "content-l2":
            losses["content"] = multiscale_content_loss(restored, sharp, coarse_weight=config.coarse_weight)
        case "content-l1":
            losses["content"] = multiscale_content_loss(restored, sharp, norm="l1", coarse_weight=config.coarse_weight)
        case "charbonnier":
            losses["content"] = multiscale_content_loss(
                restored, sharp, norm="charbonnier", coarse_weight=config.coarse_weight
            )
    if config.fft_weight:
        losses["fft"] = config.fft_weight * fft_loss(restored[0], sharp[0])
    return losses


def _on_device(batch: Batch, device: torch.device) -> Batch:
    blurry, sharp = (images.to(device, non_blocking=True) for images in (batch.blurry, batch.sharp))
    return Batch(blurry, sharp, batch.first_sample)


def _parts(batch: Batch, count: int) -> Iterator[Batch]:
    first = batch.first_sample
    for blurry, sharp in zip(batch.blurry.tensor_split(count), batch.sharp.tensor_split(count), strict=True):
        yield Batch(blurry, sharp, first)
        first += len(blurry)
