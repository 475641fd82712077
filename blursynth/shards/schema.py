"""What a shard looks like inside; the page for readers in other languages.

::

    /blurry   (N, H, W, 3) uint8   display codes
    /sharp    (N, H, W, 3) uint8   the centre frame of each window
    /pairs    (N,) compound        PAIR_DTYPE: which frames, when, for how long
    attributes                     schema, and what `ShardWriter` was given

With ``--store linear`` three more, from which both images can be rendered anew::

    /blurry_linear (N, H, W, 3) uint16   the mean light as fine codes: the high byte is the display code that the
                                         clip's own response curve gives, the low byte says where between the light at
                                         which that code begins and ends (`ResponseCurve.from_fine`)
    /saturation    (N, H, W, 3) uint8    the share of the exposure at the highest code; 255 is all of it
    /sharp_linear  (N, H, W, 3) uint16   the light of the sharp frame as fine codes of the clip's own curve

``raw`` shards are contiguous and uncompressed: any HDF5 reads them, their space is reserved before a byte is written,
and crops are read with ``os.pread`` outside HDF5's global lock. ``zstd`` shards hold (1, 128, 128, 3) chunks (less
where an image is smaller), each one Zstandard frame (registered filter 32015).
"""

from types import ModuleType
from typing import Any, Literal

import numpy as np

from blursynth.errors import DeviceError

__all__ = [
    "CODECS",
    "IMAGES",
    "LIGHT",
    "PAIR_DTYPE",
    "SCHEMA",
    "ZSTD_FILTER",
    "Codec",
    "pairs_per_shard",
    "stored_images",
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
        ("num_sub_frames", "<i4"),  # interpolated ones among what was averaged
        ("num_duplicates", "<i4"),  # frames that repeat the one before; 0 where it was not measured
        ("is_frozen", "<i4"),  # 1 if all frames show the same picture
        ("exposure_seconds", "<f8"),
        ("effective_frames", "<f8"),  # 1 / sum(w^2) of the frames' weights
        ("rng_key", "<u8"),  # of all that was drawn for this pair
        # What was drawn (blursynth.radiometry.Light); 0 is none:
        ("noise_key", "<u8"),
        ("highlights", "<f8"),
        ("shot_noise", "<f8"),  # variance per unit of linear light
        ("read_noise", "<f8"),  # standard deviation in linear light
        ("iso", "<f8"),
        ("red_gain", "<f8"),
        ("blue_gain", "<f8"),
        ("bayer", "<i4"),  # 0 RGGB, 1 BGGR, 2 GRBG, 3 GBRG; -1 no mosaic
        ("jpeg", "<i4"),
        ("output_crf", "<i4"),  # which of the setting's output curves; -1 the clip's own
        # Not a number where it was not measured:
        ("motion_p50_px", "<f4"),  # within the window
        ("motion_p95_px", "<f4"),
        ("motion_max_px", "<f4"),
        ("ghost_score", "<f4"),
        ("sharpness", "<f4"),  # of the centre frame
        ("saturated_fraction", "<f4"),  # of the values of the sharp image
    ]
)
_SHARD_BYTES = 128_000_000
IMAGES: dict[str, np.dtype[Any]] = {"blurry": np.dtype("u1"), "sharp": np.dtype("u1")}
LIGHT: dict[str, np.dtype[Any]] = {
    "blurry_linear": np.dtype("<u2"),
    "saturation": np.dtype("u1"),
    "sharp_linear": np.dtype("<u2"),
}
_TILE = 128
ZSTD_FILTER = 32015


def stored_images(*, keeps_light: bool) -> dict[str, np.dtype[Any]]:
    """Return the names and types of the images of a pair."""
    return {**IMAGES, **LIGHT} if keeps_light else IMAGES


def pairs_per_shard(height: int, width: int, *, keeps_light: bool = False) -> int:
    """Return how many pairs of a size go into one shard: about 128 MB, one pair at least."""
    value_bytes = sum(dtype.itemsize for dtype in stored_images(keeps_light=keeps_light).values())
    return max(1, _SHARD_BYTES // (value_bytes * 3 * height * width))


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
