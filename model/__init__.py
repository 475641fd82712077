"""Networks that make motion-blurred photographs sharp: training them and using them.

``from blursynth.model import Deblurrer`` is all that a program needs to restore photographs.
"""

from typing import TYPE_CHECKING, Any

from .lite import Lite, LiteConfig
from .mscnn import MSCNN, MSCNNConfig
from .restore import Deblurrer
from .train import TrainConfig, train

if TYPE_CHECKING:
    from .data import PairSet, batches, read_pairs, split_pairs

__all__ = [
    "MSCNN",
    "Deblurrer",
    "Lite",
    "LiteConfig",
    "MSCNNConfig",
    "PairSet",
    "TrainConfig",
    "batches",
    "read_pairs",
    "split_pairs",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import what reads shards when it is asked for: photographs train, and are restored, without h5py."""
    if name not in {"PairSet", "batches", "read_pairs", "split_pairs"}:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import data  # noqa: PLC0415

    return getattr(data, name)
