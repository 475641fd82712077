"""Networks that make motion-blurred photographs sharp: training them and using them.

``from blursynth.model import Deblurrer`` is all that a program needs to restore photographs.
"""

from .checkpoint import Checkpoint, load_checkpoint, newest_checkpoint, save_checkpoint
from .data import PairSet, batches, read_pairs, split_pairs
from .lite import Lite, LiteConfig
from .mscnn import MSCNN, MSCNNConfig
from .restore import Deblurrer
from .train import TrainConfig, train

__all__ = [
    "MSCNN",
    "Checkpoint",
    "Deblurrer",
    "Lite",
    "LiteConfig",
    "MSCNNConfig",
    "PairSet",
    "TrainConfig",
    "batches",
    "load_checkpoint",
    "newest_checkpoint",
    "read_pairs",
    "save_checkpoint",
    "split_pairs",
    "train",
]
