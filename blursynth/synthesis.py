"""The mean of one window of frames in linear light: one pair of a blurry and a sharp image."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from blursynth.averaging import ExactEncoder, convert_frame, linear_mean, mean_codes
from blursynth.decoding import Frame
from blursynth.interpolate import Gap, Interpolator, Motion, sub_frames_for
from blursynth.rendition import Draw, Rendition
from blursynth.video import VideoInfo
from blursynth.windows import Sample, Window, samples

_AHEAD = 16  # frames that may be decoded while a window is averaged
_EQUAL = 1e-9  # weights that differ by no more than this, relatively, are equal

__all__ = ["Pair", "SubFrames", "Synthesizer", "held_frames", "output_size"]

SubFrames = int | None  # moments put between two frames; None: as many as their motion needs


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """A blurry image and the sharp frame from the middle of its exposure.

    ``blurry`` and ``sharp`` are (H, W, 3) uint8 display codes, made with ``draw``. ``light`` is what they are made of:
    ``blurry_linear`` and ``sharp_linear`` (uint16 fine codes) and ``saturation`` (uint8), empty where it is not kept.
    ``sub_frames`` counts the interpolated moments and ``effective_frames`` is 1 / sum(w_i^2) of the weights of the
    frames: how much averaging has reduced noise.
    """

    window: Window
    blurry: NDArray[np.uint8]
    sharp: NDArray[np.uint8]
    draw: Draw
    light: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    sub_frames: int = 0
    effective_frames: float = 1.0

    @property
    def images(self) -> dict[str, NDArray[Any]]:
        """Its images by the names that they have in a shard."""
        return {"blurry": self.blurry, "sharp": self.sharp, **self.light}


@dataclass(frozen=True, slots=True, eq=False)
class _Exposure:
    """The light of a window: (H, W, 3) float64 and float32, and how it was gathered."""

    light: NDArray[np.float64]
    saturation: NDArray[np.float32]


def output_size(info: VideoInfo, resize: tuple[int, int] | None) -> tuple[int, int]:
    """Return the (height, width) of the pairs of a clip, upright, after resizing to (width, height) if given."""
    if resize is not None:
        return resize[1], resize[0]
    return (info.width, info.height) if info.rotation % 2 else (info.height, info.width)


class Synthesizer:
    """Makes the pairs of one clip from a ring of its latest frames.

    B = g((1/M) sum_i g^-1(S_i)), Nah et al., CVPR 2017, eq. 1 and 2, with g the response curve: the code that float64
    arithmetic on the decoded codes would give, for every pixel. With an exposure in time the mean is weighted; with
    sub-frames, moments between frames join it. `hold` copies a frame into the ring; `pair` may run in another thread as
    long as the window's frames (and the one before and after it) stay held.

    Parameters
    ----------
    info
        The clip.
    rendition
        Its response curve, and what becomes of the light.
    capacity
        How many frames the ring holds; frame i is there until frame i + capacity comes.
    resize
        (width, height) of upright pairs. They are resized in linear light, by area.
    sub_frames
        Moments between two frames; None puts in as many as their motion needs.
    interpolator
        What finds the motion between two frames.
    keeps_light
        Whether pairs carry the light that they were made from.
    """

    def __init__(
        self,
        info: VideoInfo,
        rendition: Rendition,
        *,
        capacity: int,
        resize: tuple[int, int] | None = None,
        sub_frames: SubFrames = 0,
        interpolator: Interpolator = Gap,
        keeps_light: bool = False,
    ) -> None:
        self._info = info
        self._rendition = rendition
        self._curve = rendition.curve
        self._resize = resize
        self._sub_frames = sub_frames
        self._interpolator = interpolator
        self._keeps_light = keeps_light
        self._times = info.frame_times()
        self._siting = info.colour.siting()
        self._matrix = info.colour.coefficients()
        self._linear = self._curve.linear_of_codes(info.colour.peak)
        self._encoders: dict[int, ExactEncoder] = {}
        self._gaps: dict[tuple[int, int], Motion] = {}
        self._lights: dict[int, NDArray[np.float32]] = {}
        self._ring: list[NDArray[Any]] = []
        self._capacity = capacity

    def hold(self, frame: Frame) -> None:
        """Copy a frame's planes into the ring."""
        if not self._ring:
            self._ring = [np.empty((self._capacity, *plane.shape), plane.dtype) for plane in frame.planes]
        for ring, plane in zip(self._ring, frame.planes, strict=True):
            np.copyto(ring[frame.index % self._capacity], plane)

    def luma(self, frame: int) -> NDArray[Any]:
        """Return the luma plane of a frame that is held, (H, W) uint8 or uint16: a view into the ring."""
        plane: NDArray[Any] = self._ring[0][frame % self._capacity]
        return plane

    def pair(self, window: Window, key: int = 0, repeats: Sequence[int] = ()) -> Pair:
        """Average a window whose frames are all held.

        Parameters
        ----------
        key
            Of all that is drawn for the pair.
        repeats
            Frames that show the picture of the frame before them.
        """
        taken = self._samples(window, repeats)
        weights = np.array([sample.weight for sample in taken])
        whole = [sample for sample in taken if not sample.fraction]
        num_between = len(taken) - len(whole)
        effective = _effective_frames(taken)
        draw = self._rendition.draw(key, effective)
        is_even = bool(weights.max() - weights.min() <= _EQUAL)
        centre = (
            window.centre if window.centre not in repeats else max(s.frame for s in whole if s.frame <= window.centre)
        )
        if is_even and self._is_exact(taken, centre):
            slots = np.array([sample.frame for sample in taken]) % self._capacity
            blurry, sharp = self._average(slots)
            return Pair(window, self._upright(blurry), self._upright(sharp), draw, effective_frames=effective)
        exposure = self._exposure(taken, np.ones_like(weights) if is_even else weights)
        if self._resize is not None:
            exposure = self._resized(exposure, self._resize)
        light = {
            "blurry_linear": self._upright(self._curve.to_fine(exposure.light)),
            "saturation": self._upright(np.rint(exposure.saturation * 255).astype(np.uint8)),
            "sharp_linear": self._upright(self._sharp(centre)),
        }
        return Pair(
            window,
            self._rendition.blurry(light["blurry_linear"], light["saturation"], draw),
            self._rendition.sharp(light["sharp_linear"], draw),
            draw,
            light if self._keeps_light else {},
            num_between,
            effective,
        )

    def _samples(self, window: Window, repeats: Sequence[int]) -> list[Sample]:
        if window.exposure_ticks is None and self._sub_frames == 0:
            share = 1 / window.length
            return [Sample(frame, frame, 0.0, share) for frame in range(window.first, window.stop)]
        self._gaps = {frames: gap for frames, gap in self._gaps.items() if frames[1] >= window.first}
        return samples(window, self._times, repeats=repeats, sub_frames=self._count_between)

    def _count_between(self, frame: int, following: int) -> int:
        if self._sub_frames is not None:
            return self._sub_frames
        return sub_frames_for(self._gap(frame, following).speed_px)

    def _gap(self, frame: int, following: int) -> Motion:
        if (frame, following) not in self._gaps:
            gap = self._interpolator(self.luma(frame), self.luma(following), peak=self._info.colour.peak)
            self._gaps[frame, following] = gap
        return self._gaps[frame, following]

    def _is_exact(self, taken: Sequence[Sample], centre: int) -> bool:
        """Return whether the kernel for plain means of an odd number of frames does."""
        if self._resize is not None or self._keeps_light or not self._rendition.is_plain or len(taken) % 2 == 0:
            return False
        return taken[len(taken) // 2].frame == centre and not any(sample.fraction for sample in taken)

    def _average(self, slots: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        tables = self._encoder(slots.size)
        shape = (self._info.height, self._info.width, 3)
        blurry, sharp = np.empty(shape, np.uint8), np.empty(shape, np.uint8)
        luma, cb, cr = self._ring
        mean_codes(
            luma,
            cb,
            cr,
            slots,
            self._siting,
            self._matrix,
            tables.table,
            tables.linear,
            tables.bins,
            tables.bin_bits,
            tables.thresholds,
            tables.exact_thresholds,
            tables.code8,
            blurry,
            sharp,
        )
        return blurry, sharp

    def _encoder(self, num_frames: int) -> ExactEncoder:
        if num_frames not in self._encoders:
            self._encoders[num_frames] = ExactEncoder.build(self._curve, num_frames, self._info.colour.peak)
        return self._encoders[num_frames]

    def _exposure(self, taken: Sequence[Sample], weights: NDArray[np.float64]) -> _Exposure:
        is_whole = np.array([not sample.fraction for sample in taken])
        frames = [sample.frame for sample in taken if not sample.fraction]
        exposure = self._mean(frames, weights[is_whole]) if frames else None
        if is_whole.all() and exposure:
            return exposure
        total = np.zeros((self._info.height, self._info.width, 6), np.float32)
        between: dict[tuple[int, int], list[int]] = {}
        for i in np.flatnonzero(~is_whole).tolist():
            between.setdefault((taken[i].frame, taken[i].next), []).append(i)
        for (frame, following), chosen in between.items():
            fractions = [taken[i].fraction for i in chosen]
            shares = [float(weights[i]) for i in chosen]
            gap = self._gap(frame, following)
            gap.add(self._frame_light(frame), self._frame_light(following), fractions, shares, total)
        light, saturation = total[..., :3].astype(np.float64), total[..., 3:]
        if exposure:
            share = float(weights[is_whole].sum())
            light += share * exposure.light
            saturation = saturation + np.float32(share) * exposure.saturation
        summed = float(weights.sum())
        return _Exposure(np.clip(light / summed, 0, 1), np.clip(saturation / np.float32(summed), 0, 1))

    def _mean(self, frames: Sequence[int], weights: NDArray[np.float64]) -> _Exposure:
        shape = (self._info.height, self._info.width, 3)
        light, saturation = np.empty(shape, np.float64), np.empty(shape, np.float32)
        slots = np.array(frames) % self._capacity
        luma, cb, cr = self._ring
        linear_mean(luma, cb, cr, slots, weights, self._siting, self._matrix, self._linear, light, saturation)
        return _Exposure(light, saturation)

    def _frame_light(self, frame: int) -> NDArray[np.float32]:
        """Return a frame's linear light and, in three more channels, whether it is clipped: (H, W, 6) float32."""
        if frame not in self._lights:
            while len(self._lights) > 1:  # the frame after one gap is the frame before the next
                self._lights.pop(min(self._lights))
            exposure = self._mean([frame], np.ones(1))
            self._lights[frame] = np.concatenate([exposure.light.astype(np.float32), exposure.saturation], axis=2)
        return self._lights[frame]

    def _resized(self, exposure: _Exposure, size: tuple[int, int]) -> _Exposure:
        coded_size = size[::-1] if self._info.rotation % 2 else size
        light = cv2.resize(exposure.light.astype(np.float32), coded_size, interpolation=cv2.INTER_AREA)
        saturation = cv2.resize(exposure.saturation, coded_size, interpolation=cv2.INTER_AREA)
        return _Exposure(np.clip(light.astype(np.float64), 0, 1), np.clip(saturation.astype(np.float32), 0, 1))

    def _sharp(self, frame: int) -> NDArray[np.uint16]:
        """Return the light of a frame as fine codes."""
        if self._resize is not None:
            return self._curve.to_fine(self._resized(self._mean([frame], np.ones(1)), self._resize).light)
        luma, cb, cr = (ring[frame % self._capacity] for ring in self._ring)
        codes = np.empty((*luma.shape, 3), luma.dtype)
        convert_frame(luma, cb, cr, self._siting, self._matrix, codes)
        return self._curve.to_fine(self._linear)[codes]

    def _upright(self, codes: NDArray[Any]) -> NDArray[Any]:
        return np.ascontiguousarray(np.rot90(codes, self._info.rotation)) if self._info.rotation else codes


def _effective_frames(taken: Sequence[Sample]) -> float:
    """Return 1 / sum(w^2) over the frames that were filmed; a sub-frame is made of its two neighbours."""
    shares: defaultdict[int, float] = defaultdict(float)
    for sample in taken:
        shares[sample.frame] += sample.weight * (1 - sample.fraction)
        shares[sample.next] += sample.weight * sample.fraction
    return 1 / sum(share**2 for share in shares.values())


def held_frames(windows: Sequence[Window]) -> int:
    """Return how long a ring must be for the longest window, with room to go on while it is averaged."""
    longest = max(window.length + window.before + window.after for window in windows)
    return longest + min(longest, _AHEAD) + 4
