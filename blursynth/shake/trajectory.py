"""Trajectories: where a hand-held camera points, and where it is, at every moment of an exposure.

Axes are the camera's: x to the right, y down, z forward. A rotation is a rotation vector in radians (its direction is
the axis, right-handed, its length the angle); a translation is in units of the depth of the farthest layer, so that
1 / ``focal_px`` moves that layer by one pixel.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blursynth.errors import SettingsError
from blursynth.shake.rule import ShakeRule, generator

__all__ = ["Trajectory", "boracchi_foi_path", "draw_trajectory", "hand_tremor"]

_NUM_POSES = 1025
_STREAM = 1  # of the generator
_MIN_SIDE = 16
_SIZE_SHARE = 1 / 8  # the longest path, in short sides of the photograph: it costs a margin as wide at most
_ROUND = 2.0**40  # poses are rounded to this, for machines whose sines differ in the last bit


@dataclass(frozen=True, slots=True, eq=False)
class Trajectory:
    """Poses of the camera over time.

    Time 0 to 1 is the exposure of the row in the middle. With a rolling shutter, rows above it are exposed earlier and
    rows below it later, so that times run from -``readout_fraction`` / 2 to 1 + ``readout_fraction`` / 2.

    Parameters
    ----------
    times
        (T,) float64, increasing, T >= 2.
    poses
        (T, 6) float64: rotation vector, then translation. Their mean from time 0 to 1 is zero: the sharp image is the
        view from the barycentre.
    focal_px
        Focal length in pixels of the photograph.
    exposure_seconds
        Exposure of a row.
    readout_fraction
        Time from reading the first row to reading the last, in exposures.
    kind
        ``boracchi-foi``, ``tremor`` or ``gyro``.
    """

    times: NDArray[np.float64]
    poses: NDArray[np.float64]
    focal_px: float
    exposure_seconds: float
    readout_fraction: float
    kind: str

    def __post_init__(self) -> None:
        if self.times.ndim != 1 or self.times.size < 2 or self.poses.shape != (self.times.size, 6):
            raise SettingsError(f"trajectory: {self.times.shape} times and {self.poses.shape} poses do not fit")
        if not (np.isfinite(self.times).all() and np.isfinite(self.poses).all() and (np.diff(self.times) > 0).all()):
            raise SettingsError("trajectory: times must increase, and times and poses must be finite")
        if not (np.isfinite(self.focal_px) and self.focal_px > 0):
            raise SettingsError(f"focal length {self.focal_px} px: must be more than 0")
        if not (np.isfinite(self.exposure_seconds) and self.exposure_seconds > 0):
            raise SettingsError(f"exposure {self.exposure_seconds} s: must be more than 0")
        before = self.readout_fraction / 2
        if not 0 <= before <= 0.5:
            raise SettingsError(f"readout {self.readout_fraction}: must be from 0 to 1 exposure")
        if self.times[0] > 1e-9 - before or self.times[-1] < 1 + before - 1e-9:
            raise SettingsError(f"trajectory: times must run from {-before:g} to {1 + before:g}")

    @property
    def path_px(self) -> float:
        """Length of the path of the centre of the farthest layer, for the row in the middle."""
        return self.focal_px * _path_length(self.times, self.poses)

    def at(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the poses at ``times``, any shape (...): (..., 6) float64, linear between those given."""
        return np.stack([np.interp(times, self.times, column) for column in self.poses.T], axis=-1)


def draw_trajectory(rule: ShakeRule, key: int, size: tuple[int, int], *, focal_px: float | None = None) -> Trajectory:
    """Draw the camera's motion over one photograph.

    Parameters
    ----------
    rule
        What is drawn from. A path that is longer than an eighth of the photograph's short side is made so short.
    key
        64 bits that decide everything.
    size
        (height, width) of the photograph in px.
    focal_px
        Focal length if known, 0.2 to 100 long sides (see `focal_px_of_35mm`); else 1.0 to 1.2 long sides are drawn.

    Raises
    ------
    SettingsError
        If the key, the focal length or the size is out of range.
    """
    if min(size) < _MIN_SIDE:
        raise SettingsError(f"photo of {size[1]}x{size[0]} px: must have at least {_MIN_SIDE} px on each side")
    if focal_px is not None and not 0.2 <= focal_px / max(size) <= 100:
        raise SettingsError(f"focal length {focal_px:g} px: must be from 0.2 to 100 long sides of {max(size)} px")
    rng = generator(key, _STREAM)
    exposure_seconds = rule.exposure_range.log_uniform(rng)
    readout = rule.readout_range.uniform(rng)
    length_px = min(rule.blur_range.log_uniform(rng), _SIZE_SHARE * min(size))
    drawn_focal_px = (1 + 0.2 * rng.random()) * max(size)
    coin, translation_share = rng.random(), 0.4 * rng.random()
    kind = rule.trajectory if rule.trajectory != "mixed" else ("boracchi-foi" if coin < 0.5 else "tremor")

    times = np.linspace(-readout / 2, 1 + readout / 2, _NUM_POSES)
    if kind == "tremor":
        poses = hand_tremor(rng, times * exposure_seconds, translation_share=translation_share)
    else:
        poses = _poses_of_path(boracchi_foi_path(rng, _NUM_POSES), translation_share)
    focal = drawn_focal_px if focal_px is None else focal_px
    poses *= length_px / (focal * _path_length(times, poses))
    poses = np.rint((poses - _mean_of_exposure(times, poses)) * _ROUND) / _ROUND
    return Trajectory(times, poses, focal, exposure_seconds, readout, kind)


