"""The work of `make`: plan, decode, synthesise, write shards."""

from blursynth.make.dataset import ClipSummary, MakeSummary, make_dataset
from blursynth.make.preview import check_preview, write_preview
from blursynth.make.settings import MakeConfig

__all__ = ["ClipSummary", "MakeConfig", "MakeSummary", "check_preview", "make_dataset", "write_preview"]
