"""All that is decided before a frame is averaged: which windows, in which shards."""

import hashlib
import re
from dataclasses import dataclass, replace

from blursynth.errors import VideoError
from blursynth.files import printable
from blursynth.make.settings import MakeConfig
from blursynth.shards import pairs_per_shard
from blursynth.synthesis import output_size
from blursynth.video import VideoInfo
from blursynth.windows import Window, plan_windows

__all__ = ["ClipPlan", "Part", "plan_clip"]

_MAX_ASPECT_CHANGE = 0.02


@dataclass(frozen=True, slots=True)
class Part:
    """The windows of one shard."""

    shard: str
    windows: tuple[Window, ...]


@dataclass(frozen=True, slots=True, eq=False)
class ClipPlan:
    """What a clip will become: pairs of (height, width) ``size``, dealt out to shards."""

    info: VideoInfo
    sha256: str
    config: MakeConfig
    size: tuple[int, int]
    parts: tuple[Part, ...]

    @property
    def num_windows(self) -> int:
        """How many pairs there will be if nothing is damaged."""
        return sum(len(part.windows) for part in self.parts)


def plan_clip(info: VideoInfo, sha256: str, config: MakeConfig, *, stem: str | None = None) -> ClipPlan:
    """Lay the windows of a clip and deal them out to shards, by integers alone.

    ``stem`` begins the names of the shards; without one, it is made of the name of the clip.

    Raises
    ------
    VideoError
        If the clip is too short for a window, or too small for the size asked for.
    """
    if rate := config.true_frame_rate():
        low = tuple(note for note in info.notes if "by its time stamps" not in note)
        info = replace(info, frame_rate=rate, notes=low)
    rule = config.rule()
    windows = plan_windows(info.pts, rule, seed=config.seed, source=sha256)
    if not windows:
        raise VideoError(
            f"{printable(info.path)}: {info.num_frames} frames"
            + (" with gaps in their times" if info.num_frames >= rule.shortest else "")
            + f", a window needs {rule.shortest} in a row; choose a shorter --window"
        )
    _check_resize(info, config.resize)
    size = output_size(info, config.resize)
    count = pairs_per_shard(*size)
    stem = stem or re.sub(r"[^A-Za-z0-9_.-]+", "_", info.path.stem).strip("._-")[:80] or "clip"
    mark = hashlib.sha256(f"{sha256}{config.sha256()}".encode()).hexdigest()[:8]
    parts = tuple(
        Part(f"{stem}-{mark}-{part:05}.h5", tuple(windows[start : start + count]))
        for part, start in enumerate(range(0, len(windows), count))
    )
    return ClipPlan(info, sha256, config, size, parts)


def _check_resize(info: VideoInfo, resize: tuple[int, int] | None) -> None:
    if resize is None:
        return
    height, width = output_size(info, None)
    if resize[0] > width or resize[1] > height:
        raise VideoError(f"{printable(info.path)}: {width}x{height} cannot be enlarged to {resize[0]}x{resize[1]}")
    if abs(resize[0] * height / (resize[1] * width) - 1) > _MAX_ASPECT_CHANGE:
        fitting = round(resize[0] * height / width)
        raise VideoError(
            f"{printable(info.path)}: {width}x{height} would be distorted by --resize {resize[0]}x{resize[1]}; "
            f"{resize[0]}x{fitting} fits"
        )
