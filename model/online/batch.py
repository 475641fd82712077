"""What every source of training data gives."""

from typing import NamedTuple

from torch import Tensor

__all__ = ["Batch"]


class Batch(NamedTuple):
    """Crops of pairs: (N, 3, H, W) uint8 each, channels last in memory; ``first_sample`` numbers the first one."""

    blurry: Tensor
    sharp: Tensor
    first_sample: int
