"""Shards: HDF5 files of pairs, and the manifest that lists them. Nothing else in blursynth knows HDF5."""

import os

# HDF5 reads these once, when h5py is first imported. A shard could name a filter whose plug-in runs code.
os.environ["HDF5_PLUGIN_PRELOAD"] = "::"
for _name in ("HDF5_PLUGIN_PATH", "HDF5_DRIVER", "HDF5_VOL_CONNECTOR"):
    os.environ.pop(_name, None)  # HDF5 crashes on values that it does not know

from blursynth.shards.manifest import SPLITS, Entry, Manifest
from blursynth.shards.reader import Shard
from blursynth.shards.schema import CODECS, PAIR_DTYPE, SCHEMA, Codec, pairs_per_shard
from blursynth.shards.writer import ShardWriter

__all__ = [
    "CODECS",
    "PAIR_DTYPE",
    "SCHEMA",
    "SPLITS",
    "Codec",
    "Entry",
    "Manifest",
    "Shard",
    "ShardWriter",
    "pairs_per_shard",
]
