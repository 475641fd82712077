"""``blursynth eval``."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from blursynth.cli.options import JSON, OVERWRITE, SectionedCommand, device_option, talk_options
from blursynth.cli.screen import Screen
from blursynth.errors import PartialError, SettingsError

if TYPE_CHECKING:
    from blursynth.model.evaluation import Evaluation

__all__ = ["command"]

_FOLDER = click.Path(file_okay=False, path_type=Path)
_SECTIONS = {
    "Data": ("blur", "sharp", "layout", "split", "track", "limit"),
    "Scores": ("metrics", "protocol", "published", "against"),
    "Networks": ("checkpoints", "tile", "self_ensemble", "device"),
    "Output": ("output", "worst", "overwrite", "as_json"),
}


@click.command("eval", cls=SectionedCommand, sections=_SECTIONS)
@click.argument("data", nargs=-1, type=click.Path(path_type=Path))
@click.option("--blur", type=_FOLDER, help="Folder of blurry images.")
@click.option("--sharp", type=_FOLDER, help="Folder of their sharp twins, of the same names.")
@click.option("--layout", default="auto", show_default=True, metavar="NAME", help="How DATA lies in its folders.")
@click.option("--split", metavar="NAME", help="Which part of DATA.  [default: test, where there are parts]")
@click.option("--track", metavar="NAME", help="Which blurry version, as GOPRO's blur or blur_gamma.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Score N pairs, spread evenly.")
@click.option("--metrics", default="psnr,ssim", show_default=True, metavar="NAME,…",
              help="Of psnr, psnr-y, ssim, ssim-3d, ms-ssim, lpips.")  # fmt: skip
@click.option("--protocol", default="plain", show_default=True, type=click.Choice(["plain", "realblur", "kohler"]),
              help="Score pixel against pixel, or as a benchmark says.")  # fmt: skip
@click.option("--published", is_flag=True, help="Print what others report of the same data set and track.")
@click.option("--against", type=click.Path(path_type=Path), metavar="RESULTS.JSON",
              help="Compare with an earlier evaluation, image by image.")  # fmt: skip
@click.option("--checkpoint", "checkpoints", multiple=True, metavar="FILE|NAME",
              help="Network, published weights (.pt), or a name that comes with blursynth; several times.")  # fmt: skip
@click.option("--tile", default=2048, show_default=True,
              help="Restore larger images in tiles of this side, px.")  # fmt: skip
@click.option("--self-ensemble", is_flag=True, help="Mean of eight turned and mirrored restorations.")
@device_option
@click.option("-o", "--output", type=_FOLDER, help="Folder for results.json, images.csv and pictures.")
@click.option("--worst", default=10, show_default=True, type=click.IntRange(min=0, max=999), metavar="N",
              help="Pictures of the N worst images of each network, with -o.")  # fmt: skip
@OVERWRITE
@JSON
@talk_options
@click.pass_obj
def command(
    screen: Screen,
    /,
    data: tuple[Path, ...],
    blur: Path | None,
    sharp: Path | None,
    layout: str,
    split: str | None,
    track: str | None,
    limit: int | None,
    metrics: str,
    protocol: Literal["plain", "realblur", "kohler"],
    published: bool,
    against: Path | None,
    checkpoints: tuple[str, ...],
    tile: int,
    self_ensemble: bool,
    device: str,
    output: Path | None,
    worst: int,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Score networks on pairs as the literature does, beside the blurry input.

    DATA is a folder of shards, a shard, a tree in the layout of GOPRO_Large, REDS, HIDE or RealBlur, or a folder with
    blur/ and sharp/ in it. Prints a table for each: the blurry input first, means over images with their 95 % interval,
    and how each number is defined. Pairs that cannot be scored are named, and the command ends with code 3.

    \b
      blursynth eval shards/ --checkpoint runs/mine/best.safetensors
      blursynth eval GOPRO_Large/ --track blur_gamma --checkpoint a.safetensors --published -o results/
      blursynth eval --blur blurry/ --sharp sharp/ --metrics psnr,ssim,ssim-3d
    """
    from blursynth.model.evaluation import EvalConfig, Output, run_evaluation  # noqa: PLC0415  # torch takes seconds

    if (blur is None) != (sharp is None):
        raise SettingsError("--blur and --sharp: give both or neither")
    config = EvalConfig(
        metrics=tuple(name.strip() for name in metrics.split(",") if name.strip()),
        protocol=protocol,
        layout=layout,
        split=split,
        track=track,
        limit=limit,
        device=device,
        tile=tile,
        self_ensemble=self_ensemble,
    )
    if not checkpoints:
        screen.note("no --checkpoint: the blurry input alone is scored")
    evaluation = run_evaluation(
        data,
        checkpoints,
        config,
        folders=(blur, sharp) if blur and sharp else None,
        output=Output(output, overwrite, worst) if output else None,
        against=against,
        progress=screen,
    )
    for failure in evaluation.failures:
        screen.error(f"not scored: {failure}")
    _print(evaluation, screen, published=published, as_json=as_json)
    if evaluation.failures:
        scored = sum(len(each.images) for each in evaluation.results.data)
        raise PartialError(
            f"{len(evaluation.failures)} not scored, beside {scored} pairs that were; the data hash is of those"
        )


def _print(evaluation: "Evaluation", screen: Screen, *, published: bool, as_json: bool) -> None:
    from blursynth.model.evaluation import published_of  # noqa: PLC0415
    from blursynth.model.evaluation.table import (  # noqa: PLC0415
        comparison_text,
        data_text,
        definitions_text,
        published_text,
    )

    results = evaluation.results
    rows_of = [published_of(each, results.settings["protocol"]) if published else ([], "") for each in results.data]
    for _, reason in rows_of:
        if reason:
            screen.note(reason)
    if as_json:
        values = results.values() | {"differences": [each.values() for each in evaluation.differences]}
        values["published"] = [row.values() for rows, _ in rows_of for row in rows]
        click.echo(json.dumps(values, allow_nan=False))
        return
    parts = []
    for each, (rows, _) in zip(results.data, rows_of, strict=True):
        parts.append(data_text(each, results.columns) + (f"\n  {published_text(rows)}" if rows else ""))
    if evaluation.differences:
        parts.append(comparison_text(evaluation.differences))
    click.echo("\n\n".join([*parts, definitions_text(results)]))
