"""Augmentation on the device: what turns and mirrors a crop and permutes its colours (Nah et al., CVPR 2017, 3.2)."""

import itertools

import numpy as np
import torch
from torch import Tensor

from .data import Batch

__all__ = ["augment", "to_unit"]

_STREAM = 1  # of the generator's key; crops are drawn from another
_CHANNEL_ORDERS = tuple(itertools.permutations(range(3)))


def to_unit(codes: Tensor) -> Tensor:
    """Turn uint8 codes into float32 in [0, 1], any shape and layout."""
    return codes.float().div_(255)


def augment(batch: Batch, *, seed: int) -> Batch:
    """Turn each sample by a multiple of 90°, mirror it or not, permute its channels; the same for blurry and sharp.

    Parameters
    ----------
    batch
        Square crops on any device; left as they are.
    seed
        Together with the number of a sample it decides what is done to it.
    """
    pairs = [
        _changed(torch.stack((blurry, sharp)), seed, batch.first_sample + k)  # (2, 3, H, W)
        for k, (blurry, sharp) in enumerate(zip(batch.blurry, batch.sharp, strict=True))
    ]
    stacked = torch.stack(pairs, dim=1)  # (2, N, 3, H, W)
    blurry, sharp = (images.contiguous(memory_format=torch.channels_last) for images in stacked)
    return Batch(blurry, sharp, batch.first_sample)


def _changed(pair: Tensor, seed: int, sample: int) -> Tensor:
    rng = np.random.default_rng((seed, sample, _STREAM))
    quarter_turns, is_mirrored, order = (int(rng.integers(count)) for count in (4, 2, 6))
    pair = torch.rot90(pair, quarter_turns, dims=(2, 3))
    if is_mirrored:
        pair = pair.flip(3)
    return pair[:, list(_CHANNEL_ORDERS[order])]
