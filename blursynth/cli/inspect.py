"""``blursynth inspect``."""

import json
from pathlib import Path

import click

from blursynth.cli.options import JSON, outline, talk_options
from blursynth.cli.screen import Screen
from blursynth.errors import PartialError

__all__ = ["command"]


@click.command("inspect")
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@JSON
@talk_options
@click.pass_obj
def command(screen: Screen, /, paths: tuple[Path, ...], as_json: bool) -> None:
    """Tell what a clip, shard, folder of shards or checkpoint holds.

    \b
      blursynth inspect clip.mp4 shards/ runs/mine/best.safetensors
    """
    from blursynth.contents import inspect_paths  # noqa: PLC0415

    contents, errors = inspect_paths(paths)
    if contents:
        click.echo(json.dumps(contents) if as_json else outline(contents))
    for error in errors[1:]:
        screen.error(str(error))
    if errors:
        raise PartialError(str(errors[0])) if contents else errors[0]
