"""``blursynth deblur``."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from blursynth.cli.options import JSON, OVERWRITE, device_option, talk_options
from blursynth.cli.screen import Screen
from blursynth.errors import PartialError, RefusedError

__all__ = ["command"]


@click.command("deblur")
@click.argument("photos", nargs=-1, required=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File, or folder.  [default: beside each photo]")
@click.option("--suffix", default="_deblurred", show_default=True, help="Added to the names of the results.")
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path),
    help="Network, or published weights (.pt).  [default: the best of the newest run]",
)
@click.option("--tile", default=512, show_default=True, help="Side of the tiles, px; smaller ones need less memory.")
@click.option("--max-pixels", default=500_000_000, show_default=True, help="Refuse larger photographs.")
@click.option("--recursive", is_flag=True, help="Search folders in folders too.")
@click.option("--strip-metadata", is_flag=True, help="Leave out EXIF, GPS and XMP.")
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
    checkpoint: Path | None,
    tile: int,
    max_pixels: int,
    recursive: bool,
    strip_metadata: bool,
    device: str,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Make blurred photographs sharp.

    Upright, in the same format and depth, with EXIF, ICC profile and resolution kept. Originals are never touched.

    \b
      blursynth deblur photo.jpg
      blursynth deblur holiday/ -o sharp/ --checkpoint runs/mine/best.safetensors
    """
    from blursynth.model.photographs import deblur_files, find_photographs, output_paths  # noqa: PLC0415  # torch
    from blursynth.model.restore import Deblurrer  # noqa: PLC0415

    sources = find_photographs(photos, suffix=suffix, is_recursive=recursive)
    outputs = output_paths(sources, output, suffix=suffix)
    deblurrer = Deblurrer.load(checkpoint, device=device, tile=tile)
    results = deblur_files(
        sources,
        outputs,
        deblurrer,
        overwrite=overwrite,
        strip_metadata=strip_metadata,
        max_pixels=max_pixels,
        progress=screen,
    )
    for result in results:
        if result.error:
            screen.error(result.error)
    if as_json:
        click.echo(json.dumps([asdict(result) for result in results], default=str))
    else:
        click.echo("\n".join(str(result.output) for result in results if not result.error))
    failed = sum(result.error is not None for result in results)
    if failed == len(results):
        raise RefusedError(f"none of {failed} photographs could be read")
    if lost := failed + sum(result.kept_tiles > 0 for result in results):
        raise PartialError(f"{lost} of {len(results)} photographs are not deblurred, or not whole")
