"""GOPRO_Large (Nah et al., CVPR 2017), pair by pair: which frames each blurry image is the mean of, and making it."""

from blursynth.gopro.clips import GOPRO_FRAME_RATE, GoproClip, GoproPair, gopro_clips, pairs_of
from blursynth.gopro.rebuild import rebuild
from blursynth.gopro.report import ClipReport, Comparison, RebuildReport

__all__ = [
    "GOPRO_FRAME_RATE",
    "ClipReport",
    "Comparison",
    "GoproClip",
    "GoproPair",
    "RebuildReport",
    "gopro_clips",
    "pairs_of",
    "rebuild",
]
