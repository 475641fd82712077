"""``blursynth shake``."""

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
    light_options,
    talk_options,
)
from blursynth.cli.screen import Screen
from blursynth.errors import PartialError

__all__ = ["command"]


@click.command(
    "shake",
    cls=SectionedCommand,
    sections={
        "Shake": (
            "per_photo",
            "still",
            "size",
            "blur_px",
            "trajectory",
            "exposure_seconds",
            "readout",
            "layers",
            "gyro",
            "focal_px",
        ),
        "Light": LIGHT_NAMES,
        "Who works": ENGINE_NAMES,
    },
)
@click.argument("photos", nargs=-1, required=True)
@click.option("-o", "--output", default="shards", show_default=True, type=click.Path(path_type=Path), help="Folder.")
@click.option("--recursive", is_flag=True, help="Look into folders inside folders.")
@click.option("--per-photo", default=4, show_default=True, help="Pairs of each photograph.")
@click.option("--still", default=0.0, show_default=True, metavar="SHARE", help="Pairs whose camera stands still.")
@click.option("--size", type=SizeType(), help="Size of the pairs, at a drawn place.  [default: all that stays in view]")
@click.option("--blur-px", default="2-40", show_default=True, metavar="A-B", help="Length of the camera's path, px.")
@click.option(
    "--trajectory", default="mixed", show_default=True, type=click.Choice(["mixed", "boracchi-foi", "tremor"])
)
@click.option("--exposure", "exposure_seconds", default="0.02-0.5", show_default=True, metavar="A-B", help="Seconds.")
@click.option("--readout", default="0-0.5", show_default=True, metavar="A-B", help="Rolling shutter, in exposures.")
@click.option("--layers", default="1-3", show_default=True, metavar="A-B", help="Depths that move differently.")
@click.option("--gyro", metavar="CSV", help="Shake as this log of a gyroscope says.")
@click.option("--focal-px", type=float, help="Focal length in pixels.  [default: a usual one]")
@click.option("--crf", default="srgb", show_default=True, metavar="CURVE", help="Response curve of the photographs.")
@light_options
@click.option("--split", metavar="SHARES", help="Sides for photographs: train:0.8,val:0.1,test:0.1.")
@click.option("--codec", default="raw", show_default=True, type=click.Choice(["raw", "zstd"]), help="Shard storage.")
@click.option("--seed", default=0, show_default=True, help="Of what is drawn.")
@engine_options
@OVERWRITE
@JSON
@talk_options
@click.pass_obj
def command(
    screen: Screen,
    /,
    photos: tuple[str, ...],
    output: Path,
    recursive: bool,
    jobs: int,
    backend: str,
    scheduler: str | None,
    part: str | None,
    overwrite: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Shake sharp photographs: shards of pairs as a hand-held camera makes them.

    The camera moves in six degrees of freedom, or as a gyroscope recorded it; the shutter rolls, near things move more
    than far ones, and light and noise are those of `make`. A killed run goes on when the same command is run again.

    \b
      blursynth shake photos/ -o shaken --size 384x256 --still 0.1
      blursynth shake photos/ -o shaken --gyro log.csv --focal-px 3000 --noise iso:100-3200 --highlights on
    """
    from blursynth.files import expand  # noqa: PLC0415
    from blursynth.make import Engine  # noqa: PLC0415
    from blursynth.make.stills import ShakeConfig, shake_dataset  # noqa: PLC0415
    from blursynth.photos import PHOTO_SUFFIXES  # noqa: PLC0415

    paths = expand(photos, PHOTO_SUFFIXES, is_recursive=recursive)
    engine = Engine(jobs, backend, scheduler)
    summary = shake_dataset(
        paths, output, ShakeConfig(**settings), overwrite=overwrite, engine=engine, part=part, progress=screen
    )
    for photo in summary.photos:
        if photo.error:
            screen.error(photo.error)
        if photo.same_as:
            screen.note(f"{photo.path}: the same photograph as {photo.same_as}: left out")
    screen.note(f"{summary.pairs} pairs of {len(summary.photos)} photograph(s)")
    click.echo(json.dumps(asdict(summary), default=str) if as_json else str(output))
    if failed := [photo for photo in summary.photos if photo.error]:
        raise PartialError(f"{len(failed)} of {len(summary.photos)} photograph(s) gave no pairs: {failed[0].path}")
