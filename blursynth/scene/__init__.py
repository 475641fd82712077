"""A street before a hand-held high-speed camera: the clip of ``blursynth demo``, drawn and never downloaded.

Every frame is an instant, without any motion blur. The street is painted once, finer than the picture (`painting`:
the notation of drawings and how they are painted; `street`: the drawings, and where things are at a given time). Each
frame then lays its layers over one another, the farthest first, where their own movement and the camera's shake have
brought them (`clip`). Lengths are in units of 1/720 of the picture's height, so that every size shows the same street.
"""

from blursynth.scene.clip import render_frames, write_clip

__all__ = ["render_frames", "write_clip"]
