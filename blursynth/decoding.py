"""Decode clips: planes as they were coded, and which frames damage has touched."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import av.error
import numpy as np
from numpy.typing import NDArray

from blursynth.averaging import convert_frame
from blursynth.colour import planar_format
from blursynth.errors import SettingsError
from blursynth.seeking import MAX_REORDERING, entry_packet, packets_from
from blursynth.video import VideoInfo, opened, refusing
from blursynth.windows import gaps

__all__ = ["Frame", "decode", "to_rgb"]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One decoded frame.

    ``index`` counts the clip's frames by ``VideoInfo.pts``. ``planes`` are luma and both chroma planes (or G, B, R),
    (H, W) and twice (h, w), uint8 or uint16, views that live as long as the frame. ``is_damaged`` is set when this
    frame, or one that it was predicted from, was damaged or concealed.
    """

    index: int
    planes: tuple[NDArray[Any], NDArray[Any], NDArray[Any]]
    is_damaged: bool


def decode(info: VideoInfo, start: int = 0) -> Iterator[Frame]:
    """Decode a clip in order of presentation, from frame ``start`` on.

    Damaged data does not stop it: the frames that cannot be had are left out, and those that damage has touched are
    marked, up to the next frame that starts afresh.

    Frames are the same, and the same ones are undamaged, wherever it starts: the clip is entered before ``start`` where
    that is sure to make no difference (`seeking`), and decoded from its beginning otherwise.

    Raises
    ------
    SettingsError
        If ``start`` is negative.
    VideoError
        If the file has changed or vanished since it was described.
    """
    if start < 0:
        raise SettingsError(f"decoding cannot start at frame {start}; the first is 0")
    entry = entry_packet(info, start) if start > 0 else 0
    damage = _Damage(info, entry)
    with opened(info.path) as (container, stream), refusing(info.path):
        waiting: deque[tuple[int, Any]] = deque()
        packets = packets_from(info, entry, container, stream) if entry else container.demux(stream)
        for frame in _decoded(packets, stream):
            index = damage.index_of(frame)
            if index is None or index < start:
                continue
            waiting.append((index, frame))
            if len(waiting) > damage.reach:
                yield damage.finished(*waiting.popleft())
        while waiting:
            yield damage.finished(*waiting.popleft())


def _decoded(packets: Iterator[Any], stream: Any) -> Iterator[Any]:
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.error.FFmpegError:
            yield from _flush(stream)
            return
        try:
            yield from packet.decode()
        except av.error.EOFError:
            return
        except av.error.FFmpegError:
            continue  # the missing frame tells


def _flush(stream: Any) -> Iterator[Any]:
    try:
        yield from stream.decode(None)
    except av.error.FFmpegError:
        return


class _Damage:
    """Which frames cannot be trusted, as far as is known when decoding begins with packet ``entry``."""

    def __init__(self, info: VideoInfo, entry: int = 0) -> None:
        self._info = info
        self._damaged = np.zeros(info.num_frames, np.bool_)
        order = info.decode_order
        self._next = int(order[entry:].min(initial=info.num_frames)) if entry else 0
        self._packet_of = np.zeros(info.num_frames, np.int64)
        self._packet_of[order[::-1]] = np.arange(order.size)[::-1]
        self._starts = np.append(np.flatnonzero(info.key_packets), order.size)
        # How much earlier a frame may be shown than one that it was predicted from.
        if info.may_lose_packets:
            for index in gaps(info.pts):
                self._spread(index)
        self.reach = int((np.maximum.accumulate(order) - order).max(initial=0)) if info.has_times else MAX_REORDERING

    def index_of(self, frame: Any) -> int | None:
        """Number a decoded frame and note what it says of damage; None if it belongs to no window."""
        info = self._info
        index = int(np.searchsorted(info.pts, frame.pts)) if info.has_times and frame.pts is not None else self._next
        if not self._next <= index < info.num_frames or (info.has_times and info.pts[index] != frame.pts):
            return None  # not in the container's list: nothing was planned with it
        for missing in range(self._next, index):
            self._spread(missing)
        self._next = index + 1
        if frame.is_corrupt:
            self._spread(index)
        if (frame.width, frame.height) != (info.width, info.height):
            return None
        return index if planar_format(frame.format.name) == info.pixel_format else None

    def _spread(self, index: int) -> None:
        """Mark all that was decoded from this frame on, up to the next key frame and what is shown before that."""
        order = self._info.decode_order
        packet = self._packet_of[index] if self._info.has_times else max(0, index - MAX_REORDERING)
        stop = int(self._starts[np.searchsorted(self._starts, max(packet, self._packet_of[index]), side="right")])
        self._damaged[order[packet:stop]] = True
        if stop < order.size:  # frames that lead an open group of pictures refer to the one before
            leading = order[stop + 1 : stop + 1 + MAX_REORDERING]
            self._damaged[leading[leading < order[stop]]] = True

    def finished(self, index: int, frame: Any) -> Frame:
        """Return the frame with all that is known of it by now."""
        return Frame(index, _planes(self._info, frame), bool(self._damaged[index]))


def _planes(info: VideoInfo, frame: Any) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    if frame.format.name != info.pixel_format:
        frame = frame.reformat(format=info.pixel_format)
    dtype = np.uint8 if info.colour.depth == 8 else np.uint16
    planes = [_plane(plane, dtype) for plane in frame.planes[:3]]
    if len(planes) == 1:  # grey
        height, width = planes[0].shape
        neutral = np.full((-(-height // 2), -(-width // 2)), 128 << (info.colour.depth - 8), dtype)
        planes += [neutral, neutral]
    return planes[0], planes[1], planes[2]


def _plane(plane: Any, dtype: type[np.uint8] | type[np.uint16]) -> NDArray[Any]:
    lines = np.frombuffer(plane, dtype).reshape(plane.height, -1)
    return lines[:, : plane.width]


def to_rgb(info: VideoInfo, frame: Frame) -> NDArray[Any]:
    """Convert one frame, as it was coded (not turned upright).

    Returns
    -------
    (H, W, 3) R'G'B' codes: uint8 for 8-bit clips, uint16 with ``info.colour.peak`` as white for deeper ones.
    """
    codes = np.empty((info.height, info.width, 3), np.uint8 if info.colour.depth == 8 else np.uint16)
    convert_frame(*frame.planes, info.colour.siting(), info.colour.coefficients(), codes)
    return codes
