"""Deblur an array with a trained network: ``python deblur_an_array.py runs/mine/best.safetensors``."""

import sys
from pathlib import Path

import numpy as np

from blursynth.model import Deblurrer


def main(checkpoint: Path) -> None:
    deblur = Deblurrer.load(checkpoint)  # loads once; call it as often as you like
    stripes = np.tile(np.arange(256, dtype=np.uint8), (96, 1))
    photo = np.stack([stripes, stripes[:, ::-1], stripes], axis=2)  # (H, W, 3) uint8, R'G'B' codes
    restored = deblur(photo)
    print(f"{restored.dtype} {restored.shape}, mean change {np.abs(restored.astype(int) - photo).mean():.2f} codes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
