"""The multi-scale network of Nah et al., CVPR 2017, whole, and its discriminator.

Where the paper leaves a detail open, the code that its authors released decides. Letters, figures and tables are the
paper's.
"""

from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blursynth.errors import SettingsError

from .pyramid import check_images, gaussian_pyramid

__all__ = ["MSCNN", "Discriminator", "MSCNNConfig"]

_MID_GRAY = 0.5
_PAPER_NUM_BLOCKS = {1: 59, 2: 29, 3: 19}
_UPCONV_KERNEL_SIZE = 5
_LEAKY_SLOPE = 0.2


@dataclass(frozen=True, slots=True)
class MSCNNConfig:
    """Size of an `MSCNN`; the defaults are the paper's network.

    Parameters
    ----------
    num_scales
        K, the number of scales of the pyramid.
    num_blocks
        Residual blocks per scale, of two convolutions each.
    channels
        Feature channels.
    kernel_size
        Side of every kernel in px, odd.

    Raises
    ------
    SettingsError
        If a value is below 1, or the kernel size even.
    """

    num_scales: int = 3
    num_blocks: int = 19
    channels: int = 64
    kernel_size: int = 5

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if getattr(self, name) < 1:
                msg = f"{name} is {getattr(self, name)}: it must be at least 1"
                raise SettingsError(msg)
        if self.kernel_size % 2 == 0:
            msg = f"kernel_size is {self.kernel_size}: it must be odd, so that sizes stay as they are"
            raise SettingsError(msg)

    @classmethod
    def paper(cls, num_scales: int = 3) -> Self:
        """Return the paper's network for K = 1, 2 or 3: 120 convolutions in all, whatever the number of scales.

        Parameters
        ----------
        num_scales
            K, from 1 to 3.

        Returns
        -------
        59, 29 or 19 blocks per scale, 64 channels, 5 × 5 kernels.

        Raises
        ------
        SettingsError
            For any other K: the paper has none.
        """
        if num_scales not in _PAPER_NUM_BLOCKS:
            msg = f"num_scales is {num_scales}: the paper has networks with 1, 2 and 3 scales"
            raise SettingsError(msg)
        return cls(num_scales=num_scales, num_blocks=_PAPER_NUM_BLOCKS[num_scales])


class _ResBlock(nn.Module):
    """Convolution, ReLU, convolution, plus the input; neither normalised nor rectified after the sum (fig. 2b)."""

    def __init__(self, channels: int, kernel_size: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2)
        self.second = nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2)

    def forward(self, features: Tensor) -> Tensor:
        hidden = F.relu(self.first(features), inplace=True)
        branch: Tensor = self.second(hidden)
        return branch.add_(features)  # in place: no gradient needs the branch, and a feature map of 12 Mpx takes 3 GB


