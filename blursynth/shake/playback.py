"""A photograph seen along a trajectory: the blurry image of the whole exposure, and the sharp ones on the way."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blursynth.errors import PhotoError, SettingsError
from blursynth.shake.camera import expose, homographies, seen_box
from blursynth.shake.kernel import render
from blursynth.shake.trajectory import Trajectory

__all__ = ["Playback"]

_STEP_PX = 0.15  # finer than for training pairs: the shortest path still has a pose for every frame


@dataclass(frozen=True, slots=True, eq=False)
class Playback:
    """A photograph and the poses that it is seen from, none of which sees beyond its edge.

    Parameters
    ----------
    photo_linear
        (H, W, 3) float32 linear light.
    matrices
        (K, 3, 3) float64: from pixels of the view to pixels of the photograph, in the order of time.
    weights
        (K,) float64: the share of the exposure that each lasts; they sum to 1.
    size
        (height, width) of the views, cut out of the middle of the photograph.
    """

    photo_linear: NDArray[np.float32]
    matrices: NDArray[np.float64]
    weights: NDArray[np.float64]
    size: tuple[int, int]

    @classmethod
    def along(cls, trajectory: Trajectory, photo_linear: NDArray[np.float32], size: tuple[int, int]) -> "Playback":
        """Lay poses along a trajectory with a global shutter; the photograph is a plane.

        Raises
        ------
        PhotoError
            If a view of that size would see beyond the photograph's edge.
        SettingsError
            If the shutter rolls: its frames would have to be bent.
        """
        if trajectory.readout_fraction:
            raise SettingsError("a trajectory to play back needs a global shutter, a readout of 0")
        height, width = photo_linear.shape[:2]
        exposure = expose(trajectory, (height, width), step_px=_STEP_PX)
        matrices = homographies(
            exposure.rotations, exposure.translations, focal_px=trajectory.focal_px, size=(height, width)
        )
        margins = seen_box(matrices[None], (height, width))
        seen = (height - 2 * margins[0], width - 2 * margins[1])
        if seen[0] < size[0] or seen[1] < size[1]:
            raise PhotoError(
                f"photo of {width}x{height} px: {max(seen[1], 0)}x{max(seen[0], 0)} px of it stay in view, "
                f"{size[1]}x{size[0]} px are needed; take a larger photo or a smaller size"
            )
        return cls(photo_linear, matrices[0], exposure.weights[0], size)

    def blurry_linear(self) -> NDArray[np.float32]:
        """Return the mean of what all poses see: (h, w, 3) float32 linear light."""
        return self._mean(self.matrices, self.weights)

    def frames_linear(self, num_frames: int) -> Iterator[NDArray[np.float32]]:
        """Yield what is seen in the middle of each of so many equal parts of the exposure, as `blurry_linear`."""
        ends = np.cumsum(self.weights)
        middles = (np.arange(num_frames) + 0.5) / num_frames
        for pose in np.minimum(np.searchsorted(ends, middles), ends.size - 1):
            yield self._mean(self.matrices[pose : pose + 1], np.ones(1))

    def _mean(self, matrices: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float32]:
        photo_height, photo_width = self.photo_linear.shape[:2]
        height, width = self.size
        planes: NDArray[Any] = np.ascontiguousarray(np.moveaxis(self.photo_linear, -1, 0))
        means = np.empty((3, height, width), np.float32)
        top, left = (photo_height - height) // 2, (photo_width - width) // 2
        no_layers = np.empty((0, photo_height, photo_width), np.float32)
        render(planes, 3, no_layers, matrices[None, None], weights[None].astype(np.float32), top, left, means)
        return np.ascontiguousarray(np.moveaxis(means, 0, -1))
