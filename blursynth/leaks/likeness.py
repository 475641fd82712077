"""Perceptual likeness: whether two images are one picture, coded, sized or lit another way.

Two tests, and both must agree. The first is a 64-bit perceptual hash: the signs, about their median, of the lowest
8 × 8 coefficients of the cosine transform of the luma at 32 × 32 pixels; the constant one is left out. The second is
the correlation of the luma at 16 × 16 pixels. On 472 real photographs either test alone calls some pairs of
strangers alike; both together called none, and missed none of their copies (JPEG of quality 10, a third of the size,
60 to 125 % of the light, gamma 0.7, noise of 8 codes).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_DISTANCE", "MIN_CORRELATION", "Likeness", "find_alike", "likeness"]

MAX_DISTANCE = 14  # bits; copies reached 12, strangers begin at 12 but correlate by 0.82 at most
MIN_CORRELATION = 0.88  # copies reached 0.897 (nearly white, and then clipped)
_FLAT_CODES = 1.0
_HASH_PX, _THUMBNAIL_PX, _LOW = 32, 16, 8
_BLOCK_ROWS = 256


@dataclass(frozen=True, slots=True, eq=False)
class Likeness:
    """What is kept of an image to compare it by."""

    signs: NDArray[np.float32]  # (64,) -1 or 1; the distance of two hashes is (64 - dot product) / 2
    thumbnail: NDArray[np.float32]  # (256,) mean 0, length 1: the dot product of two is their correlation


def likeness(luma: NDArray[np.uint8]) -> Likeness | None:
    """Return what an image is known by.

    Parameters
    ----------
    luma
        (H, W) uint8 display codes.

    Returns
    -------
    None if the image is too flat to tell it from another: black, white, fog.
    """
    thumbnail = _reduced(luma, _THUMBNAIL_PX).ravel()
    thumbnail -= thumbnail.mean()
    if thumbnail.std() < _FLAT_CODES:
        return None
    low = cv2.dct(_reduced(luma, _HASH_PX))[:_LOW, :_LOW].ravel()
    bits = low > np.median(low[1:])
    bits[0] = False
    signs = np.where(bits, np.float32(1), np.float32(-1))
    return Likeness(signs, thumbnail / np.linalg.norm(thumbnail))


def _reduced(luma: NDArray[np.uint8], side: int) -> NDArray[np.float32]:
    reduced = cv2.resize(luma.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
    return reduced.astype(np.float32, copy=False)


def find_alike(
    ours: Sequence[Likeness], theirs: Sequence[Likeness]
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]]:
    """Compare every image with every other, a block of ours at a time.

    Yields
    ------
    For each two that are alike, (M,) each: their places in ``ours`` and ``theirs``, and the distance of their hashes
    in bits. Blocks without any are left out.
    """
    if not ours or not theirs:
        return
    their_signs = np.stack([image.signs for image in theirs])
    their_thumbnails = np.stack([image.thumbnail for image in theirs])
    for start in range(0, len(ours), _BLOCK_ROWS):
        block = ours[start : start + _BLOCK_ROWS]
        distances = (64 - np.stack([image.signs for image in block]) @ their_signs.T) / 2
        is_near = distances <= MAX_DISTANCE
        # Few rows and columns are left to look at more closely.
        rows, columns = np.flatnonzero(is_near.any(1)), np.flatnonzero(is_near.any(0))
        correlations = np.stack([image.thumbnail for image in block])[rows] @ their_thumbnails[columns].T
        i, j = np.nonzero(is_near[np.ix_(rows, columns)] & (correlations >= MIN_CORRELATION))
        if i.size:
            yield start + rows[i], columns[j], distances[rows[i], columns[j]].astype(np.intp)
