"""``blursynth rebuild``."""

import json
from pathlib import Path

import click

from blursynth.cli.options import JSON, OVERWRITE, interpolator_of, talk_options
from blursynth.cli.screen import Screen
from blursynth.errors import ShardError

__all__ = ["command"]


@click.command("rebuild")
@click.argument("shards", type=click.Path(path_type=Path))
@click.option("--pair", "name", required=True, metavar="SHARD:ROW", help="Which pair; rows count from 0.")
@click.option("--source", required=True, type=click.Path(path_type=Path), help="The clip or photograph of it.")
@click.option("--gyro", type=click.Path(path_type=Path), help="The log of a gyroscope that shook it, if one did.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write its images there as PNG.")
@OVERWRITE
@JSON
@talk_options
@click.pass_obj
def command(
    screen: Screen,
    /,
    shards: Path,
    name: str,
    source: Path,
    gyro: Path | None,
    output: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Make one pair again from its source and its record, and compare.

    Exit code 4 if one value differs.

    \b
      blursynth rebuild shards/ --pair clip-0a1b2c3d-00000.h5:3 --source clip.mp4
    """
    from blursynth.make.rebuild import find_pair, rebuild_pair, write_images  # noqa: PLC0415

    shard, row = find_pair(shards, name)
    rebuilt = rebuild_pair(shard, row, source, gyro=gyro, interpolator=interpolator_of)
    paths = write_images(rebuilt, output, f"{shard.stem}-{row}", overwrite=overwrite) if output else []
    for path in paths:
        screen.note(f"wrote {path}")
    equal = [image for image in rebuilt.images if image not in rebuilt.different]
    result = {"pair": name, "equal": equal, "different": list(rebuilt.different), "files": list(map(str, paths))}
    click.echo(json.dumps(result) if as_json else f"{name}: {', '.join(equal) or 'nothing'} equal to the byte")
    if rebuilt.different:
        raise ShardError(f"{name}: {', '.join(rebuilt.different)} differ from what is made of the clip now")
