"""Open and describe clips: size, times, tags.

PyAV is the one reader that gives exact presentation times, raw planes, depth, tags and damage flags together. Only
local, regular files of known containers are opened: a playlist could read other files or reach the network.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from blursynth.colour import UNSUPPORTED_MATRICES, ColourModel, colour_model, planar_format
from blursynth.errors import VideoError
from blursynth.files import check_regular_file, printable
from blursynth.windows import frame_times

__all__ = ["MAX_PIXELS", "VIDEO_SUFFIXES", "VideoInfo", "describe", "opened", "refusing"]

MAX_PIXELS = 64_000_000
VIDEO_SUFFIXES = frozenset([".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mts", ".m2ts", ".ts", ".mxf", ".3gp"])
_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mxf"
_ATTACHED_PICTURE = 0x400  # FFmpeg's disposition of cover art
_SLOW_RATE = 100  # frames/s; below it, averages of what moves show ghosts
_RATE_TOLERANCE = 0.05
_CAPTURE_RATE = "com.android.capture.fps"
_NO_DATE = "1970-01-01"  # what writers without a clock write


@dataclass(frozen=True, slots=True, eq=False)
class VideoInfo:
    """What is known of a clip before it is decoded.

    ``width`` and ``height`` are in pixels as coded; ``rotation`` is the number of counter-clockwise quarter turns that
    make the picture upright. ``pts`` holds the presentation times of the readable frames in units of ``time_base``
    seconds, sorted, without repeats; ``decode_order`` says which of them each packet brings and ``key_packets`` which
    packets start afresh. Without ``has_times`` the container gives none, and frames are counted as they come out of the
    decoder. With ``may_lose_packets`` a gap in the times means that later frames lack what they were
    predicted from. ``num_frames_from_header`` is what the container promises, 0 if it promises nothing.
    ``notes`` is what there is to say, ``rate_notes`` what there is to say unless the true rate is given.
    ``transfer`` is the tag of the transfer function (H.273 TransferCharacteristics, 2 is unspecified) and
    ``creation_time`` the container's, empty where it has none. ``capture_rate`` is the rate at which a phone says that
    it filmed, where it says so.
    """

    path: Path
    codec: str
    width: int
    height: int
    rotation: int
    pixel_format: str
    colour: ColourModel
    frame_rate: Fraction
    time_base: Fraction
    pts: NDArray[np.int64]
    decode_order: NDArray[np.int64]
    key_packets: NDArray[np.bool_]
    num_frames_from_header: int
    is_cut_short: bool
    has_times: bool
    may_lose_packets: bool
    notes: tuple[str, ...]
    rate_notes: tuple[str, ...] = ()
    transfer: int = 2
    creation_time: str = ""
    capture_rate: Fraction | None = None

    @property
    def num_frames(self) -> int:
        """How many frames can be read."""
        return int(self.pts.size)

    def frame_times(self) -> NDArray[np.float64]:
        """Return when frames were taken: (T,) float64, ``pts`` without the jitter of rounding."""
        return frame_times(self.pts, self.step)

    @property
    def step(self) -> float:
        """Time between frames by the frame rate, in units of ``time_base``."""
        return float(1 / (self.frame_rate * self.time_base))

    @property
    def median_step(self) -> int:
        """The usual time between frames, in units of ``time_base``."""
        return int(np.median(np.diff(self.pts))) if self.pts.size > 1 else 1


def describe(path: Path, *, max_pixels: int = MAX_PIXELS) -> VideoInfo:
    """Read what the container says, every packet's time and the first frame.

    Raises
    ------
    VideoError
        If the file is not a clip that can be decoded and averaged; one line says why.
    """
    with opened(path) as (container, stream), refusing(path):
        codec = stream.codec_context
        if codec.width * codec.height > max_pixels:
            raise VideoError(
                f"{printable(path)}: {codec.width}x{codec.height} is over the limit of {max_pixels / 1e6:.0f} "
                "megapixels a frame; scale the clip down first"
            )
        packets = _scan(container, stream)
        if all(packet.is_discarded for packet in packets):
            raise VideoError(f"{printable(path)}: no frame can be read; the recording or copy was cut short")
        container.seek(0)
        first = _first_frame(path, container, stream)
        return _video_info(path, stream, packets, first, container.duration)


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Turn what FFmpeg or the disk says in the block into a VideoError that names the file."""
    try:
        yield
    except VideoError:
        raise
    except (av.error.FFmpegError, OSError) as error:
        raise VideoError(f"{printable(path)}: cannot be decoded: {error.strerror or error}") from error


