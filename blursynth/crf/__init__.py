"""Camera response functions: the border between display codes and linear light.

A camera response function g turns the light that fell on a pixel into the code that is stored; its inverse turns
codes back into light. "Linear" is scene light on the scale where 1.0 is the code that clips. Blur is a mean of light,
so codes are made linear, averaged, and encoded again (Nah et al., CVPR 2017, section 3).

=============  ==================================================  =====================================
name           inverse, v = code / peak                            source
=============  ==================================================  =====================================
``gamma:G``    v ** G                                              GOPRO's choice with G = 2.2
``srgb``       v / 12.92, or ((v + 0.055) / 1.055) ** 2.4          IEC 61966-2-1
``bt709``      v / 4.5, or ((v + 0.099) / 1.099) ** (1 / 0.45)     ITU-R BT.709-6, inverse OETF
``hlg``        v ** 2 / 3, or (exp((v - c) / a) + b) / 12          ITU-R BT.2100-2, table 5, inverse OETF
``pq``         the light of v as a part of 10000 cd/m2             ITU-R BT.2100-2, table 4, EOTF
``linear``     v                                                   the plain mean of codes
a file         a table of light, from a camera that was measured   ``blursynth calibrate-crf``
=============  ==================================================  =====================================
"""

from blursynth.crf.curve import ResponseCurve
from blursynth.crf.measured import CURVE_SCHEMA, curve_of_table, measured_curve
from blursynth.crf.standards import CURVE_NAMES, curve_of_transfer, response_curve

__all__ = [
    "CURVE_NAMES",
    "CURVE_SCHEMA",
    "ResponseCurve",
    "curve_of_table",
    "curve_of_transfer",
    "measured_curve",
    "response_curve",
]
