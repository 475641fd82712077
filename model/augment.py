"""Augmentation on the device, as in Nah et al., CVPR 2017: turns and mirrors, colours, noise.

What is done to a sample follows from the seed and its number alone; only the noise also depends on the kind of device.
"""

import itertools

import numpy as np
import torch
from torch import Tensor

from .online.batch import Batch

__all__ = ["augment", "degrade", "to_unit"]

_STREAM = 1  # of the generator's key; crops are drawn from another
_DEGRADE_STREAM = 2
_SATURATION = (0.5, 1.5)
_NOISE_SPREAD = 2 / 255  # the standard deviation of the noise's standard deviation
_SHARP_SHARE = 0.1
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


def degrade(blurry: Tensor, sharp: Tensor, *, first_sample: int, seed: int) -> tuple[Tensor, Tensor]:
    """Change the saturation of both crops and add noise to the blurry one; a tenth of the blurry ones is sharp.

    Parameters
    ----------
    blurry, sharp
        (N, 3, H, W) float in [0, 1]; left as they are.
    first_sample
        The number of the first sample; together with the seed, each number decides what is done to its sample.

    Returns
    -------
    Blurry and sharp, the same shapes, clipped to [0, 1].

    Notes
    -----
    Nah et al., CVPR 2017: the saturation in HSV times U(0.5, 1.5), for every sample (the released code: for a tenth);
    noise of a standard deviation drawn from N(0, (2/255)²) for each sample. The sharp pairs are the released code's:
    they teach to leave alone what is sharp.
    """
    pairs = [
        _degraded(*pair, np.random.default_rng((seed, first_sample + k, _DEGRADE_STREAM)))
        for k, pair in enumerate(zip(blurry, sharp, strict=True))
    ]
    blurry, sharp = (
        torch.stack(images).contiguous(memory_format=torch.channels_last) for images in zip(*pairs, strict=True)
    )
    return blurry, sharp


def _degraded(blurry: Tensor, sharp: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    factor = float(rng.uniform(*_SATURATION))
    noise_std = float(rng.normal(0.0, _NOISE_SPREAD))
    noise = torch.Generator(blurry.device).manual_seed(int(rng.integers(1 << 63)))
    if rng.random() < _SHARP_SHARE:
        blurry = sharp
    blurry, sharp = _saturated(blurry, factor), _saturated(sharp, factor)
    grain = torch.randn(blurry.shape, generator=noise, device=blurry.device)
    return blurry.add(grain, alpha=noise_std).clamp_(0, 1), sharp


def _saturated(image: Tensor, factor: float) -> Tensor:
    """Multiply the saturation of HSV: hue and value stay, so each channel's distance from the largest is scaled."""
    value = image.amax(0, keepdim=True)  # (1, H, W)
    return (value - (value - image) * factor).clamp_(0, 1)
