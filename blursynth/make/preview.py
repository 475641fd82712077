"""The blurry images of a clip as a video."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blursynth.encoding import check_video_name, write_h264
from blursynth.errors import SettingsError
from blursynth.files import printable
from blursynth.make.summary import MakeSummary
from blursynth.progress import SILENT, Progress
from blursynth.shards import Shard

__all__ = ["check_preview", "write_preview"]


def check_preview(path: Path, videos: Sequence[Path], *, overwrite: bool) -> None:
    """Refuse a preview that could not be written, before the work.

    Raises
    ------
    SettingsError
        If there are several clips, or the name is taken, is that of the clip or does not end in .mp4.
    """
    if len(videos) != 1:
        raise SettingsError(f"--preview-video shows one clip, and {len(videos)} are given; make them one by one")
    check_video_name(path, overwrite=overwrite)
    if path.exists() and path.samefile(videos[0]):
        raise SettingsError(f"{printable(path)}: is the clip itself; choose another name for the preview")


def write_preview(summary: MakeSummary, path: Path, *, overwrite: bool = False, progress: Progress = SILENT) -> int:
    """Write the blurry images of a clip as a video at its reduced frame rate; return how many frames it has.

    They are read back from the shards, so a preview can be had of a folder that is long finished.

    Raises
    ------
    SettingsError
        If the name does not end in .mp4, or is taken and ``overwrite`` is false.
    """
    names = [name for clip in summary.clips for name in clip.shards]
    with Shard(summary.output / names[0]) as shard:
        size = shard.size
        step = Fraction(int(np.median(np.diff(_centres(summary, names)))) if summary.pairs > 1 else 1)
        frame_rate = Fraction(shard.attributes["frame_rate"]) / step
    with progress.task(path.name, summary.pairs, "frames") as advance:

        def blurry() -> Iterator[NDArray[np.uint8]]:
            for name in names:
                with Shard(summary.output / name) as shard:
                    for index in range(len(shard)):
                        yield shard.pair(index)[0]
                        advance(1, "")

        return write_h264(path, blurry(), size=size, frame_rate=frame_rate, overwrite=overwrite)


def _centres(summary: MakeSummary, names: Sequence[str]) -> NDArray[np.int64]:
    centres = []
    for name in names:
        with Shard(summary.output / name) as shard:
            centres.append(shard.rows()["centre_frame"])
    return np.concatenate(centres)
