"""``blursynth deblur``."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from blursynth.cli.options import JSON, OVERWRITE, SectionedCommand, device_option, talk_options
from blursynth.cli.screen import Screen
from blursynth.errors import PartialError, RefusedError, SettingsError

if TYPE_CHECKING:
    from blursynth.model.photographs import DeblurResult

__all__ = ["command"]

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class _BytesType(click.ParamType[int]):
    """``2G`` as a number of bytes."""

    name = "SIZE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read the text."""
        match = re.fullmatch(r"(\d{1,12}(?:\.\d{1,6})?)([KMGT]?)(?:i?B)?", str(value), re.IGNORECASE)
        if not match or not (size := int(float(match[1]) * _UNITS[match[2].upper()])):
            self.fail(f"{value!r}: write a size, such as 2G or 500M", param, ctx)
        return size


class _TileType(click.ParamType[int | None]):
    """``auto`` as None, else a number of px."""

    name = "auto|N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        """Read the text."""
        if value == "auto":
            return None
        if not re.fullmatch(r"\d{1,6}", str(value)):
            self.fail(f"{value!r}: write auto or a number of px, such as 512", param, ctx)
        return int(value)


@click.command(
    "deblur",
    cls=SectionedCommand,
    sections={
        "Files": ["output", "suffix", "recursive", "overwrite", "compare"],
        "Network": ["model", "strength", "self_ensemble", "device", "tile", "memory_bytes"],
        "What is kept": ["strip_metadata", "keep_times", "quality", "max_pixels"],
    },
)
@click.argument("photos", nargs=-1, required=True)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="File, folder or -.  [default: beside each photo]"
)
@click.option("--suffix", default="_deblurred", show_default=True, help="Added to the names of the results.")
@click.option(
    "--model",
    "--checkpoint",
    "model",
    metavar="tiny|base|FILE",
    help="Weights that come along, a checkpoint or published weights (.pt).  [default: those that come along]",
)
@click.option("--strength", default=1.0, show_default=True, metavar="0..1", help="How much of the change to take.")
@click.option("--self-ensemble", is_flag=True, help="Mean of eight turned copies: a little better, 8 times the time.")
@click.option("--tile", default="auto", show_default=True, type=_TileType(), help="Largest side of the tiles, px.")
@click.option(
    "--memory",
    "memory_bytes",
    type=_BytesType(),
    help="What the program may take, such as 2G.  [default: what is free]",
)
@click.option("--max-pixels", default=500_000_000, show_default=True, help="Refuse larger photographs.")
@click.option("--recursive", is_flag=True, help="Search folders in folders too.")
@click.option("--strip-metadata", is_flag=True, help="Leave out EXIF, GPS and XMP.")
@click.option("--keep-times", is_flag=True, help="Give results the file times of the originals.")
@click.option("--compare", is_flag=True, help="Write a page beside each result to look at both under a slider.")
@click.option("--quality", default=16, show_default=True, metavar="CRF", help="Of clips: 0 is lossless, 51 is worst.")
@device_option
@OVERWRITE
@JSON
@talk_options
@click.pass_obj
def command(
    screen: Screen,
    /,
    photos: tuple[str, ...],
    output: Path | None,
    suffix: str,
    model: str | None,
    strength: float,
    self_ensemble: bool,
    tile: int | None,
    memory_bytes: int | None,
    recursive: bool,
    device: str,
    as_json: bool,
    **files: Any,
) -> None:
    """Make blurred photographs sharp.

    Upright, in the same format and depth, with EXIF, ICC profile and resolution kept. Originals are never touched.
    Clips are deblurred frame by frame, with their sound and times. - is standard input or output.

    \b
      blursynth deblur photo.jpg
      blursynth deblur holiday/ -o sharp/ --compare
      blursynth deblur clip.mp4 --strength 0.7
      blursynth deblur - < photo.jpg > sharp.jpg
    """
    from blursynth.places import (  # noqa: PLC0415  # Pillow, OpenCV, PyAV
        STREAM,
        find_photographs,
        output_paths,
        refuse_early,
    )

    folders = [Path(name) for name in photos if Path(name).is_dir()]
    sources = find_photographs(photos, suffix=suffix, is_recursive=recursive)
    outputs = output_paths(sources, output, suffix=suffix, folders=folders)
    is_streamed = STREAM in outputs
    if is_streamed and as_json:
        raise SettingsError("--json and the photograph cannot both go to standard output; choose -o FILE")
    refuse_early(sources, outputs, overwrite=files["overwrite"])

    from blursynth.model.photographs import FileSettings, deblur_files  # noqa: PLC0415  # torch takes seconds
    from blursynth.model.restore import Deblurrer  # noqa: PLC0415

    settings = FileSettings(memory_bytes=memory_bytes, **files)
    deblurrer = Deblurrer.load(
        model, device=device, tile=tile, strength=strength, self_ensemble=self_ensemble, memory_bytes=memory_bytes
    )
    results = deblur_files(sources, outputs, deblurrer, settings, progress=screen)
    _tell(results, screen, is_streamed=is_streamed, as_json=as_json)


def _tell(results: Sequence["DeblurResult"], screen: Screen, *, is_streamed: bool, as_json: bool) -> None:
    for result in results:
        if result.error:
            screen.error(result.error)
    if as_json:
        click.echo(json.dumps([asdict(result) for result in results], default=str))
    elif not is_streamed:
        for result in results:
            if not result.error:
                click.echo(result.output)
    failed = sum(result.error is not None for result in results)
    if failed == len(results):
        raise RefusedError(f"none of {failed} photographs could be read")
    if lost := failed + sum(result.kept_tiles > 0 for result in results):
        raise PartialError(f"{lost} of {len(results)} photographs are not deblurred, or not whole")
