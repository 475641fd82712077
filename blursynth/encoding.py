"""Write video: H.264 that every player shows, with colours that say what they are."""

import subprocess
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

from blursynth.errors import OutputError, SettingsError
from blursynth.files import printable, replacing

__all__ = ["write_h264"]

# swscale's fast path is a whole code off on average; this one rounds.
_TO_BT709 = (
    "scale=out_color_matrix=bt709:out_range=tv:flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp,"
    "format=yuv420p"
)
_TAGS = ["-color_primaries", "bt709", "-color_trc", "bt709", "-colorspace", "bt709", "-color_range", "tv"]


def write_h264(
    path: Path,
    frames: Iterable[NDArray[np.uint8]],
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
    frames
        (H, W, 3) uint8 R'G'B' codes. A last odd column or row is cut off, since 4:2:0 has none.
    size
        (height, width) of the frames.
    frame_rate
        In frames per second.
    quality
        x264's CRF: 0 is lossless, 51 is worst.

    Returns
    -------
    How many frames were written.

    Raises
    ------
    SettingsError
        If the name does not end in .mp4, or ``path`` exists and ``overwrite`` is false.
    OutputError
        If the disk or the encoder says no; nothing is left then.
    """
    if path.suffix.lower() != ".mp4":
        raise SettingsError(f"{printable(path)}: videos are written as MP4; choose a name that ends in .mp4")
    height, width = size[0] & ~1, size[1] & ~1
    count = 0
    with replacing(path, overwrite=overwrite) as temporary:
        rate = f"{frame_rate.numerator}/{frame_rate.denominator}"
        writer = imageio_ffmpeg.write_frames(
            str(temporary.absolute()),
            (width, height),
            pix_fmt_in="rgb24",
            pix_fmt_out="yuv420p",
            fps=float(frame_rate),
            codec="libx264",
            quality=None,
            macro_block_size=1,
            ffmpeg_log_level="error",
            input_params=["-r", rate],  # imageio-ffmpeg would round it to two decimals
            output_params=[
                *["-vf", _TO_BT709, "-r", rate, "-crf", str(quality), "-preset", preset, *_TAGS],
                *["-movflags", "+faststart", "-f", "mp4"],
            ],
        )
        try:
            writer.send(None)
            for frame in frames:
                writer.send(np.ascontiguousarray(frame[:height, :width]))
                count += 1
        except (OSError, subprocess.SubprocessError) as error:
            raise OutputError(
                f"{printable(path)}: the encoder stopped: {str(error).strip().splitlines()[-1]}"
            ) from error
        finally:
            writer.close()
        if temporary.stat().st_size == 0:
            raise OutputError(f"{printable(path)}: the encoder wrote nothing; is the disk full?")
    return count
