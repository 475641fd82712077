"""``blursynth report``."""

from pathlib import Path
from typing import Any

import click

from blursynth.cli.options import OVERWRITE, talk_options
from blursynth.cli.screen import Screen

__all__ = ["command"]


@click.command("report")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The page.  [default: report.html in the folder]")
@click.option("--pairs", default=24, show_default=True, metavar="N", help="Pairs to show, up to 200.")
@click.option(
    "--sort", default="ghost", show_default=True,
    type=click.Choice(["motion", "ghost", "sharpness", "saturation", "noise"]),
    help="What half of the pairs are worst by.",
)  # fmt: skip
@click.option(
    "--clips", multiple=True, type=click.Path(exists=True, path_type=Path), metavar="PATH",
    help="Where the clips are, for slices through time; repeatable.  [default: near the folder]",
)  # fmt: skip
@OVERWRITE
@talk_options
@click.pass_obj
def command(screen: Screen, /, path: Path, output: Path | None, clips: tuple[Path, ...], **settings: Any) -> None:
    """Write one page to look at: a folder of shards, or a training run.

    Pairs under a slider, worst first; distributions; what was left out and why; slices through time of suspicious
    pairs; leaks between the sides of the split. Of a run: curves, samples, the model card. The page needs no network
    and no other file.

    \b
      blursynth report shards/
      blursynth report shards/ -o report.html --pairs 48 --sort sharpness --clips footage/
      blursynth report runs/mine
    """
    from blursynth.report import write_report  # noqa: PLC0415

    click.echo(str(write_report(path, output, clips=clips, progress=screen, **settings)))
