"""The light network: multi-scale in, multi-scale out, light enough for a processor without a GPU.

A U-shaped network that starts at half resolution and ends with a sum with the blurry image, so that it only has to
learn the difference. It takes from

* NAFNet (Chen et al., ECCV 2022) blocks whose only non-linearity is a product of two halves of the channels,
* MIMO-UNet (Cho et al., ICCV 2021) a blurry image that enters, and a restored image that leaves, at every scale,
* EfficientNetV2 (Tan and Le, ICML 2021) dense convolutions at the fine levels, where depthwise ones would wait for
  memory.

It has no global pooling: what it does to a pixel depends on the pixels around it alone, so tiles fit together, and
photographs larger or stranger than the training patches cannot shift a statistic of the whole image.
"""

from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blursynth.errors import SettingsError

from .pyramid import average_pyramid, check_images

__all__ = ["Lite", "LiteConfig"]

_MID_GRAY = 0.5
_SHUFFLED = 12  # three channels of a square of 2 × 2 pixels


@dataclass(frozen=True, slots=True)
class LiteConfig:
    """Size of a `Lite`; the defaults are `base`.

    Level 0 works at half the resolution of the image, each further level at half of the one before.

    Parameters
    ----------
    channels
        Feature channels of each level, at least two levels.
    encoder_blocks
        Blocks of each level on the way down; the last number is the bottom.
    decoder_blocks
        Blocks of each level but the last on the way up, level 0 first.
    num_fused_levels
        So many levels, from level 0, have fused blocks; the others have blocks with a depthwise convolution.
    depthwise_kernel_size
        Side of the depthwise kernels in px of their level, odd.
    tone_px
        When restoring, what is added to an image has no mean over squares of this side in px, with soft borders: the
        exposure moves light about, and hardly any of it further. A multiple of the network's `size_multiple`, or 0 for
        no such bound. The weights do not depend on it.

    Raises
    ------
    SettingsError
        If a number is negative, a level lacks channels, or the numbers of levels do not fit together.
    """

    channels: tuple[int, ...] = (64, 128, 256, 384)
    encoder_blocks: tuple[int, ...] = (1, 2, 16, 4)
    decoder_blocks: tuple[int, ...] = (1, 2, 4)
    num_fused_levels: int = 2
    depthwise_kernel_size: int = 5
    tone_px: int = 0

    def __post_init__(self) -> None:
        for name in ("channels", "encoder_blocks", "decoder_blocks"):  # JSON returns lists
            object.__setattr__(self, name, tuple(getattr(self, name)))
        num_levels = len(self.channels)
        if num_levels < 2 or min(self.channels) < 1:
            msg = f"channels is {self.channels}: it needs two levels or more, each of at least 1 channel"
            raise SettingsError(msg)
        for name, blocks, expected in (
            ("encoder_blocks", self.encoder_blocks, num_levels),
            ("decoder_blocks", self.decoder_blocks, num_levels - 1),
        ):
            if len(blocks) != expected or min(blocks) < 0:
                msg = f"{name} is {blocks}: {num_levels} levels of channels need {expected} numbers, none negative"
                raise SettingsError(msg)
        if self.num_fused_levels < 0:
            msg = f"num_fused_levels is {self.num_fused_levels}: it must not be negative"
            raise SettingsError(msg)
        if self.depthwise_kernel_size < 1 or self.depthwise_kernel_size % 2 == 0:
            msg = f"depthwise_kernel_size is {self.depthwise_kernel_size}: it must be odd and positive"
            raise SettingsError(msg)
        if self.tone_px < 0 or self.tone_px % (1 << num_levels):
            msg = f"tone_px is {self.tone_px}: it must be 0 or a multiple of {1 << num_levels}"
            raise SettingsError(msg)

    @classmethod
    def base(cls) -> Self:
        """Return the default size, for a GPU: 14.5 million parameters, 18.0 GMACs for 256 × 256 px."""
        return cls()

    @classmethod
    def tiny(cls) -> Self:
        """Return the size for a CPU: 2.2 million parameters, 1.0 GMACs for 256 × 256 px.

        Five levels, hardly a block at the finest: what a second of a processor teaches it is twice what four levels
        with blocks at half resolution learn (`docs/default-model.md`).
        """
        return cls(
            channels=(16, 32, 64, 96, 128),
            encoder_blocks=(0, 1, 3, 3, 2),
            decoder_blocks=(1, 1, 2, 2),
            num_fused_levels=5,
        )