class _Scale(nn.Sequential):
    """The residual network of one scale, from 3 or 6 channels to an image, all around zero (fig. 3)."""

    def __init__(self, config: MSCNNConfig, in_channels: int) -> None:
        channels, size = config.channels, config.kernel_size
        super().__init__(
            nn.Conv2d(in_channels, channels, size, padding=size // 2),
            *(_ResBlock(channels, size) for _ in range(config.num_blocks)),
            nn.Conv2d(channels, 3, size, padding=size // 2),
        )


class MSCNN(nn.Module):
    """Coarse-to-fine residual networks that predict the sharp image itself, with no sum with the blurry one.

    Parameters
    ----------
    config
        The size of the network.

    Notes
    -----
    Nah et al., CVPR 2017, fig. 3. Each scale has weights of its own, drawn as PyTorch draws them by
    default, which is how Torch 7 drew the paper's. The coarser image reaches the next finer scale through a
    5 × 5 "upconvolution": 3 to 12 channels, shuffled to twice the size.
    """

    def __init__(self, config: MSCNNConfig | None = None) -> None:
        super().__init__()
        self.config = MSCNNConfig() if config is None else config
        num_scales = self.config.num_scales
        # Both are finest first: upconvs[k] leads from scale k + 1 to scale k.
        self.scales = nn.ModuleList(_Scale(self.config, 6 if k < num_scales - 1 else 3) for k in range(num_scales))
        self.upconvs = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(3, 12, _UPCONV_KERNEL_SIZE, padding=_UPCONV_KERNEL_SIZE // 2),
                nn.PixelShuffle(2),
            )
            for _ in range(num_scales - 1)
        )

    @property
    def size_multiple(self) -> int:
        """What the sides of the images must be multiples of, in px."""
        return 1 << (self.config.num_scales - 1)

    def pyramid(self, images: Tensor) -> list[Tensor]:
        """Return what the restored images are compared with: the Gaussian pyramid of sharp images, finest first."""
        return gaussian_pyramid(images, self.config.num_scales)

    def forward(self, blurry: Tensor) -> list[Tensor]:
        """Restore images.

        Parameters
        ----------
        blurry
            (N, 3, H, W) float, RGB in [0, 1]; H and W multiples of `size_multiple`. Left as they are.

        Returns
        -------
        K tensors in the dtype of ``blurry``, not clipped, finest first: (N, 3, H, W), (N, 3, H/2, W/2), …

        Raises
        ------
        ValueError
            If the images have other sizes.
        """
        coarsest_first = []
        coarser: Tensor | None = None
        for k, level in reversed(list(enumerate(self.pyramid(blurry)))):
            features = level - _MID_GRAY
            if coarser is not None:
                features = torch.cat((features, self.upconvs[k](coarser)), dim=1)  # (N, 6, H / 2^k, W / 2^k)
            coarser = self.scales[k](features)  # around zero, (N, 3, H / 2^k, W / 2^k)
            coarsest_first.append(coarser.to(blurry.dtype) + _MID_GRAY)
        return coarsest_first[::-1]


class Discriminator(nn.Module):
    """Tells restored from sharp images; only needed to train with the adversarial loss.

    Parameters
    ----------
    channels
        Width of the first two layers, at least 1; the paper's network has 32.

    Raises
    ------
    SettingsError
        If the width is below 1.

    Notes
    -----
    Nah et al., CVPR 2017, table 1, in the variant of the released code, which has one more convolution, 3 to 32
    channels at full resolution. Every convolution but the last is followed by a leaky ReLU (slope 0.2), none has a
    bias. The sigmoid is left to the loss, where it is stable.
    """

    def __init__(self, channels: int = 32) -> None:
        super().__init__()
        if channels < 1:
            msg = f"channels is {channels}: it must be at least 1"
            raise SettingsError(msg)
        layers: list[nn.Module] = []
        width = 3
        # (widening, stride): 256 px become 256, 128, 128, 64, 64, 16, 16, 4, 4
        for widening, stride in ((1, 1), (1, 2), (2, 1), (2, 2), (4, 1), (4, 4), (8, 1), (8, 4), (16, 1)):
            layers.append(nn.Conv2d(width, channels * widening, 5, stride, padding=2, bias=False))
            layers.append(nn.LeakyReLU(_LEAKY_SLOPE, inplace=True))
            width = channels * widening
        layers.append(nn.Conv2d(width, width, 4, stride=4, bias=False))  # 4 px become 1
        layers.append(nn.LeakyReLU(_LEAKY_SLOPE, inplace=True))
        layers.append(nn.Conv2d(width, 1, 1, bias=False))
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """Judge images.

        Parameters
        ----------
        images
            (N, 3, H, W) float, RGB in [0, 1]; H and W multiples of 256. Left as they are.

        Returns
        -------
        (N, H/256, W/256) logits, one for each square of 256 × 256 px: positive where it looks sharp.

        Raises
        ------
        ValueError
            If the images have other sizes.
        """
        check_images(images, 256)
        logits: Tensor = self.layers(images)  # (N, 1, H/256, W/256)
        return logits.squeeze(1)
