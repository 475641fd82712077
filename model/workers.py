"""Processes that read or draw for a trainer."""

import os
import signal
from types import FrameType

from blursynth.locks import release_inherited_locks

__all__ = ["start_worker"]


def start_worker(_number: int) -> None:
    """Make a new process leave the trainer's signals and locks to the trainer; for ``DataLoader(worker_init_fn=…)``."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the trainer, which saves a checkpoint first
    signal.signal(signal.SIGTERM, _leave)
    release_inherited_locks()


def _leave(_number: int, _frame: FrameType | None) -> None:
    """End without a fault: if the whole group of processes got the signal, PyTorch must not stop the trainer for us."""
    os._exit(0)
