"""``blursynth inspect``."""

import json
from pathlib import Path

import click

from blursynth.cli.options import JSON, outline, talk_options

__all__ = ["command"]


@click.command("inspect")
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@JSON
@talk_options
def command(paths: tuple[Path, ...], as_json: bool) -> None:
    """Tell what a clip, shard, folder of shards or checkpoint holds.

    \b
      blursynth inspect clip.mp4 shards/ runs/mine/best.safetensors
    """
    from blursynth.contents import inspect_path  # noqa: PLC0415

    contents = {str(path): inspect_path(path) for path in paths}
    click.echo(json.dumps(contents) if as_json else outline(contents))
