"""Measure a camera's response curve from photographs of one still scene at several exposure times.

The camera stands on a tripod, aperture and sensitivity stay, only the exposure time changes. The ratio of two
exposure times is then the ratio of the light behind any two codes of one place, which is all that is needed to find
the curve up to a scale (Debevec and Malik, SIGGRAPH 1997).
"""

from blursynth.calibration.bracket import Bracket, parse_exposure, read_bracket
from blursynth.calibration.drawing import draw_curve, write_plot
from blursynth.calibration.solving import METHODS, Calibration, Method, calibrate, check_output, write_curve

__all__ = [
    "METHODS",
    "Bracket",
    "Calibration",
    "Method",
    "calibrate",
    "check_output",
    "draw_curve",
    "parse_exposure",
    "read_bracket",
    "write_curve",
    "write_plot",
]
