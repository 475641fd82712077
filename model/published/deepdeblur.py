"""Weights of DeepDeblur-PyTorch, by the authors of Nah et al., CVPR 2017: https://github.com/SeungjunNah/DeepDeblur-PyTorch.

Its network is the paper's, and so ours, but for names and two things. Its images are in [0, 255] around 127.5 and not
in [0, 1] around 0.5, and their pyramid is another one.
"""

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from blursynth.errors import CheckpointError, SettingsError
from blursynth.files import printable
from blursynth.model.mscnn import MSCNN, MSCNNConfig
from blursynth.model.pyramid import check_images

from .fitting import build_empty, check_shapes

__all__ = ["CentredMSCNN", "deepdeblur_network"]

_BODY = re.compile(r"body_models\.(\d{1,3})\.body\.(\d{1,5})\.")
_SIGMA_PX = 2 / 3
_RADIUS_PX = 3


class CentredMSCNN(MSCNN):
    """The paper's network on the pyramid of its PyTorch port, whose pixels lie over the middle of 2 × 2 finer ones.

    The paper's own pyramid takes the first of each 2 × 2 pixels. Weights that were trained on one of the two see, on
    the other, scales that are shifted against each other.
    """

    def pyramid(self, images: Tensor) -> list[Tensor]:
        """Return the pyramid of images, finest first: what the restored images are compared with.

        Notes
        -----
        Each scale is blurred with a Gaussian of sigma 2/3 px, cut off at 3 px, and the mean of each 2 × 2 pixels is
        taken. Beyond its border an image continues with its mirror image. So does ``pyramid_gaussian`` of scikit-image,
        which the port calls. As in `gaussian_pyramid`, sums are formed in float32 at least, also under autocast.
        """
        check_images(images, self.size_multiple)
        level = images.to(torch.promote_types(images.dtype, torch.float32))
        pyramid = [images]
        for _ in range(self.config.num_scales - 1):
            level = _halved(_halved(level).mT).mT
            pyramid.append(level.to(images.dtype))
        return pyramid


def _halved(level: Tensor) -> Tensor:
    """Blur along the last dimension and take the mean of each two pixels: (N, 3, A, B) becomes (N, 3, A, B/2)."""
    length = level.shape[3]
    places = torch.arange(-_RADIUS_PX, length + _RADIUS_PX, device=level.device)
    places = torch.maximum(places, -1 - places)  # c b a | a b c
    places = torch.minimum(places, 2 * length - 1 - places)  # a b c | c b a
    places = torch.maximum(places, -1 - places)  # where the image is so small that the mirror image ends too
    padded = level.index_select(3, places)
    taps = _taps()
    every_second = [padded[..., i : i + length - 1 : 2] for i in range(len(taps))]
    halved = taps[0] * (every_second[0] + every_second[-1])
    for i in range(1, len(taps) // 2):
        halved = halved + taps[i] * (every_second[i] + every_second[-1 - i])
    return halved


def _taps() -> list[float]:
    """Return the weights of a Gaussian, and of it one pixel further, by halves."""
    side = [math.exp(-0.5 * (distance / _SIGMA_PX) ** 2) for distance in range(-_RADIUS_PX, _RADIUS_PX + 1)]
    gaussian = [weight / sum(side) for weight in side]
    return [(before + after) / 2 for before, after in zip([*gaussian, 0.0], [0.0, *gaussian], strict=True)]


def deepdeblur_network(path: Path, state: Mapping[str, Tensor], rgb_range: float) -> CentredMSCNN:
    """Build the network of a state dict of the port.

    Parameters
    ----------
    path
        Where the weights come from, for messages.
    state
        The port's names and finite tensors.
    rgb_range
        The code of white that they were trained with.

    Returns
    -------
    A network in evaluation mode for images in [0, 1], float32, with weights of its own.

    Raises
    ------
    CheckpointError
        If names or shapes are not those of such a network.
    SettingsError
        If ``rgb_range`` is not from 1 to 65535.
    """
    if not 1 <= rgb_range <= 65535:
        raise SettingsError(f"rgb_range is {rgb_range}: it must be from 1 to 65535")
    config = _config(path, state)
    network = build_empty(path, lambda: CentredMSCNN(config))
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    names = dict(_names(config))
    check_shapes(path, {theirs: shapes[ours] for ours, theirs in names.items()}, state)
    # Convolutions, ReLU and sums of images of another unit are the same up to that unit if their biases are in it too.
    weights = {
        ours: state[theirs].detach().to(torch.float32).clone() / (rgb_range if theirs.endswith(".bias") else 1)
        for ours, theirs in names.items()
    }
    network.load_state_dict(weights, assign=True)
    return network.eval()


def _config(path: Path, state: Mapping[str, Tensor]) -> MSCNNConfig:
    """Read the size of the network from names and the first kernel; all the rest is compared with it afterwards."""
    places = [(int(match[1]), int(match[2])) for name in state if (match := _BODY.match(name))]
    first = state.get("body_models.0.body.0.weight")
    if first is None or first.ndim != 4:
        known = "DeepDeblur-PyTorch (body_models.0.body.0.weight, …)"
        example = printable(min(state)[:100])
        raise CheckpointError(f"{printable(path)}: not the weights of {known} or NAFNet; it holds {example}")
    num_scales = 1 + max(scale for scale, _ in places)
    num_blocks = max(block for _, block in places) - 1
    if num_scales * num_blocks > len(state):  # each has some; made-up names could keep us building for hours
        raise CheckpointError(f"{printable(path)}: weights for {num_scales} scales of {num_blocks} blocks are missing")
    try:
        return MSCNNConfig(num_scales, num_blocks, first.shape[0], first.shape[3])
    except SettingsError as error:
        raise CheckpointError(f"{printable(path)}: not a network that can be built: {error}") from error


def _names(config: MSCNNConfig) -> Iterator[tuple[str, str]]:
    """Name each tensor as we do and as the port does."""
    for k in range(config.num_scales):
        yield from _both(f"scales.{k}.0", f"body_models.{k}.body.0")
        for block in range(1, config.num_blocks + 1):
            yield from _both(f"scales.{k}.{block}.first", f"body_models.{k}.body.{block}.body.0")
            yield from _both(f"scales.{k}.{block}.second", f"body_models.{k}.body.{block}.body.2")
        last = config.num_blocks + 1
        yield from _both(f"scales.{k}.{last}", f"body_models.{k}.body.{last}")
    for k in range(config.num_scales - 1):  # the port counts where they start, we where they lead to
        yield from _both(f"upconvs.{k}.0", f"conv_end_models.{k + 1}.uppath.0")


def _both(ours: str, theirs: str) -> Iterator[tuple[str, str]]:
    for kind in ("weight", "bias"):
        yield f"{ours}.{kind}", f"{theirs}.{kind}"
