"""Sub-frames between two frames, so that fast motion blurs instead of leaving ghosts."""

from blursynth.interpolate.gap import Gap, Interpolator, Motion, check_numbers, sub_frames_for

__all__ = ["Gap", "Interpolator", "Motion", "check_numbers", "sub_frames_for"]
