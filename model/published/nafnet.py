"""NAFNet with published weights: Chen, Chu, Zhang and Sun, "Simple Baselines for Image Restoration", ECCV 2022.

The network is written from the paper's figures; names of tensors are those of https://github.com/megvii-research/NAFNet.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blursynth.errors import CheckpointError
from blursynth.files import printable
from blursynth.model.pyramid import check_images

from .fitting import build_empty, check_shapes

__all__ = ["NAFNet", "NAFNetConfig", "is_nafnet", "nafnet_network"]

_PLACE = re.compile(r"(encoders|decoders|downs|ups|middle_blks)\.(\d{1,3})\.(?:(\d{1,5})\.)?")
_EPSILON = 1e-6


@dataclass(frozen=True, slots=True)
class NAFNetConfig:
    """Size of a `NAFNet`: channels at full resolution, and blocks of each level, the finest first.

    Level l works at the resolution of the image divided by 2^l, with ``width`` · 2^l channels.
    """

    width: int
    encoder_blocks: tuple[int, ...]
    middle_blocks: int
    decoder_blocks: tuple[int, ...]


class _LayerNorm(nn.Module):
    """Normalises the channels of each pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels))
        self.bias = nn.Parameter(torch.empty(channels))

    def forward(self, features: Tensor) -> Tensor:
        rows = F.layer_norm(features.permute(0, 2, 3, 1), features.shape[1:2], self.weight, self.bias, _EPSILON)
        return rows.permute(0, 3, 1, 2)


class _Attention(nn.Sequential):
    """Weighs channels by a linear map of their means over the whole image."""

    def __init__(self, channels: int) -> None:
        super().__init__(nn.Identity(), nn.Conv2d(channels, channels, 1))

    def forward(self, features: Tensor) -> Tensor:
        weights: Tensor = self[1](features.mean(dim=(2, 3), keepdim=True))  # (N, C, 1, 1)
        return features * weights


class _Block(nn.Module):
    """The paper's block (fig. 3c): both halves add a scaled branch to the features."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = _LayerNorm(channels), _LayerNorm(channels)
        self.conv1 = nn.Conv2d(channels, 2 * channels, 1)
        self.conv2 = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels)
        self.sca = _Attention(channels)
        self.conv3 = nn.Conv2d(channels, channels, 1)
        self.conv4 = nn.Conv2d(channels, 2 * channels, 1)
        self.conv5 = nn.Conv2d(channels, channels, 1)
        self.beta = nn.Parameter(torch.empty(1, channels, 1, 1))
        self.gamma = nn.Parameter(torch.empty(1, channels, 1, 1))

    def forward(self, features: Tensor) -> Tensor:
        branch: Tensor = self.conv3(self.sca(_gate(self.conv2(self.conv1(self.norm1(features))))))
        features = features + branch * self.beta
        branch = self.conv5(_gate(self.conv4(self.norm2(features))))
        return features + branch * self.gamma


def _gate(features: Tensor) -> Tensor:
    first, second = features.chunk(2, dim=1)
    return first * second


def _blocks(channels: int, num_blocks: int) -> nn.Sequential:
    return nn.Sequential(*(_Block(channels) for _ in range(num_blocks)))


class NAFNet(nn.Module):
    """U-shaped network of gated blocks that predicts what to add to the blurry image; for use, not for training.

    Notes
    -----
    Its channel attention looks at the whole image, or tile. The published PSNR was measured with a window of 384 px in
    its place, one and a half times the training patches (Chu et al., ECCV 2022), so tiles of about that size come
    near it, and an image in one piece does not.
    """

    def __init__(self, config: NAFNetConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.width << level for level in range(len(config.encoder_blocks) + 1)]
        levels = list(zip(widths[:-1], config.encoder_blocks, strict=True))
        coarsest_first = list(zip(widths[-2::-1], config.decoder_blocks[::-1], strict=True))
        self.intro = nn.Conv2d(3, config.width, 3, padding=1)
        self.encoders = nn.ModuleList(_blocks(width, num_blocks) for width, num_blocks in levels)
        self.downs = nn.ModuleList(nn.Conv2d(width, 2 * width, 2, stride=2) for width, _ in levels)
        self.middle_blks = _blocks(widths[-1], config.middle_blocks)
        self.ups = nn.ModuleList(
            nn.Sequential(nn.Conv2d(2 * width, 4 * width, 1, bias=False), nn.PixelShuffle(2))
            for width, _ in coarsest_first
        )
        self.decoders = nn.ModuleList(_blocks(width, num_blocks) for width, num_blocks in coarsest_first)
        self.ending = nn.Conv2d(config.width, 3, 3, padding=1)

    @property
    def size_multiple(self) -> int:
        """What the sides of the images must be multiples of, in px."""
        return 1 << len(self.config.encoder_blocks)

    def forward(self, blurry: Tensor) -> list[Tensor]:
        """Restore images.

        Parameters
        ----------
        blurry
            (N, 3, H, W) float, RGB in [0, 1]; H and W multiples of `size_multiple`. Left as they are.

        Returns
        -------
        One tensor (N, 3, H, W) in the dtype of ``blurry``, not clipped.

        Raises
        ------
        ValueError
            If the images have other sizes.
        """
        check_images(blurry, self.size_multiple)
        features = self.intro(blurry)
        skips = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            skips.append(encoder(features))
            features = down(skips[-1])
        features = self.middle_blks(features)
        for up, decoder in zip(self.ups, self.decoders, strict=True):
            features = decoder(up(features) + skips.pop())
        return [blurry + self.ending(features)]


def is_nafnet(state: Mapping[str, Tensor]) -> bool:
    """Return whether tensors have the names of NAFNet's."""
    return {"intro.weight", "ending.weight"} <= state.keys()


