"""What a sensor does to light, as tensor operations: `blursynth.radiometry.render` for batches, on any device.

The draws are those of `blursynth.rendition.Rendition`; the noise comes from torch's generators instead of NumPy's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from blursynth.radiometry import Light
from blursynth.radiometry.mosaic import CAMERA_OF_SRGB, SRGB_OF_CAMERA
from blursynth.rendition import Draw, Rendition

from .jpeg import through_jpeg, through_libjpeg
from .rendering import Crops
from .transfer import sent

__all__ = ["Darkroom", "per_picture", "with_noise", "with_plain_noise"]

_GAUSSIAN_FROM = 32  # counts from which a Poisson distribution is drawn as a Gaussian of the same variance
_RED_SITES = ((0, 0), (1, 1), (0, 1), (1, 0))  # row and column of red in RGGB, BGGR, GRBG, GBRG
# Malvar, He and Cutler, ICASSP 2004, fig. 2: a colour at green pixels whose row has it, whose column has it; red at
# blue or blue at red; green at both. In sixteenths.
_MALVAR = (
    ((0, 0, 1, 0, 0), (0, -2, 0, -2, 0), (-2, 8, 10, 8, -2), (0, -2, 0, -2, 0), (0, 0, 1, 0, 0)),
    ((0, 0, -2, 0, 0), (0, -2, 8, -2, 0), (1, 0, 10, 0, 1), (0, -2, 8, -2, 0), (0, 0, -2, 0, 0)),
    ((0, 0, -3, 0, 0), (0, 4, 0, 4, 0), (-3, 0, 12, 0, -3), (0, 4, 0, 4, 0), (0, 0, -3, 0, 0)),
    ((0, 0, -2, 0, 0), (0, 0, 4, 0, 0), (-2, 4, 8, 4, -2), (0, 0, 4, 0, 0), (0, 0, -2, 0, 0)),
)


@dataclass(frozen=True, slots=True, eq=False)
class Darkroom:
    """Develops batches on one device.

    Parameters
    ----------
    rendition
        Response curves, and what the light chain may do.
    thresholds
        (C, 255) float32: where the codes of each curve begin; the photographs' own curve comes last.
    tables
        (C, 256) uint8: codes of the photographs' curve into those of each.
    """

    rendition: Rendition
    thresholds: Tensor
    tables: Tensor

    @classmethod
    def build(cls, rendition: Rendition, device: torch.device) -> "Darkroom":
        """Prepare a rendition."""
        curves = (*rendition.outputs, rendition.curve)
        begins = np.stack([curve.code_thresholds() for curve in curves])
        rounded = begins.astype(np.float32)
        rounded = np.where(rounded < begins, np.nextafter(rounded, np.float32(np.inf)), rounded)
        # Through fine codes, as `Rendition.sharp` does.
        light = rendition.curve.from_fine(rendition.curve.to_fine(rendition.curve.linear_of_codes()))
        tables = np.stack([curve.from_linear(light) for curve in curves])
        return cls(rendition, torch.from_numpy(rounded).to(device), torch.from_numpy(tables).to(device))

    def develop(self, crops: Crops, keys: Sequence[int], phases: list[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        """Turn light into what a camera would have stored.

        Parameters
        ----------
        crops
            N of them.
        keys
            What `Rendition.draw` draws from, for each.
        phases
            Places in the blocks of JPEG, see `through_jpeg`.

        Returns
        -------
        Blurry and sharp, (N, H, W, 3) uint8 codes.
        """
        draws = [self.rendition.draw(key, 1.0) for key in keys]
        glow = None
        if self.rendition.chain.needs_saturation:
            alphas = [draw.light.highlights for draw in draws]
            glow = per_picture(alphas, crops.saturation.device) * crops.saturation
        codes = self.blurry(crops.blurry_linear, glow, draws, phases)
        return codes, self._recoded(crops.sharp, self.curves(draws, codes.device))

    def blurry(
        self, linear: Tensor, glow: Tensor | None, draws: Sequence[Draw], phases: list[tuple[int, int]]
    ) -> Tensor:
        """Turn light, (N, H, W, 3) float32, into (N, H, W, 3) uint8 codes; ``glow`` is what highlights gain."""
        chain, lights = self.rendition.chain, [draw.light for draw in draws]
        exposed = (linear if glow is None else linear + glow).clamp(0, 1)
        if chain.noise != "off":
            noisy = (with_plain_noise if chain.noise == "match" else with_noise)(exposed, lights)
            exposed = torch.where(exposed < 1, noisy.clamp(0, 1), exposed)
        codes = self._encoded(exposed, self.curves(draws, exposed.device))
        if chain.jpeg == "off":
            return codes
        store = through_libjpeg if codes.device.type == "cpu" else through_jpeg
        return store(codes, [light.jpeg for light in lights], phases)

    def curves(self, draws: Sequence[Draw], device: torch.device) -> Tensor:
        """Return which row of the tables encodes each picture, (N,) int64."""
        return sent(torch.tensor([draw.curve % len(self.tables) for draw in draws]), device)

    def _encoded(self, linear: Tensor, curves: Tensor) -> Tensor:
        """Count the thresholds that are not above the light."""
        if len(self.thresholds) == 1:
            return torch.bucketize(linear, self.thresholds[0], right=True, out_int32=True).to(torch.uint8)
        flat = linear.reshape(len(linear), -1)
        counted = torch.searchsorted(self.thresholds[curves], flat, right=True, out_int32=True)
        return counted.reshape(linear.shape).to(torch.uint8)

    def _recoded(self, codes: Tensor, curves: Tensor) -> Tensor:
        if len(self.tables) == 1:
            return codes
        return self.tables[curves[:, None, None, None], codes.int()]


def per_picture(values: list[float], device: torch.device) -> Tensor:
    """Return a number for each picture, (N, 1, 1, 1) float32."""
    return sent(torch.tensor(values, dtype=torch.float32), device)[:, None, None, None]


def with_noise(linear: Tensor, lights: Sequence[Light]) -> Tensor:
    """Add the noise of a sensor with a colour mosaic.

    Parameters
    ----------
    linear
        (N, H, W, 3) float32 in [0, 1].
    lights
        What was drawn; each has a mosaic, and a key from which its noise is drawn.

    Returns
    -------
    (N, H, W, 3) float32, not clipped.
    """
    device = linear.device
    sites = sent(torch.tensor([_RED_SITES[light.bayer] for light in lights]), device)
    y, x = (torch.arange(side, device=device) for side in linear.shape[1:3])
    in_red_row = ((y + sites[:, :1]) % 2 == 0)[:, :, None]
    in_red_column = ((x + sites[:, 1:]) % 2 == 0)[:, None, :]
    is_red, is_blue = in_red_row & in_red_column, ~in_red_row & ~in_red_column

    camera = [_weighted(weights, linear) for weights in CAMERA_OF_SRGB]
    raw = torch.where(is_red, camera[0], torch.where(is_blue, camera[2], camera[1]))
    red, blue, shot, read = (
        per_picture([getattr(light, name) for light in lights], device)[..., 0]
        for name in ("red_gain", "blue_gain", "shot_noise", "read_noise")
    )
    gains = torch.where(is_red, red, torch.where(is_blue, blue, 1.0))
    # Red and blue collect fewer electrons than green: their noise is amplified.
    raw = _poisson_gauss(raw / gains, shot, read, [light.key for light in lights]) * gains
    planes = _demosaicked(raw, is_red, is_blue, in_red_row)
    return torch.stack([_weighted(weights, planes) for weights in SRGB_OF_CAMERA], dim=-1)


def with_plain_noise(linear: Tensor, lights: Sequence[Light]) -> Tensor:
    """Add noise to each channel by itself, as ``--noise match`` does; the same shapes as `with_noise`."""
    shot, read = (
        per_picture([getattr(light, name) for light in lights], linear.device) for name in ("shot_noise", "read_noise")
    )
    noise = torch.empty_like(linear)
    generator = torch.Generator(linear.device)
    for picture, light in zip(noise, lights, strict=True):
        picture.normal_(generator=generator.manual_seed(light.key))
    return linear + (shot * linear + read**2).sqrt() * noise


def _weighted(weights: tuple[float, float, float], pixels: Tensor) -> Tensor:
    # Written out, since CUDA may round float32 to 11 bits in matrix products.
    return weights[0] * pixels[..., 0] + weights[1] * pixels[..., 1] + weights[2] * pixels[..., 2]


def _poisson_gauss(signal: Tensor, shot: Tensor, read: Tensor, keys: list[int]) -> Tensor:
    """Draw Poisson(x / shot) * shot + N(0, read ** 2), each picture (H, W) from the generator of its key."""
    counts = signal / shot
    is_dim = counts < _GAUSSIAN_FROM
    rates = torch.where(is_dim, counts.clamp(min=0), 0.0)
    noise, drawn = torch.empty_like(signal), torch.empty_like(signal)
    generator = torch.Generator(signal.device)
    for k, key in enumerate(keys):
        generator.manual_seed(key)
        noise[k].normal_(generator=generator)
        drawn[k] = torch.poisson(rates[k], generator=generator)
    bright = signal + (shot * signal + read**2).sqrt() * noise
    return torch.where(is_dim, drawn * shot + read * noise, bright)


def _demosaicked(raw: Tensor, is_red: Tensor, is_blue: Tensor, in_red_row: Tensor) -> Tensor:
    """Interpolate mosaics (N, H, W) linearly, borders mirrored: (N, H, W, 3)."""
    padded = F.pad(raw[:, None], (2, 2, 2, 2), mode="reflect")[:, 0]
    in_row, in_column, opposite, green = (_filtered(padded, kernel) for kernel in _MALVAR)
    is_green = ~(is_red | is_blue)
    red = torch.where(is_green, torch.where(in_red_row, in_row, in_column), torch.where(is_red, raw, opposite))
    blue = torch.where(is_green, torch.where(in_red_row, in_column, in_row), torch.where(is_blue, raw, opposite))
    return torch.stack([red, torch.where(is_green, raw, green), blue], dim=-1)


def _filtered(padded: Tensor, kernel: tuple[tuple[int, ...], ...]) -> Tensor:
    # Written out instead of a convolution, whose bits depend on the library's choice of algorithm.
    height, width = padded.shape[1] - 4, padded.shape[2] - 4
    total = torch.zeros_like(padded[:, 2:-2, 2:-2])
    for dy, line in enumerate(kernel):
        for dx, weight in enumerate(line):
            if weight:
                total = total + weight / 16 * padded[:, dy : dy + height, dx : dx + width]
    return total
