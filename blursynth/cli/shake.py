"""``blursynth shake``."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

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
from blursynth.errors import PartialError, SettingsError

__all__ = ["command"]

_TOLD = {
    ParameterSource.COMMANDLINE: "",
    ParameterSource.ENVIRONMENT: " of the environment",
    ParameterSource.DEFAULT_MAP: " of the settings file",
}


@click.command(
    "shake",
    cls=SectionedCommand,
    sections={
        "Shake": (
            "preset",
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
@click.option(
    "--preset",
    type=click.Choice(["kohler"]),
    help="kohler: a benchmark of 12 trajectories, with all frames, 512x512 of photographs of 600 px or more.",
)
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
    preset: str | None,
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
      blursynth shake a.jpg b.jpg c.jpg d.jpg -o benchmark --preset kohler
    """
    from blursynth.files import expand  # noqa: PLC0415
    from blursynth.make import Engine  # noqa: PLC0415
    from blursynth.make.stills import KohlerConfig, ShakeConfig, make_kohler_set, shake_dataset  # noqa: PLC0415
    from blursynth.photos import PHOTO_SUFFIXES  # noqa: PLC0415

    paths = expand(photos, PHOTO_SUFFIXES, is_recursive=recursive)
    engine = Engine(jobs, backend, scheduler)
    if preset:
        _refuse_beside_preset()
        config = KohlerConfig(settings["size"] or KohlerConfig().size, settings["crf"], settings["seed"])
        index = make_kohler_set(paths, output, config, overwrite=overwrite, engine=engine, progress=screen)
        click.echo(json.dumps({"output": str(output), "index": str(index)}) if as_json else str(output))
        return
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


def _refuse_beside_preset() -> None:
    """Refuse what the benchmark decides, all but its size, curve and seed, wherever it is told."""
    context = click.get_current_context()
    taken = {"photos", "output", "recursive", "preset", "size", "crf", "seed", "jobs", "backend", "scheduler"}
    taken |= {"overwrite", "as_json"}
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        where = _TOLD.get(source) if source else None
        if where is not None and parameter.expose_value and name not in taken:
            raise SettingsError(f"{parameter.opts[-1]}{where} does not go with --preset kohler, which decides it")
