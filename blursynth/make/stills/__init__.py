"""The work of `shake`: photographs, shaken, into shards."""

from blursynth.make.stills.dataset import PhotoSummary, ShakeSummary, shake_dataset
from blursynth.make.stills.settings import ShakeConfig

__all__ = ["PhotoSummary", "ShakeConfig", "ShakeSummary", "shake_dataset"]
