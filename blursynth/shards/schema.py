"""What a shard looks like inside; the page for readers in other languages.

::

    /blurry   (N, H, W, 3) uint8   display codes
    /sharp    (N, H, W, 3) uint8   the centre frame of each window
    /pairs    (N,) compound        PAIR_DTYPE: which frames, when, for how long
    attributes                     schema, and what `ShardWriter` was given

``raw`` shards are contiguous and uncompressed: any HDF5 reads them, their space is reserved before a byte is written,
and crops are read with ``os.pread`` outside HDF5's global lock. ``zstd`` shards hold (1, 128, 128, 3) chunks (less
where an image is smaller), each one Zstandard frame (registered filter 32015).
"""

from types import ModuleType
from typing import Literal

import numpy as np

from blursynth.errors import DeviceError

__all__ = [
    "CODECS",
    "IMAGES",
    "PAIR_DTYPE",
    "SCHEMA",
    "ZSTD_FILTER",
    "Codec",
    "pairs_per_shard",
    "tile_size",
    "zstandard",
]

Codec = Literal["raw", "zstd"]
CODECS: tuple[Codec, ...] = ("raw", "zstd")
SCHEMA = 1
PAIR_DTYPE = np.dtype(
    [
        ("number", "<i8"),  # of the window in the clip's plan
        ("first_frame", "<i8"),
        ("centre_frame", "<i8"),
        ("last_frame", "<i8"),
        ("first_pts", "<i8"),  # in units of the attribute time_base, seconds
        ("centre_pts", "<i8"),
        ("last_pts", "<i8"),
        ("num_frames", "<i4"),
        ("exposure_seconds", "<f8"),
        ("rng_key", "<u8"),  # of all that was drawn for this pair
        # Not a number where it was not measured or not applied:
        ("motion_p50_px", "<f4"),  # within the window
        ("motion_p95_px", "<f4"),
        ("motion_max_px", "<f4"),
        ("ghost_score", "<f4"),
        ("sharpness", "<f4"),  # of the centre frame
        ("saturated_fraction", "<f4"),
        ("shot_noise", "<f4"),
        ("read_noise", "<f4"),
    ]
)
_SHARD_BYTES = 128_000_000
IMAGES = ("blurry", "sharp")
_TILE = 128
ZSTD_FILTER = 32015


def pairs_per_shard(height: int, width: int) -> int:
    """Return how many pairs of a size go into one shard: about 128 MB, one pair at least."""
    return max(1, _SHARD_BYTES // (2 * 3 * height * width))


def tile_size(height: int, width: int) -> tuple[int, int]:
    """Return the (height, width) of the tiles that images of a size are compressed in."""
    return min(_TILE, height), min(_TILE, width)


def zstandard() -> ModuleType:
    """Import the Zstandard library, or say how to get it."""
    try:
        import zstandard as library  # noqa: PLC0415  # an extra
    except ImportError as error:
        raise DeviceError("zstd shards need the zstandard library: pip install 'blursynth[zstd]'") from error
    return library
