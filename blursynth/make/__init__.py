"""The work of `make`: plan, decode, synthesise, write shards."""

from blursynth.engine import BACKENDS, Engine
from blursynth.make.dataset import make_dataset
from blursynth.make.preview import check_preview, write_preview
from blursynth.make.settings import MakeConfig
from blursynth.make.summary import ClipSummary, MakeSummary

__all__ = [
    "BACKENDS",
    "ClipSummary",
    "Engine",
    "MakeConfig",
    "MakeSummary",
    "check_preview",
    "make_dataset",
    "write_preview",
]
