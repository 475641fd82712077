"""Augmentation on the device, as in Nah et al., CVPR 2017: turns and mirrors, colours, noise.

What is done to a sample follows from the seed and its number alone; only the noise also depends on the kind of device.
A batch is changed as a whole: sample by sample, a GPU would wait for thousands of launches in each step.
"""

import itertools

import numpy as np
import torch
from torch import Tensor

from .online.batch import Batch
from .online.light import per_picture
from .online.transfer import sent

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
    pairs = torch.stack((batch.blurry, batch.sharp))  # (2, N, 3, H, W)
    ways: dict[tuple[int, int], list[int]] = {}
    orders = []
    for k in range(len(batch.blurry)):
        rng = np.random.default_rng((seed, batch.first_sample + k, _STREAM))
        quarter_turns, is_mirrored, number = (int(rng.integers(count)) for count in (4, 2, 6))
        ways.setdefault((quarter_turns, is_mirrored), []).append(k)
        orders.append(_CHANNEL_ORDERS[number])
    for (quarter_turns, is_mirrored), alike in ways.items():  # eight at most, whatever the batch: each costs launches
        places = sent(torch.tensor(alike), pairs.device)
        turned = torch.rot90(pairs[:, places], quarter_turns, dims=(3, 4))
        pairs[:, places] = turned.flip(4) if is_mirrored else turned
    order = sent(torch.tensor(orders), pairs.device)[:, :, None, None]  # (N, 3, 1, 1)
    pairs = pairs.gather(2, order.expand(pairs.shape))
    blurry, sharp = (images.contiguous(memory_format=torch.channels_last) for images in pairs)
    return Batch(blurry, sharp, batch.first_sample)


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
    factors, deviations, are_sharp = [], [], []
    grain = torch.empty(blurry.shape, dtype=blurry.dtype, device=blurry.device)
    noise = torch.Generator(blurry.device)
    for k, picture in enumerate(grain):
        rng = np.random.default_rng((seed, first_sample + k, _DEGRADE_STREAM))
        factors.append(float(rng.uniform(*_SATURATION)))
        deviations.append(float(rng.normal(0.0, _NOISE_SPREAD)))
        picture.normal_(generator=noise.manual_seed(int(rng.integers(1 << 63))))
        are_sharp.append(float(rng.random() < _SHARP_SHARE))
    factor, deviation, is_sharp = (per_picture(each, blurry.device) for each in (factors, deviations, are_sharp))
    blurry = _saturated(torch.where(is_sharp > 0, sharp, blurry), factor)
    noisy = blurry.addcmul_(deviation, grain).clamp_(0, 1)
    layout = torch.channels_last
    return noisy.contiguous(memory_format=layout), _saturated(sharp, factor).contiguous(memory_format=layout)


def _saturated(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply the saturation of HSV: hue and value stay, so each channel's distance from the largest is scaled."""
    value = images.amax(1, keepdim=True)  # (N, 1, H, W)
    return (value - (value - images) * factor).clamp_(0, 1)
