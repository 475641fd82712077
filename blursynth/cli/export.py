"""``blursynth export``."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from blursynth.cli.options import JSON, OVERWRITE, talk_options
from blursynth.cli.screen import Screen
from blursynth.errors import SettingsError

__all__ = ["command"]


@click.command("export")
@click.argument("shards", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="A new folder.")
@click.option(
    "--layout",
    required=True,
    type=click.Choice(["gopro", "reds", "folders", "basicsr", "webdataset", "video"]),
    help="Folders of PNG files, LMDB folders, tars, or videos to look at.",
)
@click.option("--crop", "crop_px", type=int, metavar="PX", help="For basicsr: cut into squares, 512 as NAFNet does.")
@click.option("--step", "step_px", type=int, metavar="PX", help="From square to square.  [default: half of it]")
@click.option("--jobs", default=2, show_default=True, metavar="N", help="Worker processes; 0: all cores.")
@OVERWRITE
@JSON
@talk_options
@click.pass_obj
def command(
    screen: Screen,
    /,
    shards: Path,
    output: Path,
    layout: str,
    crop_px: int | None,
    step_px: int | None,
    jobs: int,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write shards in a layout that other tools read, bit for bit.

    Pixels are the display codes of the shards; sides of a split become folders. A killed run goes on when the same
    command is run again.

    \b
      blursynth export shards/ -o tree --layout gopro
      blursynth export shards/ -o lmdb --layout basicsr --crop 512 --step 256
      blursynth export shards/ -o videos --layout video
    """
    from blursynth.engine import Engine  # noqa: PLC0415
    from blursynth.layouts import Crop, export_shards  # noqa: PLC0415

    if crop_px is None and step_px is not None:
        raise SettingsError("--step is for --crop")
    crop = None if crop_px is None else Crop(crop_px, max(1, crop_px // 2) if step_px is None else step_px)
    summary = export_shards(
        shards, output, layout=layout, crop=crop, overwrite=overwrite, engine=Engine(jobs), progress=screen
    )
    screen.note(f"{summary.pairs} pairs as {layout}; {summary.kept} were there already")
    click.echo(json.dumps(asdict(summary), default=str) if as_json else str(output))
