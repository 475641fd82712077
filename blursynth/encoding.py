"""Write video: H.264 that every player shows, with colours that say what they are."""

import re
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TypeAlias, cast

import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

from blursynth.errors import DeviceError, OutputError, SettingsError
from blursynth.files import printable, refuse_existing, replacing

__all__ = ["check_video_name", "write_h264"]

_Frame: TypeAlias = NDArray[np.uint8]

# swscale's fast path is a whole code off on average; this one rounds. It would put chroma between the luma columns,
# where H.264 that says nothing has it on the left one.
_TO_BT709 = (
    "scale=out_color_matrix=bt709:out_range=tv:out_h_chr_pos=0:out_v_chr_pos=128:"
    "flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp,"
    "format=yuv420p,setparams=color_primaries=bt709:color_trc=bt709"
)
# Older ffmpegs, which do not take the tags from the frames, are told once more.
_TAGS = ["-color_primaries", "bt709", "-color_trc", "bt709", "-colorspace", "bt709", "-color_range", "tv"]
_NUM_THREADS = "4"  # of x264, whose result depends on it: else every machine would write other bytes


def check_video_name(path: Path, *, overwrite: bool) -> None:
    """Refuse a name that `write_h264` would refuse.

    Raises
    ------
    SettingsError
        If it does not end in .mp4, or is taken and ``overwrite`` is false.
    """
    if path.suffix.lower() != ".mp4":
        raise SettingsError(f"{printable(path)}: videos are written as MP4; choose a name that ends in .mp4")
    refuse_existing(path, overwrite=overwrite)


def write_h264(
    path: Path,
    frames: Iterable[_Frame],
    *,
    size: tuple[int, int],
    frame_rate: Fraction,
    quality: int = 16,
    preset: str = "veryfast",
    overwrite: bool = False,
) -> int:
    """Encode frames as H.264 in MP4: yuv420p, BT.709, limited range, tagged, equal time steps.

    Parameters
    ----------
    path
        A name that ends in .mp4; the file appears when it is whole.
    frames
        (H, W, 3) uint8 R'G'B' codes. A last odd column or row is cut off, since 4:2:0 has none.
    size
        (height, width) of the frames.
    frame_rate
        In frames per second.
    quality
        x264's CRF: 0 is lossless, 51 is worst.
    preset
        x264's word for how long it may search: "ultrafast" to "veryslow".
    overwrite
        Whether an existing file may be replaced.

    Returns
    -------
    How many frames were written.

    Raises
    ------
    SettingsError
        If the name does not end in .mp4, ``path`` exists and ``overwrite`` is false, or there are no frames.
    DeviceError
        If there is no ffmpeg.
    OutputError
        If the disk or the encoder says no; nothing is left then.
    ValueError
        If a frame is not what is said above.
    """
    check_video_name(path, overwrite=overwrite)
    name = printable(path)
    height, width = size[0] & ~1, size[1] & ~1
    count = 0
    with replacing(path, overwrite=overwrite) as temporary:
        arguments = [
            *["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(frame_rate), "-i", "-"],
            *["-vf", _TO_BT709, "-r", str(frame_rate), *_TAGS],
            *["-c:v", "libx264", "-crf", str(quality), "-preset", preset, "-threads", _NUM_THREADS],
            *["-movflags", "+faststart", "-f", "mp4", str(temporary.absolute())],
        ]
        with _running_ffmpeg(arguments, name) as send:
            for frame in frames:
                if frame.shape != (*size, 3) or frame.dtype != np.uint8:
                    raise ValueError(f"frame {count} must be {(*size, 3)} uint8, not {frame.shape} {frame.dtype}")
                send(np.ascontiguousarray(frame[:height, :width]))
                count += 1
            if not count:
                raise SettingsError(f"{name}: no frames to write")
    return count


@contextmanager
def _running_ffmpeg(arguments: list[str], name: str) -> Iterator[Callable[[_Frame], None]]:
    """Give a function that sends a frame to ffmpeg; ``name`` is of the file, for messages.

    The block ends when ffmpeg has ended well. If anything is raised in it, ffmpeg is killed.
    """
    with TemporaryFile() as log, _start(arguments, log) as process:
        pipe = cast("IO[bytes]", process.stdin)

        def send(frame: _Frame) -> None:
            rest = frame.data.cast("B")
            try:
                while rest:
                    rest = rest[pipe.write(rest) :]
            except BrokenPipeError as error:
                process.wait()
                raise _failure(process, log, name) from error

        try:
            yield send
            pipe.close()
            if process.wait():
                raise _failure(process, log, name)
        except BaseException:
            process.kill()
            raise


def _start(arguments: list[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
    # Not imageio_ffmpeg.write_frames, which would not tell how ffmpeg ended, nor what it said.
    try:
        return subprocess.Popen(  # noqa: S603  # the path comes from imageio-ffmpeg
            [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=log,  # a file, since nobody empties a pipe meanwhile
            bufsize=0,
            process_group=0,  # a Ctrl-C is for us; we kill ffmpeg
        )
    except (OSError, RuntimeError) as error:
        raise DeviceError(f"no ffmpeg that runs: {error}; install one, or name it in IMAGEIO_FFMPEG_EXE") from error


def _failure(process: subprocess.Popen[bytes], log: IO[bytes], name: str) -> OutputError:
    log.seek(0)
    first, *_ = log.read().decode(errors="replace").split("\n")
    said = re.sub(r"^\[[^]]*\] *", "", first)  # which part of ffmpeg said it
    return OutputError(f"{name}: the encoder stopped: {printable(said) or f'exit status {process.returncode}'}")