def nafnet_network(path: Path, state: Mapping[str, Tensor]) -> NAFNet:
    """Build the network of a state dict in NAFNet's layout.

    Parameters
    ----------
    path
        Where the weights come from, for messages.
    state
        NAFNet's names and finite tensors.

    Returns
    -------
    A network in evaluation mode for images in [0, 1], float32, with weights of its own.

    Raises
    ------
    CheckpointError
        If names or shapes are not those of such a network.
    """
    config = _config(path, state)
    network = build_empty(path, lambda: NAFNet(config))
    check_shapes(path, {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}, state)
    network.load_state_dict({name: tensor.detach().float().clone() for name, tensor in state.items()}, assign=True)
    return network.eval()


def _config(path: Path, state: Mapping[str, Tensor]) -> NAFNetConfig:
    """Read the size of the network from names and the first kernel; all the rest is compared with it afterwards."""
    num_blocks: dict[tuple[str, int], int] = {}
    for name in state:
        if match := _PLACE.match(name):
            place = match[1], int(match[2])
            num_blocks[place] = max(num_blocks.get(place, 0), 1 + int(match[3] or 0))
    num_levels = 1 + max((level for kind, level in num_blocks if kind == "downs"), default=-1)
    middle_blocks = 1 + max((block for kind, block in num_blocks if kind == "middle_blks"), default=-1)
    encoder_blocks = tuple(num_blocks.get(("encoders", level), 0) for level in range(num_levels))
    decoder_blocks = tuple(num_blocks.get(("decoders", level), 0) for level in reversed(range(num_levels)))
    width = state["intro.weight"].shape[0] if state["intro.weight"].ndim else 0
    # Each block has some weights; made-up names could keep us building for hours.
    if width < 1 or num_levels + middle_blocks + sum(encoder_blocks + decoder_blocks) > len(state):
        raise CheckpointError(f"{printable(path)}: not a NAFNet that can be built, as weights are missing")
    return NAFNetConfig(width, encoder_blocks, middle_blocks, decoder_blocks)
