"""``blursynth import``."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from blursynth.cli.options import JSON, OVERWRITE, talk_options
from blursynth.cli.screen import Screen
from blursynth.errors import PartialError

__all__ = ["command"]


@click.command("import")
@click.argument("tree", type=click.Path(path_type=Path))
@click.option("-o", "--output", default="shards", show_default=True, type=click.Path(path_type=Path), help="Folder.")
@click.option(
    "--layout",
    default="auto",
    show_default=True,
    metavar="NAME",
    help="gopro, reds, hide, realblur, folders, basicsr or webdataset; auto recognises it.",
)
@click.option(
    "--split", default="all", show_default=True, metavar="SIDES", help="Which sides: train, val, test, or train,test."
)
@click.option(
    "--track", metavar="NAME", help="Which blurry version, where there are several: blur or blur_gamma of GOPRO."
)
@click.option("--codec", default="raw", show_default=True, type=click.Choice(["raw", "zstd"]), help="Shard storage.")
@click.option("--jobs", default=2, show_default=True, metavar="N", help="Worker processes; 0: all cores.")
@OVERWRITE
@JSON
@talk_options
@click.pass_obj
def command(
    screen: Screen,
    /,
    tree: Path,
    output: Path,
    layout: str,
    split: str,
    track: str | None,
    codec: str,
    jobs: int,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Bring a data set of pairs into shards, bit for bit.

    TREE is the root of GOPRO_Large, REDS, HIDE or RealBlur, two plain folders, BasicSR's LMDB folders or WebDataset's
    tars. Sides of a split stay what they are. A killed run goes on when the same command is run again.

    \b
      blursynth import GOPRO_Large --track blur_gamma -o gopro
      blursynth import pairs/ --layout folders -o shards
      blursynth import RealBlur/RealBlur_J_test_list.txt -o realblur
    """
    from blursynth.engine import Engine  # noqa: PLC0415
    from blursynth.layouts import import_tree, open_data_set  # noqa: PLC0415

    splits = None if split == "all" else tuple(dict.fromkeys(part.strip() for part in split.split(",")))
    found = open_data_set(tree, layout=layout, splits=splits, track=track)
    summary = import_tree(
        found,
        output,
        codec="zstd" if codec == "zstd" else "raw",
        overwrite=overwrite,
        engine=Engine(jobs),
        progress=screen,
    )
    for sequence in summary.failed:
        screen.error(str(sequence.error))
    words = " ".join(word for word in (summary.name, summary.track, f"({summary.layout})") if word)
    screen.note(f"{summary.pairs} pairs of {len(summary.sequences)} sequence(s) of {words}")
    click.echo(json.dumps(asdict(summary), default=str) if as_json else str(output))
    if failed := summary.failed:
        raise PartialError(f"{len(failed)} of {len(summary.sequences)} sequence(s) were left out: {failed[0].error}")
