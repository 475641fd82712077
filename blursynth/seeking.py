"""Enter a clip at a packet in its middle, only where every frame from there on is sure to be the same.

What a decoder knows at a packet depends on all before it, unless the packet makes it forget. The norms say which do:

- An IDR picture of H.264 (8.2.1, 7.4.1.2.4) or HEVC (8.1.3), a key frame of VP8 and VP9, each frame of codecs without
  prediction. No later frame refers to an earlier one.
- A CRA picture of HEVC opens a group whose first frames, shown before it, refer to the group before. Decoding can begin
  at the group before the one that is wanted; only frames that lead that earlier group are lost.

The I pictures of open groups in H.264 promise less and are not used, nor are codecs of which we know less, or that mend
damage with the frame before (FFV1). The
container must give each packet a time of its own by which it is recognised, so that nothing depends on where a seek
lands.
"""

from collections.abc import Iterator
from typing import Any

import av.error
import numpy as np
from numpy.typing import NDArray

from blursynth.video import VideoInfo, opened, refusing
from blursynth.windows import gaps

__all__ = ["MAX_REORDERING", "entry_packet", "packets_from"]

_CONTAINERS = frozenset(["mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"])
_ALWAYS_FRESH = frozenset(["dnxhd", "mjpeg", "prores", "vp8", "vp9"])  # at each packet that is marked as key
MAX_REORDERING = 16  # frames, of H.264 and HEVC
_NUM_PROBED = 7  # frames at least, which FFmpeg decodes to learn of the reordering in H.264
_H264_IDR = 5
_HEVC_IDR = frozenset([19, 20])
_HEVC_CRA = 21


def entry_packet(info: VideoInfo, start: int) -> int:
    """Find the last packet from which decoding gives every frame from ``start`` on just as decoding all does.

    Returns
    -------
    An index into ``info.decode_order``; 0 where nothing but the beginning is sure.
    """
    keys = _key_packets_before(info, start)
    if keys.size == 0 or info.codec not in _ALWAYS_FRESH | {"h264", "hevc"}:
        return 0
    with opened(info.path) as (container, stream), refusing(info.path):
        if container.format.name not in _CONTAINERS:
            return 0
        if container.format.name == "matroska,webm" and len(gaps(info.pts)):
            return 0  # lost blocks: after a seek others may be found
        for num_back, key in enumerate(keys[:-3:-1].tolist()):
            try:
                packet = next(packets_from(info, key, container, stream), None)
            except av.error.FFmpegError:
                return 0
            if packet is None or not _is_entry(info.codec, packet, stream, is_group_before=num_back == 1):
                continue
            if info.codec != "h264" or _knows_reordering(info, key, int(keys[-1])):
                return int(key)
    return 0


def packets_from(info: VideoInfo, entry: int, container: Any, stream: Any) -> Iterator[Any]:
    """Give a packet and all that follow; nothing if the container does not find it."""
    time = int(info.pts[info.decode_order[entry]])
    later = set(info.pts[info.decode_order[entry + 1 :]].tolist())
    container.seek(time, stream=stream, backward=True)
    packets = container.demux(stream)
    for packet in packets:
        if packet.is_discard or packet.pts is None:
            continue
        if packet.pts == time:
            yield packet
            break
        if packet.pts in later:
            return
    yield from packets


def _key_packets_before(info: VideoInfo, start: int) -> NDArray[np.int64]:
    """Return the key packets, but for the first, that no frame from ``start`` on precedes, coded or shown."""
    order = info.decode_order
    is_simple = info.has_times and not info.is_cut_short and not info.may_lose_packets
    if not is_simple or order.size != info.num_frames or not 0 < start < info.num_frames:
        return np.empty(0, np.int64)
    first = int(np.argmax(order >= start))
    keys = np.flatnonzero(info.key_packets[: first + 1])
    return keys[(order[keys] <= start) & (keys > 0)]


def _knows_reordering(info: VideoInfo, entry: int, last_key: int) -> bool:
    """Tell whether a decoder of H.264 that enters there knows at ``last_key`` how far frames are reordered.

    The stream need not say it. Then the decoder takes what was seen in the clip's first frames, and loses a frame when
    it learns more.
    """
    order = info.decode_order
    seen = max(_reordering(order[:_NUM_PROBED]), _reordering(order[entry:last_key]))
    return seen == _reordering(order)


def _reordering(order: NDArray[np.int64]) -> int:
    """Return how many frames at most are decoded before one and shown after it."""
    num_later = np.zeros(order.size, np.int64)
    for lag in range(1, min(2 * MAX_REORDERING, order.size - 1) + 1):
        num_later[lag:] += order[:-lag] > order[lag:]
    return int(num_later.max(initial=0))


def _is_entry(codec: str, packet: Any, stream: Any, *, is_group_before: bool) -> bool:
    if codec in _ALWAYS_FRESH:
        return True
    kinds = _slice_kinds(codec, bytes(packet), bytes(stream.codec_context.extradata or b""))
    if codec == "h264":
        return bool(kinds) and kinds <= {_H264_IDR}
    return bool(kinds) and (kinds <= _HEVC_IDR or (is_group_before and kinds <= _HEVC_IDR | {_HEVC_CRA}))


def _slice_kinds(codec: str, data: bytes, extradata: bytes) -> set[int]:
    """Return the types of the slices in a packet of units with their lengths before them; nothing if it is damaged.

    ISO/IEC 14496-15: 5.3.3.1 for H.264, 8.3.3.1 for HEVC.
    """
    place = 4 if codec == "h264" else 21
    if len(extradata) <= place or extradata[0] != 1:
        return set()
    length_size = (extradata[place] & 3) + 1
    kinds = set()
    position = 0
    while position < len(data):
        head = position + length_size
        length = int.from_bytes(data[position:head])
        position = head + length
        if length == 0 or position > len(data):
            return set()
        kind = data[head] & 31 if codec == "h264" else data[head] >> 1 & 63
        if 1 <= kind <= 5 if codec == "h264" else kind < 32:
            kinds.add(kind)
    return kinds
