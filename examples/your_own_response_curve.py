"""A response curve from a formula, and from a table in a file: ``python your_own_response_curve.py curve.txt``."""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blursynth.crf import ResponseCurve, response_curve
from blursynth.make import MakeConfig


def inverse(codes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn codes in [0, 1] into light in [0, 1]: the inverse of code = (1 - exp(-7 light)) / (1 - exp(-7))."""
    return np.asarray(-np.log1p(codes * np.expm1(-7)) / 7, np.float64)


def main(table: Path) -> None:
    curve = ResponseCurve("saturating", inverse)
    codes = np.arange(256, dtype=np.uint8)
    light = curve.to_linear(codes)
    print(f"light of code 128: {light[128]:.4f}; back again: {int(curve.from_linear(light)[128])}")

    # `make`, `shake` and MakeConfig take a file: one number a line, the light of evenly spaced codes.
    table.write_text("\n".join(f"{value:.9f}" for value in curve.linear_of_codes()))
    from_file = response_curve(str(table))
    config = MakeConfig(window="7", crf=str(table))
    worst = np.abs(from_file.linear_of_codes() - curve.linear_of_codes()).max()
    print(f"{from_file.name} differs by {worst:.1e}; windows of {config.window} frames will use it")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
