"""The work of `shake`: photographs, shaken, into shards."""

from blursynth.make.stills.benchmark import KohlerConfig, make_kohler_set
from blursynth.make.stills.dataset import PhotoSummary, ShakeSummary, shake_dataset
from blursynth.make.stills.settings import ShakeConfig

__all__ = ["KohlerConfig", "PhotoSummary", "ShakeConfig", "ShakeSummary", "make_kohler_set", "shake_dataset"]
