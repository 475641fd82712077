"""The metrics by name, each with the words that are printed beside its numbers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from blursynth.errors import SettingsError

from ..metrics import psnr, ssim
from .luma import psnr_y
from .structural import ms_ssim, ssim_3d

__all__ = ["METRICS", "Metric", "choose_metrics"]


@dataclass(frozen=True, slots=True)
class Metric:
    """A number that compares a restored image with its sharp one.

    Parameters
    ----------
    name
        What it is chosen by.
    definition
        One line that tells it from others of its name; it belongs beside every number.
    unit
        ``dB``, or empty for a pure number.
    decimals
        How many the literature prints.
    is_higher_better
        Whether more means more alike.
    score
        Takes (H, W, 3) uint8 RGB display codes of the restored and of the sharp image, not modified.
    """

    name: str
    definition: str
    unit: str
    decimals: int
    is_higher_better: bool
    score: Callable[[NDArray[np.uint8], NDArray[np.uint8]], float]


def _lpips(restored: NDArray[np.uint8], sharp: NDArray[np.uint8]) -> float:
    from .perceptual import lpips  # noqa: PLC0415  # torch and the weights are read when first needed

    return lpips(restored, sharp)


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            Metric("psnr", "RGB, rounded to 8 bits, peak 255, no border cut", "dB", 2, True, psnr),
            Metric(
                "psnr-y",
                "luma of BT.601 from 16 to 235, not rounded, peak 255, no border cut (BasicSR test_y_channel)",
                "dB",
                2,
                True,
                psnr_y,
            ),
            Metric(
                "ssim",
                "Gaussian 11x11, sigma 1.5, each channel, windows inside the image (scikit-image, BasicSR)",
                "",
                4,
                True,
                ssim,
            ),
            Metric(
                "ssim-3d",
                "Gaussian 11x11x11, sigma 1.5, over the volume of RGB, borders repeated (MATLAB ssim of RGB)",
                "",
                4,
                True,
                ssim_3d,
            ),
            Metric(
                "ms-ssim",
                "five scales, Gaussian 11x11, sigma 1.5, each channel, means of 2x2 between scales (Wang 2003)",
                "",
                4,
                True,
                ms_ssim,
            ),
            Metric("lpips", "LPIPS 0.1, AlexNet with linear heads, codes scaled to -1 to 1", "", 4, False, _lpips),
        )
    }
)


def choose_metrics(names: Sequence[str]) -> tuple[Metric, ...]:
    """Return metrics by their names, in the order asked for.

    ``lpips`` finds and reads its weights here, so that a run fails before its work and not after.

    Raises
    ------
    SettingsError
        If a name is unknown or given twice, or none is given.
    DeviceError
        If the weights of ``lpips`` are not installed; it says how to get them.
    CheckpointError
        If the weights of ``lpips`` are damaged.
    """
    if not names:
        raise SettingsError(f"no metric chosen; choose from {', '.join(METRICS)}")
    for name in names:
        if name not in METRICS:
            raise SettingsError(f"metric {name!r} is unknown; choose from {', '.join(METRICS)}")
        if list(names).count(name) > 1:
            raise SettingsError(f"metric {name!r} is given twice")
    if "lpips" in names:
        from .perceptual import load_lpips  # noqa: PLC0415

        load_lpips()
    return tuple(METRICS[name] for name in names)