@contextmanager
def opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """Open a clip safely; give PyAV's container and its largest video stream.

    Raises
    ------
    VideoError
        If the file is not a local clip of a known container with a video stream.
    """
    check_regular_file(path, VideoError)
    options = {"protocol_whitelist": "file", "format_whitelist": _CONTAINERS}
    try:
        container = av.open(f"file:{path.absolute()}", options=options)
    except (av.error.FFmpegError, ValueError) as error:
        raise VideoError(f"{printable(path)}: {_why_notopened(path)}") from error
    with container:
        streams = [s for s in container.streams.video if s.codec_context is not None]
        pictures = [s for s in streams if not _is_cover(s)]
        if not pictures:
            what = "only a cover picture" if streams else "no video stream that can be decoded"
            raise VideoError(f"{printable(path)}: {what}")
        stream = max(pictures, key=lambda s: s.codec_context.width * s.codec_context.height)
        if not stream.codec_context.width or not stream.codec_context.pix_fmt:
            raise VideoError(f"{printable(path)}: the video stream cannot be decoded")
        stream.thread_type = "AUTO"
        yield container, stream


def _is_cover(stream: Any) -> bool:
    return bool(int(stream.disposition) & _ATTACHED_PICTURE)


def _why_notopened(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(64)
    if head[4:8] == b"ftyp":
        return "incomplete MP4 (no index): the recording or copy was cut short"
    if head.lstrip().startswith((b"#EXTM3U", b"ffconcat", b"<?xml", b"v=0")):
        return "playlists are not accepted; name the clips themselves"
    return f"not a video that can be read ({_CONTAINERS.replace(',', ', ')})"


@dataclass(frozen=True, slots=True)
class _Packet:
    pts: int | None
    dts: int | None
    is_key: bool
    is_discarded: bool


def _scan(container: Any, stream: Any) -> list[_Packet]:
    packets: list[_Packet] = []
    # Where it breaks off, the rest is unreadable; the count against the header tells.
    with suppress(av.error.FFmpegError):
        packets.extend(
            _Packet(packet.pts, packet.dts, bool(packet.is_keyframe), bool(packet.is_discard))
            for packet in container.demux(stream)
            if packet.size
        )
    return packets


def _first_frame(path: Path, container: Any, stream: Any) -> Any:
    try:
        for packet in container.demux(stream):
            try:
                for frame in packet.decode():
                    return frame
            except av.error.FFmpegError:
                continue
    except av.error.FFmpegError:
        pass
    raise VideoError(f"{printable(path)}: no frame can be decoded")


def _video_info(path: Path, stream: Any, packets: list[_Packet], first: Any, duration_us: int | None) -> VideoInfo:
    codec = stream.codec_context
    name = planar_format(first.format.name)
    if name is None:
        raise VideoError(f"{printable(path)}: pixel format {first.format.name} is not supported; re-encode as yuv420p")
    if _is_mirrored_or_tilted(first):
        raise VideoError(
            f"{printable(path)}: it is to be shown mirrored or tilted, which is not supported; re-encode it"
        )
    if int(first.colorspace) in UNSUPPORTED_MATRICES and "gbrp" not in name:
        matrix = UNSUPPORTED_MATRICES[int(first.colorspace)]
        raise VideoError(f"{printable(path)}: its colours are coded as {matrix}, which is not supported; re-encode it")
    colour = colour_model(
        name,
        matrix_tag=int(first.colorspace),
        range_tag=int(first.color_range),
        width=first.width,
        height=first.height,
        codec=codec.name,
    )
    shown = [packet for packet in packets if not packet.is_discarded]  # an edit list may hide some
    # AVI stores none; what FFmpeg makes up for it is wrong where frames are reordered.
    has_times = all(packet.pts is not None for packet in shown) and stream.container.format.name != "avi"
    times = _times(shown, stream)
    pts = np.unique(times)
    frame_rate = _frame_rate(pts, stream)
    capture_rate = _capture_rate(stream)
    promised = int(stream.frames)
    is_cut_short = promised > len(packets) or _ends_early(pts, stream, duration_us)
    return VideoInfo(
        path=path,
        codec=codec.name,
        width=first.width,
        height=first.height,
        rotation=round(first.rotation / 90) % 4,
        pixel_format=name,
        colour=colour,
        frame_rate=frame_rate,
        time_base=Fraction(stream.time_base),
        pts=pts,
        decode_order=np.searchsorted(pts, times),
        key_packets=np.array([packet.is_key for packet in shown]),
        num_frames_from_header=promised,
        is_cut_short=is_cut_short,
        has_times=has_times,
        may_lose_packets=stream.container.format.name == "mpegts",
        notes=(*_notes_on_streams(stream), *_notes(first, colour, num_twins=len(shown) - pts.size)),
        rate_notes=tuple(_notes_on_rate(frame_rate, capture_rate)),
        transfer=int(first.color_trc),
        creation_time=_creation_time(stream),
        capture_rate=capture_rate,
    )


def _metadata(stream: Any) -> dict[str, str]:
    return {**stream.metadata, **stream.container.metadata}


def _creation_time(stream: Any) -> str:
    time = str(_metadata(stream).get("creation_time", ""))
    return "" if time.startswith(_NO_DATE) or len(time) > 64 else time


def _capture_rate(stream: Any) -> Fraction | None:
    """Read the rate at which Android phones say that they filmed; slow motion plays at another."""
    text = _metadata(stream).get(_CAPTURE_RATE, "")
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", text):
        return None
    rate = Fraction(text)
    return rate if 1 <= rate <= 1_000_000 else None


def _is_mirrored_or_tilted(frame: Any) -> bool:
    """Read the matrix that says how to show a frame: a, b, u, c, d, v, … in fixed point."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return False
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].astype(np.float64)
    return bool(a * d - b * c < 0 or frame.rotation % 90)


def _times(packets: list[_Packet], stream: Any) -> NDArray[np.int64]:
    """Return the time of each packet; without presentation times, decoding times in the order of the packets."""
    times = [packet.pts for packet in packets]
    if None in times:
        times = [packet.dts for packet in packets]
    if None in times:
        step = 1 / (Fraction(stream.average_rate or 25) * stream.time_base)
        times = [round(i * step) for i in range(len(packets))]
    return np.array(times, np.int64)


def _frame_rate(pts: NDArray[np.int64], stream: Any) -> Fraction:
    """Return the rate of the usual step between frames; the header's when that says the same more precisely."""
    header = Fraction(stream.guessed_rate or stream.average_rate or 25)
    if pts.size < 2:
        return header
    steps = np.diff(pts)
    usual = float(np.median(steps))
    header_step = float(1 / (header * stream.time_base))
    if abs(header_step - usual) <= max(1.0, 0.01 * usual):  # time stamps are rounded to whole ticks
        return header
    regular = steps[steps < 1.5 * usual]
    measured: Fraction = 1 / (Fraction(float(regular.mean())) * stream.time_base)
    return measured.limit_denominator(1001) or measured  # hours between frames: no rounding to nought


def _ends_early(pts: NDArray[np.int64], stream: Any, duration_us: int | None) -> bool:
    """Compare the last time with the container's duration: how a Matroska file shows that it was cut."""
    if stream.frames or not duration_us or pts.size < 2:
        return False
    step = float(np.median(np.diff(pts)))
    end_seconds = float((pts[-1] - min(0, pts[0]) + step) * stream.time_base)
    return end_seconds < 0.98 * duration_us / 1e6 - 2 * step * float(stream.time_base)


def _notes_on_streams(stream: Any) -> Iterator[str]:
    count = sum(not _is_cover(other) for other in stream.container.streams.video)
    if count > 1:
        yield f"{count} video streams: the largest is read, stream {stream.index}; copy another into a file of its own"


def _notes(first: Any, colour: ColourModel, *, num_twins: int) -> Iterator[str]:
    if num_twins:
        yield f"{num_twins} frames have the time of another and are left out; the container's clock is too coarse"
    if colour.guessed:
        told = {"matrix": colour.matrix.upper().replace("BT", "BT."), "range": "limited range"}
        read_as = ", ".join(told[name] for name in colour.guessed)
        yield f"no colour tags for {' and '.join(colour.guessed)}: read as {read_as}"
    if first.interlaced_frame:
        yield "interlaced: moving edges are combed; deinterlace it first"


def _notes_on_rate(frame_rate: Fraction, capture_rate: Fraction | None) -> Iterator[str]:
    """Say aloud where the time stamps are not, or may not be, the times at which the frames were taken."""
    told = float(frame_rate)
    if capture_rate and abs(capture_rate / frame_rate - 1) > _RATE_TOLERANCE:
        filmed = float(capture_rate)
        yield f"{told:g} frames/s by its time stamps but filmed at {filmed:g} by its tags: give --source-fps {filmed:g}"
    elif told < _SLOW_RATE:
        yield f"{told:g} frames/s by its time stamps: ghosts where things move fast; if it is slow motion, --source-fps"
