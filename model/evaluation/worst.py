"""The images that a method restores worst, as pictures: blurry, restored and sharp beside each other."""

from collections.abc import Collection

import cv2
import numpy as np
from numpy.typing import NDArray

from .results import ImageScore

__all__ = ["WorstViews", "view_of", "worst_images"]

Image = NDArray[np.uint8]
_SIDE_PX = 480
_GAP_PX = 4


def worst_images(
    images: Collection[ImageScore], count: int, *, column: int, is_higher_better: bool
) -> list[ImageScore]:
    """Return the ``count`` images with the worst number in a column, the worst first; equal ones by name."""
    sign = 1 if is_higher_better else -1
    return sorted(images, key=lambda image: (sign * image.values[column], image.name))[:count]


class WorstViews:
    """Keeps the views of the worst images so far, in the memory that ``count`` views take."""

    def __init__(self, count: int, *, column: int, is_higher_better: bool) -> None:
        self._count, self._column, self._is_higher_better = count, column, is_higher_better
        self._kept: dict[ImageScore, Image] = {}

    def offer(self, score: ImageScore, blurry: Image, restored: Image, sharp: Image) -> None:
        """Keep the view of an image if it is among the worst."""
        worst = self._worst([*self._kept, score])
        if score in worst:
            self._kept = {each: self._kept[each] for each in worst if each in self._kept}
            self._kept[score] = view_of(blurry, restored, sharp)

    def _worst(self, images: Collection[ImageScore]) -> list[ImageScore]:
        return worst_images(images, self._count, column=self._column, is_higher_better=self._is_higher_better)

    def find(self, score: ImageScore) -> Image | None:
        """Return a view that was kept."""
        return self._kept.get(score)


def view_of(blurry: Image, restored: Image, sharp: Image) -> Image:
    """Return the three images beside each other with white in between, (h, 3 w + 8, 3) uint8.

    Of an image larger than 480 px, the square of that side is cut out whose mean squared error is the largest.
    """
    error = np.square(restored.astype(np.float32) - sharp).sum(axis=2)
    height, width = (min(_SIDE_PX, side) for side in error.shape)
    total = cv2.integral(error, sdepth=cv2.CV_64F)
    sums = total[height:, width:] - total[:-height, width:] - total[height:, :-width] + total[:-height, :-width]
    top, left = np.unravel_index(int(np.argmax(sums)), sums.shape)
    gap = np.full((height, _GAP_PX, 3), 255, np.uint8)
    views = [image[top : top + height, left : left + width] for image in (blurry, restored, sharp)]
    return np.concatenate([views[0], gap, views[1], gap, views[2]], axis=1)
