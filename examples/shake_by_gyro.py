"""Shake a photograph as a gyroscope recorded it: ``python shake_by_gyro.py log.csv``."""

import sys
from pathlib import Path

import numpy as np

from blursynth.crf import response_curve
from blursynth.scene import render_frames
from blursynth.shake import read_gyro, trajectory_of_gyro
from blursynth.shake.rendering import shaken


def main(log_file: Path) -> None:
    log = read_gyro(log_file)  # columns time_s,gx,gy,gz in rad/s about the camera's own x, y and z
    photo = next(iter(render_frames(1, width=640, height=360, rng=np.random.default_rng(0))))  # (H, W, 3) uint8
    curve = response_curve("srgb")

    start, exposure = float(log.times_seconds[0]) + 0.1, 1 / 15
    trajectory = trajectory_of_gyro(log, start, exposure, focal_px=500.0, readout_fraction=0.3)
    result = shaken(curve.to_linear(photo), trajectory)
    blurry, sharp = curve.from_linear(result.blurry_linear), curve.from_linear(result.sharp_linear)

    height, width = sharp.shape[:2]
    is_untouched = np.array_equal(sharp, photo[result.top : result.top + height, result.left : result.left + width])
    print(f"{width}x{height} of {photo.shape[1]}x{photo.shape[0]}, blur {result.motion_p50_px:.1f} px")
    print(f"sharp is the photograph itself: {is_untouched}")
    print(f"blurry differs by {np.abs(blurry - sharp.astype(int)).mean():.1f} codes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
