"""How good a network is: the same crops each time, each scored once, whatever the number of processes."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from .augment import to_unit
from .device import Precision, autocast
from .distributed import World
from .metrics import psnr
from .networks import Network, restore_images

__all__ = ["SCORE_DEFINITION", "Example", "mean_score", "score", "telling", "validate"]

Image = NDArray[np.uint8]
Example = tuple[Image, Image]

SCORE_DEFINITION = (
    "mean of PSNR in dB (100 at most) over images whose blurry and sharp one differ, RGB, uint8 rounded, peak 255, "
    "centre crops"
)
_PSNR_OF_EQUAL_IMAGES = 100.0  # not infinite, or one of them would hide what becomes of the others


def score(restored: Image, sharp: Image) -> float:
    """Return the PSNR of an image in dB, 100 at most."""
    return min(_PSNR_OF_EQUAL_IMAGES, psnr(restored, sharp))


def telling(examples: Sequence[Example]) -> Sequence[Example]:
    """Return the examples whose images differ; all of them if none does.

    A pair of a camera that rested says nothing of deblurring, and its 100 dB would outweigh what the others say.
    """
    return [each for each in examples if not np.array_equal(*each)] or examples


def mean_score(scores: Sequence[float]) -> float | None:
    """Return the mean of scores; None if there are none."""
    return float(np.mean(scores)) if scores else None


@torch.inference_mode()
def validate(
    network: Network,
    device: torch.device,
    examples: Sequence[Example],
    world: World,
    show: Callable[[int, Image], None],
    *,
    precision: Precision = "auto",
) -> float | None:
    """Score a network on (blurry, sharp) images, (H, W, 3) uint8; see SCORE_DEFINITION.

    Parameters
    ----------
    world
        Each process scores its share; all return the score of all examples.
    show
        Called with the number of an example and its restored image, for those that this process scores.
    precision
        See `device.autocast`.

    Returns
    -------
    The mean; None without examples.
    """
    network.eval()
    scores = []
    for number, (blurry, sharp) in world.share(list(enumerate(examples))):
        images = to_unit(torch.from_numpy(blurry).to(device)).permute(2, 0, 1)[None]
        with autocast(device, precision):
            restored = restore_images(network, images)
        codes = restored[0].permute(1, 2, 0).mul(255).round().to(torch.uint8).cpu().numpy()
        show(number, codes)
        scores.append(score(codes, sharp))
    return mean_score(world.collect(scores, len(examples)))
