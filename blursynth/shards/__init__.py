"""Shards: HDF5 files of pairs, and the manifest that lists them. Nothing else in blursynth knows HDF5."""

import os

# HDF5 reads these once, when h5py is first imported. A shard could name a filter whose plug-in runs code.
os.environ["HDF5_PLUGIN_PRELOAD"] = "::"

from blursynth.shards.manifest import Entry, Manifest
from blursynth.shards.reader import Shard
from blursynth.shards.schema import CODECS, PAIR_DTYPE, SCHEMA, Codec, pairs_per_shard
from blursynth.shards.writer import ShardWriter

__all__ = ["CODECS", "PAIR_DTYPE", "SCHEMA", "Codec", "Entry", "Manifest", "Shard", "ShardWriter", "pairs_per_shard"]