def _normalize(features: Tensor) -> Tensor:
    """Normalise the channels of each pixel to mean 0 and variance 1.

    There are no weights and no biases to learn: the convolution that follows has its own. With channels last, the
    channels of a pixel are a row, and PyTorch's row kernel needs a third of the time, forwards and backwards, of the
    mean and variance written out.
    """
    rows = F.layer_norm(features.permute(0, 2, 3, 1), features.shape[1:2])
    return rows.permute(0, 3, 1, 2)


def _gate(features: Tensor) -> Tensor:
    """Multiply the first half of the channels by the second: the only non-linearity besides the normalisation."""
    first, second = features.chunk(2, dim=1)
    return first * second


class _ScaledConv1x1(nn.Conv2d):
    """A 1 × 1 convolution whose output is scaled per channel, by nothing at first, so that a block starts as identity.

    The scale is multiplied into the kernel, which is small, and not into the features.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(channels))

    def forward(self, features: Tensor) -> Tensor:
        weight = self.weight * self.gamma[:, None, None, None]
        bias = None if self.bias is None else self.bias * self.gamma
        return F.conv2d(features, weight, bias)


class _FusedBlock(nn.Module):
    """Dense 3 × 3 convolution, gate, 1 × 1 convolution: 19 c² multiplications per pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(channels, 2 * channels, 3, padding=1)
        self.project = _ScaledConv1x1(channels)

    def forward(self, features: Tensor) -> Tensor:
        branch: Tensor = self.project(_gate(self.expand(_normalize(features))))
        return features + branch


