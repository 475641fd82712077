"""What a window of frames is worth: how far things move in it, and what is wrong with it as a training pair.

Every frame is looked at once and little of it is kept (`views`). From each frame to the next there is a flow, and
perhaps a cut or a repeat (`steps`). A window adds up its steps, compares its mean with a coarser one to see whether it
shows ghosts instead of blur, and asks how sharp its middle frame is (`worths`, `sharpness`). All of it sees luma alone.
"""

from blursynth.motion.steps import Step, step
from blursynth.motion.views import View, view
from blursynth.motion.worths import Worth, worth

__all__ = ["Step", "View", "Worth", "step", "view", "worth"]
