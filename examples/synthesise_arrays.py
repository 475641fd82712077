"""A blurry image from frames in memory, as a camera exposes it: ``python synthesise_arrays.py blurry.png``."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from blursynth.crf import response_curve
from blursynth.radiometry import LightChain, render
from blursynth.scene import render_frames


def main(output: Path) -> None:
    # Any (H, W, 3) uint8 frames will do; these are the demo's street at 240 frames/s.
    frames = list(render_frames(11, width=320, height=180, frame_rate=240, rng=np.random.default_rng(0)))
    curve = response_curve("srgb")

    light = np.stack([curve.to_linear(frame) for frame in frames])  # (11, H, W, 3) float32, 1 is the light that clips
    clipped = np.stack([frame == 255 for frame in frames])
    mean, saturation = light.mean(axis=0), clipped.mean(axis=0, dtype=np.float32)

    plain = curve.from_linear(mean)
    chain = LightChain(highlights="on", noise="iso:800", jpeg="90")  # what a sensor does, and a file
    photo = render(mean, saturation, curve, chain.draw(key=1))  # the same key gives the same bytes

    sharp = frames[len(frames) // 2]
    for name, image in (("sharp", sharp), ("plain mean", plain), ("as a camera", photo)):
        print(
            f"{name}: mean code {image.mean():.1f}, from the sharp frame {np.abs(image - sharp.astype(int)).mean():.1f}"
        )
    Image.fromarray(np.concatenate([sharp, plain, photo], axis=1)).save(output)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
