"""``blursynth audit``."""

import json

import click

from blursynth.cli.options import JSON, talk_options
from blursynth.cli.screen import Screen
from blursynth.errors import RefusedError, SettingsError

__all__ = ["command"]


@click.command("audit")
@click.argument("paths", nargs=-1, metavar="[SPLIT=]PATH...")
@click.option("--gopro", is_flag=True, help="Audit GOPRO's own split, by the names and frame numbers of its 33 clips.")
@click.option(
    "--min-gap", default=10.0, show_default=True, metavar="SECONDS",
    help="Name clips of one recording on two sides that are nearer than this.",
)  # fmt: skip
@click.option("--no-images", is_flag=True, help="Compare names, times and hashes only, and look at no image.")
@JSON
@talk_options
@click.pass_obj
def command(
    screen: Screen, /, paths: tuple[str, ...], gopro: bool, min_gap: float, no_images: bool, as_json: bool
) -> None:
    """Find leaks between training, validation and test data.

    Recordings and files that supply several sides, clips of one recording that are near in time, and sharp images that
    look the same. PATH is a folder of shards, a folder laid out as GOPRO's ({train,test}/CLIP/sharp/*), or a list of
    clips, CSV of split,name. Where it does not say itself on which side it is, write train=PATH, val=PATH or
    test=PATH. Ends with code 4 if anything leaks, as 'verify' does when a file is not good.

    \b
      blursynth audit train=shards/ test=held-out/
      blursynth audit GOPRO_Large/
      blursynth audit --gopro
    """
    from blursynth.leaks import audit, gopro_split, read_clips  # noqa: PLC0415

    if not paths and not gopro:
        raise SettingsError("nothing to audit: give folders or lists, such as train=A test=B, or --gopro")
    clips = read_clips(paths) + (gopro_split() if gopro else [])
    report = audit(clips, min_gap_seconds=min_gap, compare_images=not no_images, progress=screen)
    click.echo(json.dumps(report.values()) if as_json else report.text())
    if report.has_leaks:
        worst = max(report.sides[1:], key=lambda side: side.leaking_clips)
        raise RefusedError(f"the split leaks: {worst}")