class _DepthwiseBlock(nn.Module):
    """NAFNet's block without its global channel attention: 6 c² + 2 c k² multiplications per pixel."""

    def __init__(self, channels: int, kernel_size: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(channels, 2 * channels, 1)
        self.mix = nn.Conv2d(2 * channels, 2 * channels, kernel_size, padding=kernel_size // 2, groups=2 * channels)
        self.project = _ScaledConv1x1(channels)
        self.second_expand = nn.Conv2d(channels, 2 * channels, 1)
        self.second_project = _ScaledConv1x1(channels)

    def forward(self, features: Tensor) -> Tensor:
        branch: Tensor = self.project(_gate(self.mix(self.expand(_normalize(features)))))
        features = features + branch
        branch = self.second_project(_gate(self.second_expand(_normalize(features))))
        return features + branch


def _blocks(config: LiteConfig, level: int, num_blocks: int) -> nn.Sequential:
    channels = config.channels[level]
    if level < config.num_fused_levels:
        return nn.Sequential(*(_FusedBlock(channels) for _ in range(num_blocks)))
    return nn.Sequential(*(_DepthwiseBlock(channels, config.depthwise_kernel_size) for _ in range(num_blocks)))


def _head(channels: int) -> nn.Conv2d:
    """Return the convolution to the image at twice the resolution, before shuffling; zero at first."""
    head = nn.Conv2d(channels, _SHUFFLED, 3, padding=1)
    nn.init.zeros_(head.weight)
    if head.bias is not None:
        nn.init.zeros_(head.bias)
    return head


class Lite(nn.Module):
    """U-shaped network of gated blocks that predicts what to add to the blurry image.

    Parameters
    ----------
    config
        The size of the network; `LiteConfig.base` if nothing is given.

    Notes
    -----
    It starts as the identity, exactly: the last convolutions are zero. Inside, features lie channels last on every
    device, whatever the layout of the images and of the weights.

    When training, it restores one image per decoder level; when evaluating (``eval()``), only the finest, and the
    coarser heads cost nothing.
    """

    def __init__(self, config: LiteConfig | None = None) -> None:
        super().__init__()
        self.config = config = LiteConfig() if config is None else config
        channels = config.channels
        num_levels = len(channels)
        # entries[l] takes the blurry image into level l, from squares of 2 × 2 of its pixels at that scale.
        self.entries = nn.ModuleList(nn.Conv2d(_SHUFFLED, width, 3, padding=1) for width in channels)
        self.encoders = nn.ModuleList(
            _blocks(config, level, config.encoder_blocks[level]) for level in range(num_levels)
        )
        # downs[l] leads from level l to level l + 1, ups[l] back. Kernels and strides are equal, and the way up is a
        # shuffle: a pixel is never covered more often than its neighbour, so there is no checkerboard.
        self.downs = nn.ModuleList(
            nn.Conv2d(channels[level], channels[level + 1], 2, stride=2) for level in range(num_levels - 1)
        )
        self.ups = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels[level + 1], 4 * channels[level], 1, bias=False), nn.PixelShuffle(2))
            for level in range(num_levels - 1)
        )
        self.decoders = nn.ModuleList(
            _blocks(config, level, config.decoder_blocks[level]) for level in range(num_levels - 1)
        )
        self.heads = nn.ModuleList(_head(channels[level]) for level in range(num_levels - 1))

    @property
    def size_multiple(self) -> int:
        """What the sides of the images must be multiples of, in px."""
        return 1 << len(self.config.channels)

    def pyramid(self, images: Tensor) -> list[Tensor]:
        """Return what the restored images of training are compared with: averages of sharp images, finest first."""
        return average_pyramid(images, len(self.config.channels) - 1)

    def forward(self, blurry: Tensor) -> list[Tensor]:
        """Restore images.

        Parameters
        ----------
        blurry
            (N, 3, H, W) float, RGB in [0, 1]; H and W multiples of `size_multiple`. Left as they are.

        Returns
        -------
        Tensors in the dtype of ``blurry``, not clipped, finest first: (N, 3, H, W) and, only when training, (N, 3, H/2,
        W/2), (N, 3, H/4, W/4), …, one less than there are levels.

        Raises
        ------
        ValueError
            If the images have other sizes.
        """
        check_images(blurry, self.size_multiple)
        blurry = blurry.contiguous(memory_format=torch.channels_last)
        scales = average_pyramid(blurry, len(self.config.channels))

        features = self._enter(scales, 0)  # (N, C0, H/2, W/2)
        skips = []
        for level, down in enumerate(self.downs):
            features = self.encoders[level](features)
            skips.append(features)
            features = down(features) + self._enter(scales, level + 1)  # (N, C, H / 2^(level + 2), …)
        features = self.encoders[-1](features)

        coarsest_first = []
        for level in reversed(range(len(skips))):
            features = _channels_last(self.ups[level](features)) + skips[level]  # (N, C, H / 2^(level + 1), …)
            features = self.decoders[level](features)
            if level == 0 or self.training:
                difference = F.pixel_shuffle(self.heads[level](features), 2)  # (N, 3, H / 2^level, …)
                if self.config.tone_px and not self.training:
                    difference = _without_tone(difference, self.config.tone_px)
                # Under autocast the difference is bfloat16, the sum is not: unchanged pixels stay as they are.
                coarsest_first.append(scales[level] + difference)
        return coarsest_first[::-1]

    def _enter(self, scales: list[Tensor], level: int) -> Tensor:
        """Return the blurry image as features of one level, (N, C, H / 2^(level + 1), W / 2^(level + 1))."""
        squares = F.pixel_unshuffle(scales[level] - _MID_GRAY, 2)  # (N, 12, …); around zero, as the padding is
        entered: Tensor = self.entries[level](_channels_last(squares))
        return entered


def _without_tone(difference: Tensor, side: int) -> Tensor:
    """Take its local mean off a difference, (N, 3, H, W); squares count as far as they lie in the image."""
    difference = difference.float()  # a mean over a thousand pixels is more exact than bfloat16 can hold
    means = F.avg_pool2d(difference, side, ceil_mode=True, count_include_pad=False)
    smooth = F.interpolate(means, scale_factor=float(side), mode="bilinear", align_corners=False)
    return difference - smooth[:, :, : difference.shape[2], : difference.shape[3]]


def _channels_last(features: Tensor) -> Tensor:
    """Undo the change of layout that shuffling makes on some devices."""
    return features.contiguous(memory_format=torch.channels_last)
