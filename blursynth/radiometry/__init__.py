"""What a sensor does to light: clipped highlights, shot and read noise, a colour mosaic, JPEG.

Needs NumPy and Pillow alone, so that the trainer can draw anew from stored light. A `LightChain` says what may happen,
its ``draw`` settles it for one pair, `render` does it. The order is that of RSBlur (Rim et al., ECCV 2022, section 4)::

    B' = clip(B + alpha M)  ->  noise  ->  B' where it clipped  ->  response curve, rounded  ->  JPEG
"""

from blursynth.radiometry.chain import LightChain
from blursynth.radiometry.light import OFF, Light, NoiseLevel
from blursynth.radiometry.measuring import measure_noise
from blursynth.radiometry.rendering import render

__all__ = ["OFF", "Light", "LightChain", "NoiseLevel", "measure_noise", "render"]
