"""Training data without end: photographs shaken on the device that trains.

::

    photographs -> PhotoSet (uint8, on the device) ──────────────────────────┐
    (seed, sample number) -> draw_shot (worker processes, numbers only) -> shake_crops -> develop -> Batch

Trajectories, layers and light are those of ``blursynth shake``. Needs torch, NumPy and Pillow only; where numba is
installed, the CPU renders with it.
"""

from .batch import Batch
from .packing import load_pack, pack_photos
from .photos import PhotoSet, photo_set, read_set
from .rendering import shake_crops
from .sampling import mean_of_views
from .shots import draw_shot
from .stream import SampleRule, photo_batches

__all__ = [
    "Batch",
    "PhotoSet",
    "SampleRule",
    "draw_shot",
    "load_pack",
    "mean_of_views",
    "pack_photos",
    "photo_batches",
    "photo_set",
    "read_set",
    "shake_crops",
]
