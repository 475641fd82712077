"""Leaks between the sides of a split: what a network saw in training and would be tested on."""

from blursynth.leaks.audit import audit
from blursynth.leaks.clips import AuditedClip, gopro_split, read_clips
from blursynth.leaks.likeness import Likeness, find_alike, likeness
from blursynth.leaks.report import AuditReport

__all__ = [
    "AuditReport",
    "AuditedClip",
    "Likeness",
    "audit",
    "find_alike",
    "gopro_split",
    "likeness",
    "read_clips",
]
