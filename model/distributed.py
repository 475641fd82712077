"""Several processes that train one network together, as ``torchrun`` starts them.

Each process reads its share of the samples of every step and works out their gradient; the gradients are averaged in
one message, so that all take the same step. Nothing else depends on the number of processes: sample number s is the
same sample, and a batch is the batch of all of them together.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed
from torch import Tensor

from blursynth.errors import MachineError

__all__ = ["Agreement", "World", "is_first_process", "joined"]

_TIMEOUT = timedelta(minutes=5)  # longer than validating and saving take; a process that is stuck ends the others then
_ENVIRONMENT = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Agreement:
    """What all processes do next: stop and save if any of them was told to, at the time of the first one's clock."""

    is_stopped: bool
    is_save_due: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class World:
    """What this process is among those of the run."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes and talks."""
        return self.rank == 0

    def agree(self, *, is_stopped: bool, is_save_due: bool, seconds: float) -> Agreement:
        """Find out what all do next."""
        if self.size == 1:
            return Agreement(is_stopped, is_save_due, seconds)
        values = torch.tensor([is_stopped, is_save_due, seconds if self.is_first else 0.0], dtype=torch.float64)
        with _peer_errors():
            torch.distributed.all_reduce(values)
        stopped, due, seconds = values.tolist()
        return Agreement(stopped > 0, due > 0, seconds)

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their mean over the processes, in place, in one message."""
        if self.size == 1 or not tensors:
            return
        together = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with _peer_errors():
            torch.distributed.all_reduce(together)
        together /= self.size
        begin = 0
        for tensor in tensors:
            tensor.copy_(together[begin : begin + tensor.numel()].view_as(tensor))
            begin += tensor.numel()

    def copy_first(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by those of the first process, in place."""
        if self.size == 1:
            return
        for tensor in tensors:
            value = tensor.detach().contiguous()
            with _peer_errors():
                torch.distributed.broadcast(value, 0)
            tensor.detach().copy_(value)

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return this process's share: every item is in exactly one of them."""
        return items[self.rank :: self.size]

    def collect(self, values: Sequence[float], count: int) -> list[float]:
        """Put together what the processes found for their `share` of ``count`` items, in the items' order."""
        if self.size == 1:
            return list(values)
        together = torch.zeros(count, dtype=torch.float64)
        together[self.rank :: self.size] = torch.tensor(values, dtype=torch.float64)
        with _peer_errors():
            torch.distributed.all_reduce(together)
        found: list[float] = together.tolist()
        return found

    def text_of_first(self, text: str) -> str:
        """Return the text that the first process has."""
        if self.size == 1:
            return text
        data = torch.zeros(4096, dtype=torch.uint8)
        encoded = text.encode(errors="surrogateescape")
        data[: len(encoded)] = torch.frombuffer(bytearray(encoded), dtype=torch.uint8)
        with _peer_errors():
            torch.distributed.broadcast(data, 0)
        return bytes(data.tolist()).rstrip(b"\0").decode(errors="surrogateescape")


@contextmanager
def _peer_errors() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise MachineError(
            "another process of this run has ended or is stuck; see its message, then start all again with --resume"
        ) from error


def _is_launched() -> bool:
    return all(name in os.environ for name in _ENVIRONMENT)


def is_first_process() -> bool:
    """Return whether this process is the only one, or the one that writes and talks."""
    return not _is_launched() or os.environ["RANK"] == "0"


@contextmanager
def joined() -> Iterator[World]:
    """Meet the other processes of the run, if there are any; NCCL between GPUs, gloo between CPUs.

    Raises
    ------
    MachineError
        If they cannot be reached.
    """
    if not _is_launched() or os.environ["WORLD_SIZE"] == "1":
        yield World()
        return
    has_gpu = torch.cuda.is_available()
    if has_gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    try:
        torch.distributed.init_process_group("cpu:gloo,cuda:nccl" if has_gpu else "gloo", timeout=_TIMEOUT)
    except (RuntimeError, ValueError) as error:
        raise MachineError(f"the other processes of this run cannot be reached: {error}") from error
    yield World(torch.distributed.get_rank(), torch.distributed.get_world_size())
    # Not after an error, when others may still be waiting in it. All leave together: one that leaves while others
    # still talk may be ended by gloo's threads.
    with suppress(RuntimeError):
        torch.distributed.barrier()
    torch.distributed.destroy_process_group()
