"""``blursynth demo``."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from blursynth.cli.options import JSON, talk_options
from blursynth.cli.screen import Screen

__all__ = ["command"]


@click.command("demo")
@click.option("-o", "--output", default="blursynth-demo", show_default=True, type=click.Path(path_type=Path))
@click.option("--minutes", default=1.8, show_default=True, type=click.FloatRange(min=0.05), help="Of training.")
@click.option("--seconds", default=2.5, show_default=True, type=click.FloatRange(min=0.2), help="Length of the clip.")
@click.option("--seed", default=0, show_default=True, help="Of the scene, the weights and what is drawn.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier demo.")
@JSON
@talk_options
@click.pass_obj
def command(
    screen: Screen, /, output: Path, minutes: float, seconds: float, seed: int, overwrite: bool, as_json: bool
) -> None:
    """Render a clip, then make, train and deblur with it.

    Nothing is downloaded: a street, a hand-held camera and traffic at 240 frames/s are drawn and encoded, averaged into
    pairs, a small network is trained on them for two minutes, and the pairs that were held out are deblurred.

    \b
      blursynth demo
    """
    from blursynth.demo import run_demo  # noqa: PLC0415  # torch takes seconds

    result = run_demo(output, minutes=minutes, seconds=seconds, seed=seed, overwrite=overwrite, progress=screen)
    click.echo(json.dumps(asdict(result), default=str) if as_json else result.text())
