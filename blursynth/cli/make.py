"""``blursynth make``."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from blursynth.cli.options import (
    ENGINE_NAMES,
    JSON,
    LIGHT_NAMES,
    OVERWRITE,
    SectionedCommand,
    SizeType,
    engine_options,
    interpolator_of,
    light_options,
    talk_options,
)
from blursynth.cli.screen import Screen
from blursynth.errors import PartialError

__all__ = ["command"]


@click.command(
    "make",
    cls=SectionedCommand,
    sections={
        "Which frames": (
            "window",
            "stride",
            "exposure",
            "shutter_angle",
            "output_fps",
            "source_fps",
            "interpolate",
            "interpolate_with",
            "measure",
            "min_motion",
            "max_ghost",
            "min_sharpness",
        ),
        "Light": LIGHT_NAMES,
        "Who works": ENGINE_NAMES,
    },
)
@click.argument("clips", nargs=-1)
@click.option("--video", "videos", multiple=True, metavar="CLIP", help="A clip, folder or glob; repeatable.")
@click.option("-o", "--output", default="shards", show_default=True, type=click.Path(path_type=Path), help="Folder.")
@click.option(
    "--window", default="7", show_default=True, metavar="N|A-B", help="Frames a blur; odd, or a range drawn from."
)
@click.option("--stride", type=click.IntRange(min=1), help="Frames from window to window.  [default: they touch]")
@click.option("--exposure", metavar="TIME", help="Exposure instead of a number of frames: 1/30s, 20ms.")
@click.option(
    "--shutter-angle",
    type=float,
    metavar="DEGREES",
    help="The same, of the time from blur to blur; needs --output-fps.",
)
@click.option("--output-fps", metavar="RATE", help="Blurry images a second.  [default: exposures touch]")
@click.option("--source-fps", metavar="RATE", help="True frame rate of a clip whose time stamps lie.")
@click.option(
    "--crf",
    default="gamma:2.2",
    show_default=True,
    metavar="CURVE",
    help="Response curve: auto (by the clip's tags), gamma:G, srgb, bt709, hlg, pq, linear or a file of calibrate-crf.",
)
@click.option(
    "--interpolate",
    default="off",
    show_default=True,
    metavar="auto|N",
    help="Sub-frames between frames; many times slower.",
)
@light_options
@click.option(
    "--interpolate-with",
    default="dis",
    show_default=True,
    type=click.Choice(["dis", "rife"]),
    help="Optical flow, or RIFE where flow has doubts (see docs/interpolation.md).",
)
@click.option(
    "--measure/--no-measure",
    default=True,
    show_default=True,
    help="Motion, ghosts, sharpness; cuts; repeats in exposures.",
)
@click.option("--min-motion", type=float, metavar="PX", help="Leave out windows that move less (95th percentile).")
@click.option(
    "--max-ghost", type=float, metavar="CODES", help="Leave out windows with more ghosting, if nothing is interpolated."
)
@click.option("--min-sharpness", type=float, metavar="0-1", help="Leave out windows whose sharp frame is not.")
@click.option("--resize", type=SizeType(), help="Size of the pairs; reduced in linear light.")
@click.option("--split", metavar="SHARES", help="Sides for recordings: train:0.8,val:0.1,test:0.1.")
@click.option("--codec", default="raw", show_default=True, type=click.Choice(["raw", "zstd"]), help="Shard storage.")
@click.option("--seed", default=0, show_default=True, help="Of what is drawn.")
@engine_options
@click.option("--preview-video", type=click.Path(path_type=Path), help="Write the blurry frames as H.264 too.")
@click.option("--report", "with_report", is_flag=True, help="Write report.html into the folder, a page to look at.")
@OVERWRITE
@JSON
@talk_options
@click.pass_obj
def command(
    screen: Screen,
    /,
    clips: tuple[str, ...],
    videos: tuple[str, ...],
    output: Path,
    jobs: int,
    backend: str,
    scheduler: str | None,
    part: str | None,
    preview_video: Path | None,
    with_report: bool,
    overwrite: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Turn high-frame-rate clips into shards of blurry and sharp pairs.

    Each blurry image is the mean of a window of frames in linear light; the frame in its middle is the sharp one.
    A killed run goes on where it stopped when the same command is run again.

    \b
      blursynth make --video clip.mp4 --window 7
      blursynth make clips/ 'more/*.mov' --window 7-13 -o shards --codec zstd --jobs 4
      blursynth make slow.mp4 --exposure 1/30s --crf auto --noise match --highlights on --store linear
    """
    from blursynth.files import expand  # noqa: PLC0415
    from blursynth.make import Engine, MakeConfig, check_preview, make_dataset, write_preview  # noqa: PLC0415
    from blursynth.video import VIDEO_SUFFIXES  # noqa: PLC0415

    paths = expand([*clips, *videos], VIDEO_SUFFIXES)
    if preview_video:
        check_preview(preview_video, paths, overwrite=overwrite)
    config = MakeConfig(**settings)
    if config.sub_frames() != 0:
        screen.note("sub-frames are interpolated: expect some seconds for each blurry image")
    summary = make_dataset(
        paths,
        output,
        config,
        overwrite=overwrite,
        engine=Engine(jobs, backend, scheduler),
        part=part,
        interpolator=interpolator_of(config.interpolate_with),
        progress=screen,
    )
    _tell(screen, summary)
    if preview_video and summary.pairs:
        write_preview(summary, preview_video, overwrite=overwrite, progress=screen)
    if with_report:
        from blursynth.report import write_report  # noqa: PLC0415

        write_report(output, clips=paths, overwrite=True, progress=screen)
    screen.note(
        f"{summary.pairs} pairs of {len(summary.clips)} clip(s), {_length(config)}, response curve {config.crf}"
    )
    click.echo(json.dumps(asdict(summary), default=str) if as_json else str(output))
    if not summary.pairs and summary.clips:
        reasons = ", ".join(f"{count} for {reason}" for reason, count in summary.rejected.items())
        raise PartialError(f"no window became a pair: {reasons}")
    if lost := [clip for clip in summary.clips if not clip.is_whole]:
        raise PartialError(f"{len(lost)} of {len(summary.clips)} clip(s) gave less than they should: {lost[0].path}")


def _tell(screen: Screen, summary: Any) -> None:
    for clip in summary.clips:
        for note in clip.notes:
            screen.note(f"{clip.path}: {note}")
        if clip.error:
            screen.error(clip.error)
        if screen.verbosity > 0:
            screen.note(f"{clip.path}: {clip.pairs} of {clip.planned} pairs in {', '.join(clip.shards) or 'no shard'}")


def _length(config: Any) -> str:
    exposure = config.exposure_rule()
    return f"exposures of {exposure.seconds} s" if exposure else f"window {config.window}"
