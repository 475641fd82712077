"""The other source of pairs: a hand-held camera over a sharp photograph.

::

    ShakeRule + key -> draw_trajectory -> Trajectory ─┐
    gyro log        -> trajectory_of_gyro ────────────┤-> expose -> Exposure: poses of every row, weights
                                                      │      └─> homographies -> pixels of the photograph
    ShakeRule + key -> draw_layers -> Layers ─────────┘
                                        rendering.shaken(photo, trajectory, layers) -> Shaken

All but `blursynth.shake.rendering` needs NumPy only.
"""

from blursynth.shake.camera import Exposure, expose, homographies
from blursynth.shake.gyro import GyroLog, read_gyro, trajectory_of_gyro
from blursynth.shake.layers import Layers, draw_layers
from blursynth.shake.rule import ShakeRule
from blursynth.shake.trajectory import Trajectory, draw_trajectory

__all__ = [
    "Exposure",
    "GyroLog",
    "Layers",
    "ShakeRule",
    "Trajectory",
    "draw_layers",
    "draw_trajectory",
    "expose",
    "homographies",
    "read_gyro",
    "trajectory_of_gyro",
]
