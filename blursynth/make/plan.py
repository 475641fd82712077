"""All that is decided before a frame is averaged: which windows, in which shards."""

from dataclasses import dataclass, replace

from blursynth.crf import curve_of_transfer, response_curve
from blursynth.errors import VideoError
from blursynth.files import printable
from blursynth.interpolate import Gap, Interpolator
from blursynth.make.settings import MakeConfig
from blursynth.make.shared import shard_stem
from blursynth.radiometry import NoiseLevel
from blursynth.recordings import assign_splits, parse_split, recording_of
from blursynth.shards import pairs_per_shard
from blursynth.synthesis import output_size
from blursynth.video import VideoInfo
from blursynth.windows import ExposureRule, Window, gaps, plan_exposures, plan_windows

__all__ = ["ClipPlan", "Part", "plan_clip"]

_MAX_ASPECT_CHANGE = 0.02


@dataclass(frozen=True, slots=True)
class Part:
    """The windows of one shard."""

    shard: str
    windows: tuple[Window, ...]


@dataclass(frozen=True, slots=True, eq=False)
class ClipPlan:
    """What a clip will become: pairs of (height, width) ``size``, dealt out to shards.

    ``crf`` is the name or file of its response curve, ``recording`` and ``split`` say where it belongs. ``level`` is
    the noise of its frames, None where it is not needed, and ``interpolator`` makes its sub-frames.
    """

    info: VideoInfo
    sha256: str
    config: MakeConfig
    size: tuple[int, int]
    parts: tuple[Part, ...]
    crf: str
    recording: str
    split: str
    level: NoiseLevel | None = None
    interpolator: Interpolator = Gap

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
    info = _with_true_rate(info, config)
    rule = config.rule()
    if isinstance(rule, ExposureRule):
        if rule.seconds * info.frame_rate < 1:
            raise VideoError(
                f"{printable(info.path)}: an exposure of {float(rule.seconds):g} s is shorter than the step "
                f"between frames, {float(1 / info.frame_rate):g} s: nothing blurs; choose a longer one, or --source-fps"
            )
        windows = plan_exposures(info.frame_times(), rule, info.time_base)
        needed = f"an exposure of {float(rule.seconds):g} s does not fit; choose a shorter --exposure"
    else:
        windows = plan_windows(info.pts, rule, seed=config.seed, source=sha256, usual_step=info.step)
        needed = f"a window needs {rule.shortest} in a row; choose a shorter --window"
    if not windows:
        have = f"{info.num_frames} frames" + (" with gaps in their times" if gaps(info.pts, info.step) else "")
        raise VideoError(f"{printable(info.path)}: {have}, {needed}")
    _check_resize(info, config.resize)
    size = output_size(info, config.resize)
    count = pairs_per_shard(*size, keeps_light=config.store == "linear")
    stem = shard_stem(info.path, sha256, config.sha256(), known=stem)
    parts = tuple(
        Part(f"{stem}-{part:05}.h5", tuple(windows[start : start + count]))
        for part, start in enumerate(range(0, len(windows), count))
    )
    recording = recording_of(info.path.name, info.creation_time)
    split = assign_splits([recording], parse_split(config.split), config.seed)[recording] if config.split else ""
    crf, info = _curve_of(info, config)
    return ClipPlan(info, sha256, config, size, parts, crf, recording, split)


def _with_true_rate(info: VideoInfo, config: MakeConfig) -> VideoInfo:
    """Let the clip's clock tell the time at which it was filmed."""
    rate = config.true_frame_rate()
    if not rate:
        return info
    return replace(info, frame_rate=rate, time_base=info.time_base * info.frame_rate / rate, rate_notes=())


def _curve_of(info: VideoInfo, config: MakeConfig) -> tuple[str, VideoInfo]:
    """Choose the response curve; where tags decide, say what they said."""
    tagged = curve_of_transfer(info.transfer)
    if config.crf != "auto":
        if tagged in {"hlg", "pq"} and response_curve(config.crf).name != tagged:
            note = f"its tags say {tagged.upper()}, HDR, but --crf {config.crf} is used; --crf auto follows the tags"
            return config.crf, replace(info, notes=(*info.notes, note))
        return config.crf, info
    told = f"{tagged}, by its tags" if tagged else "bt709, since it has no tag for its transfer function"
    return tagged or "bt709", replace(info, notes=(*info.notes, f"response curve {told}"))


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
