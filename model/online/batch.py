"""What every source of training data is asked for, and gives."""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

__all__ = ["Batch", "Request"]


class Batch(NamedTuple):
    """Crops of pairs: (N, 3, H, W) uint8 each, channels last in memory; ``first_sample`` numbers the first one."""

    blurry: Tensor
    sharp: Tensor
    first_sample: int


@dataclass(frozen=True, slots=True)
class Request:
    """Which batches are wanted, and how they are read; see `data.batches`."""

    patch: int
    batch: int
    seed: int
    steps: range
    workers: int = 0
    is_pinned: bool = False
    is_fresh: bool = True