def boracchi_foi_path(rng: np.random.Generator, num_poses: int) -> NDArray[np.float64]:
    """Draw the path of a particle with inertia, a Gaussian hand, a pull back and sudden jerks.

    Boracchi & Foi, "Modeling the performance of image restoration from motion blur", IEEE TIP 2012, as in their code:
    2000 steps of equal length on a path of 60 px. How restless the hand is, their "anxiety", is drawn log-uniformly
    from 0.001 to 0.01 and not uniformly up to 0.1, where the path becomes a blot much smaller than its length.

    Returns
    -------
    (num_poses, 2) float64, x and y, on any scale.
    """
    num_steps, longest = 2000, 60.0
    step = longest / (num_steps - 1)
    anxiety = 10 ** (-3 + rng.random())
    pull, gaussian, jerk = 0.7 * rng.random(), 10 * rng.random(), 0.2 * rng.random()
    is_jerk = rng.random(num_steps) < jerk * anxiety
    turns = np.exp(1j * (np.pi + rng.random(num_steps) - 0.5))
    pushes = gaussian * (rng.standard_normal(num_steps) + 1j * rng.standard_normal(num_steps))
    v = anxiety * np.exp(2j * np.pi * rng.random())
    x = np.zeros(num_steps, np.complex128)
    for t in range(num_steps - 1):
        v += (2 * v * turns[t] if is_jerk[t] else 0) + anxiety * (pushes[t] - pull * x[t]) * step
        v *= step / abs(v)
        x[t + 1] = x[t] + v
    places = np.linspace(0, num_steps - 1, num_poses)
    return np.stack([np.interp(places, np.arange(num_steps), part) for part in (x.real, x.imag)], axis=-1)


def hand_tremor(
    rng: np.random.Generator, seconds: NDArray[np.float64], *, translation_share: float
) -> NDArray[np.float64]:
    """Draw six smooth Gaussian processes: slow drift, and the physiological tremor of 8 to 12 Hz on top of it.

    Rates are sums of cosines whose frequencies are drawn: |N(0, 1.5 Hz)| for the drift, N(f, 1 Hz) around one f from
    8 to 12 Hz for the tremor, whose rate is 0.2 to 1 of the drift's. Pitch and yaw dominate; the roll is 0.2 to 0.6
    of them in radians, the translation ``translation_share`` of them in pixels at the far layer, less along the axis.

    Returns
    -------
    (T, 6) float64: rotation vectors and translations, on any scale.
    """
    peak_hz, tremor = 8 + 4 * rng.random(), 0.2 + 0.8 * rng.random()
    weights = np.array([0.6, 0.6, 0.2, 0.5, 0.5, 0.1]) + np.array([0.4, 0.4, 0.4, 0.5, 0.5, 0.2]) * rng.random(6)
    weights[3:] *= translation_share
    num_drift, num_tremor = 16, 8
    poses = np.empty((seconds.size, 6))
    for axis in range(6):
        drift_hz = np.maximum(np.abs(1.5 * rng.standard_normal(num_drift)), 0.05)
        tremor_hz = np.maximum(peak_hz + rng.standard_normal(num_tremor), 4)
        rates = np.concatenate([np.full(num_drift, num_drift**-0.5), np.full(num_tremor, tremor * num_tremor**-0.5)])
        omegas = 2 * np.pi * np.concatenate([drift_hz, tremor_hz])
        phases = 2 * np.pi * rng.random(omegas.size)
        waves = np.sin(omegas * seconds[:, None] + phases) * (rates / omegas)  # the integral of the rate
        poses[:, axis] = weights[axis] * waves.sum(axis=1)
    return poses


def _poses_of_path(path: NDArray[np.float64], translation_share: float) -> NDArray[np.float64]:
    """Let the camera turn, and move a little, so that the centre of the far layer takes the path."""
    x, y = path.T
    turn, nothing = 1 - translation_share, np.zeros(x.size)
    return np.stack([-turn * y, turn * x, nothing, translation_share * x, translation_share * y, nothing], axis=-1)


def _path_length(times: NDArray[np.float64], poses: NDArray[np.float64]) -> float:
    """Return the length, in focal lengths, of the path of the far layer's centre from time 0 to 1."""
    x, y = poses[:, 1] + poses[:, 3], poses[:, 4] - poses[:, 0]
    travelled = np.concatenate([[0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
    return float(np.interp(1, times, travelled) - np.interp(0, times, travelled))


def _mean_of_exposure(times: NDArray[np.float64], poses: NDArray[np.float64]) -> NDArray[np.float64]:
    inside = np.linspace(0, 1, 4 * _NUM_POSES + 1)[1::2]
    return np.array([np.interp(inside, times, column).mean() for column in poses.T])
