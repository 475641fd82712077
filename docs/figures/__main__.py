"""Make every picture of the documentation anew: ``python -m docs.figures``, or some: ``python -m docs.figures ghosts``.

``demo.jpg`` is the picture that ``make demo`` leaves in ``blursynth-demo/``.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import imageio.v3 as iio
import numpy as np

from . import charts, pictures, timeline
from .drawing import Pixels, write

_ROOT = Path(__file__).parents[2]


def demo() -> Pixels:
    """Before and after, as the demo laid it out."""
    return np.asarray(iio.imread(_ROOT / "blursynth-demo" / "before-after.png"), np.uint8)


FIGURES: dict[str, Callable[[], Pixels | str]] = {
    **pictures.FIGURES,
    **charts.FIGURES,
    **timeline.FIGURES,
    "demo.jpg": demo,
}


def main(names: list[str]) -> None:
    """Make the pictures whose names hold one of ``names``; all but the demo's without any."""
    for name, make in FIGURES.items():
        if any(part in name for part in names) if names else name != "demo.jpg":
            print(write(_ROOT / "docs" / "images" / name, make()))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
