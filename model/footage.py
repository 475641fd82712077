"""Deblurring clips: video in, video out, frame by frame; sound, subtitles and the times of the frames stay."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import cv2
import numpy as np
from numpy.typing import NDArray

from blursynth.colour import ColourModel
from blursynth.decoding import decode, to_rgb
from blursynth.errors import OutputError, SettingsError
from blursynth.files import printable, replacing
from blursynth.places import CLIP_CONTAINERS
from blursynth.progress import SILENT, Progress
from blursynth.video import VideoInfo, describe, opened, refusing

from .restore import Deblurrer

__all__ = ["deblur_clip"]

_MATRIX_TAGS = {"bt709": 1, "bt601": 6, "bt2020": 9}  # H.273
_LEFT, _ALONE = np.array([0.25, 0.5, 0.25]), np.array([1.0])
_PLANAR_FORMATS = frozenset(f"yuv4{chroma}p{depth}" for chroma in ("20", "22", "44") for depth in ("", "10le"))
_OF_THE_FILE = {"major_brand", "minor_version", "compatible_brands", "encoder"}
_NUM_THREADS = 4  # of x264, whose result depends on it: else every machine would write other bytes


def deblur_clip(
    source: Path,
    output: Path,
    deblurrer: Deblurrer,
    *,
    quality: int = 16,
    overwrite: bool = False,
    strip_metadata: bool = False,
    progress: Progress = SILENT,
) -> int:
    """Deblur every frame of a clip.

    Written is H.264 with the depth, chroma sampling, matrix, range and tags of the source as far as H.264 has them,
    upright, each frame at its own time. Sound and subtitles are copied without coding them again. Memory holds a few
    frames, however long the clip is.

    Parameters
    ----------
    source
        A clip that `describe` takes.
    output
        Ends in .mp4, .m4v, .mov or .mkv; the file appears when it is whole.
    quality
        x264's CRF: 0 is lossless, 51 is worst.
    overwrite
        Whether an existing file may be replaced.
    strip_metadata
        Leave out what the source says of itself: title, place, date.

    Returns
    -------
    How many frames stayed, wholly or in part, as they were because of what the network gave.

    Raises
    ------
    VideoError
        If the clip cannot be used.
    SettingsError
        If the output exists, has another ending, or is of a kind that cannot hold the sound.
    OutputError
        If the disk or the encoder says no; nothing is left then.
    """
    name = printable(output)
    if output.suffix.lower() not in CLIP_CONTAINERS:
        raise SettingsError(f"{name}: clips are written as {', '.join(sorted(CLIP_CONTAINERS))}; choose such a name")
    info = describe(source)
    for remark in info.notes:
        progress.note(f"{printable(source)}: {remark}")
    if info.is_cut_short:
        progress.note(f"{printable(source)}: cut short; the {info.num_frames} frames that can be read are deblurred")
    kept_frames = 0
    with (
        replacing(output, overwrite=overwrite) as temporary,
        progress.task(source.name, info.num_frames, "frames") as advance,
        _encoding_errors(name),
        _Writer(temporary, info, CLIP_CONTAINERS[output.suffix.lower()], quality) as writer,
    ):
        if not strip_metadata:
            writer.copy_metadata()
        for index, pixels in _upright_frames(info):
            are_restored: list[bool] = []
            deblurrer(pixels, on_tile=are_restored.append, out=pixels)
            kept_frames += not all(are_restored)
            writer.write(pixels, int(info.pts[index]))
            advance(1, "")
        for left_out in writer.left_out:
            progress.note(f"{name}: {left_out}")
    if kept_frames:
        progress.note(f"{printable(source)}: {kept_frames} frame(s) stay, in part, as they were: the network failed")
    return kept_frames


def _upright_frames(info: VideoInfo) -> Iterator[tuple[int, NDArray[Any]]]:
    """Give each frame's number and its (H, W, 3) codes, uint8 or, spread over all 16 bits, uint16."""
    for frame in decode(info):
        codes = to_rgb(info, frame)
        if codes.dtype == np.uint16:
            codes = ((codes.astype(np.uint32) * 65535 + info.colour.peak // 2) // info.colour.peak).astype(np.uint16)
        yield frame.index, np.ascontiguousarray(np.rot90(codes, info.rotation))


@contextmanager
def _encoding_errors(name: str) -> Iterator[None]:
    try:
        yield
    except av.error.FFmpegError as error:
        raise OutputError(f"{name}: the encoder stopped: {printable(error.strerror or str(error))}") from error


class _Writer:
    """A clip being written: frames are encoded, and the other streams of the source are copied beside them in time."""

    def __init__(self, path: Path, info: VideoInfo, container_format: str, quality: int) -> None:
        self._info = info
        is_quarter_turned = info.rotation % 2 == 1
        height, width = (info.width, info.height) if is_quarter_turned else (info.height, info.width)
        self._shape = (height, width)
        self._model = _output_model(info)
        self._format = _pixel_format(info)
        self.left_out: list[str] = []
        self._source = opened(info.path)
        self._container: Any = av.open(
            str(path), "w", format=container_format, container_options={"movflags": "+faststart"}
        )
        self._stream: Any = self._container.add_stream("libx264", options={"crf": str(quality), "preset": "medium"})

    def __enter__(self) -> "_Writer":
        container, video = self._source.__enter__()
        self._source_container = container
        self._tag(video)
        self._copies = {}
        for stream in container.streams:
            if stream.type in {"audio", "subtitle"}:
                self._copies[stream.index] = self._copy_of(stream)
            elif stream.index != video.index:
                self.left_out.append(f"a {stream.type} stream is left out")
        wanted = [stream for stream in container.streams if self._copies.get(stream.index) is not None]
        self._packets = container.demux(wanted) if wanted else iter(())
        self._next: Any = next(self._packets, None)
        return self

    def __exit__(self, kind: type[BaseException] | None, *details: object) -> None:
        try:
            if kind is None:
                self._container.mux(self._stream.encode(None))
                self._copy_until(None)
            self._container.close()
        except av.error.FFmpegError:
            if kind is None:
                raise
        finally:
            self._source.__exit__(None, None, None)

    def copy_metadata(self) -> None:
        """Take over what the source says of itself, before the first frame; not what is of its kind of file."""
        said = self._source_container.metadata
        self._container.metadata.update({key: text for key, text in said.items() if key not in _OF_THE_FILE})

    def write(self, pixels: NDArray[Any], pts: int) -> None:
        """Encode one frame, after all that is heard before it."""
        self._copy_until(pts * self._info.time_base)
        frame = self._coded(pixels)
        frame.pts, frame.time_base = pts, self._info.time_base
        frame.pict_type = 0  # the encoder decides
        self._container.mux(self._stream.encode(frame))

    def _copy_of(self, stream: Any) -> Any:
        try:
            return self._container.add_stream_from_template(stream)
        except (av.error.FFmpegError, ValueError):
            self.left_out.append(f"a {stream.type} stream cannot be copied into this kind of file; try .mkv")
            return None

    def _copy_until(self, seconds: Fraction | None) -> None:
        while self._next is not None:
            packet = self._next
            if seconds is not None and packet.dts is not None and packet.dts * packet.time_base > seconds:
                return
            if packet.dts is not None:
                packet.stream = self._copies[packet.stream.index]
                self._container.mux(packet)
            with refusing(self._info.path):
                self._next = next(self._packets, None)

    def _tag(self, video: Any) -> None:
        context, source = self._stream.codec_context, video.codec_context
        height, width = self._shape
        context.width, context.height, context.pix_fmt = width, height, self._format
        context.time_base = self._stream.time_base = self._info.time_base
        context.framerate = self._info.frame_rate
        context.thread_count = _NUM_THREADS
        context.colorspace = _MATRIX_TAGS[self._model.matrix]
        context.color_range = 2 if self._model.is_full_range else 1
        context.color_primaries, context.color_trc = source.color_primaries, source.color_trc
        aspect = source.sample_aspect_ratio
        if aspect:
            context.sample_aspect_ratio = 1 / aspect if self._shape[0] == self._info.width else aspect

    def _coded(self, pixels: NDArray[Any]) -> Any:
        """Code R'G'B' as Y'CbCr; swscale is up to a code off on average: full range, 16 bits, siting of chroma."""
        frame: Any = av.VideoFrame(pixels.shape[1], pixels.shape[0], self._format)
        for plane, samples in zip(frame.planes, _coded_planes(pixels, self._model, self._format), strict=True):
            lines = np.zeros((plane.height, plane.line_size // samples.itemsize), samples.dtype)
            lines[:, : samples.shape[1]] = samples
            plane.update(lines)
        return frame


def _output_model(info: VideoInfo) -> ColourModel:
    """Return how the result codes colours: as the source does, as far as H.264 can."""
    depth = 8 if info.colour.depth == 8 else 10
    if info.colour.matrix == "rgb":
        return replace(info.colour, matrix="bt709", is_full_range=False, depth=depth)
    return replace(info.colour, depth=depth)


def _coded_planes(pixels: NDArray[Any], model: ColourModel, pixel_format: str) -> list[NDArray[Any]]:
    """Return Y', Cb and Cr: the inverse of `to_rgb`, rounded; chroma lies on the left column of luma, between rows."""
    luma_offset, chroma_offset, *matrix, peak = model.coefficients().astype(np.float64)
    forward = np.linalg.inv(np.reshape(matrix, (3, 3))) * (peak / np.iinfo(pixels.dtype).max)
    forward[1:] /= 16  # `to_rgb` takes chroma in sixteenths of a code
    offsets = np.array([[luma_offset], [chroma_offset / 16], [chroma_offset / 16]])
    coded = cv2.transform(pixels.astype(np.float32), np.hstack([forward, offsets]).astype(np.float32))
    planes = list(cv2.split(coded))
    for k in (1, 2):
        if "444" not in pixel_format:
            planes[k] = cv2.sepFilter2D(planes[k], -1, _LEFT, _ALONE, borderType=cv2.BORDER_REPLICATE)[:, ::2]
        if "420" in pixel_format:
            planes[k] = (planes[k][::2] + planes[k][1::2]) / 2
    dtype = np.uint8 if model.depth == 8 else np.uint16
    return [np.clip(np.rint(plane), 0, model.peak).astype(dtype) for plane in planes]


def _pixel_format(info: VideoInfo) -> str:
    """Return the clip's own format if H.264 has it, else the one of the nearest depth and chroma sampling.

    Chroma at half the resolution cannot have odd sides.
    """
    height, width = (info.width, info.height) if info.rotation % 2 else (info.height, info.width)
    x, y = (info.colour.shift_x, info.colour.shift_y) if info.rotation % 2 == 0 else (0, 0)
    if info.pixel_format in _PLANAR_FORMATS and (info.rotation % 2 == 0 or "420" in info.pixel_format):
        x, y = info.colour.shift_x, info.colour.shift_y
    x, y = x * (width % 2 == 0), y * (height % 2 == 0)
    chroma = {(1, 1): "20", (1, 0): "22"}.get((x, y), "44")
    return f"yuv4{chroma}p{'10le' if info.colour.depth > 8 else ''}"
