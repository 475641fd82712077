"""``blursynth gopro``."""

import json
from pathlib import Path

import click

from blursynth.cli.options import JSON, OVERWRITE, talk_options
from blursynth.cli.screen import Screen
from blursynth.errors import PartialError, RefusedError, SettingsError
from blursynth.files import printable

__all__ = ["command"]

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.group("gopro")
def command() -> None:
    """Rebuild GOPRO_Large from its sharp frames, bit for bit.

    \b
      blursynth gopro rebuild GOPRO_Large_all/ -o rebuilt/
      blursynth gopro clips
    """


@command.command("rebuild")
@click.argument("source", type=_FOLDER)
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), help="Folder for the pairs.")
@click.option("--against", type=_FOLDER, help="The published GOPRO_Large, to compare every pair with.")
@click.option("--gamma", is_flag=True, help="Make blur_gamma too; not known to be bit-exact.")
@click.option("--clip", "names", multiple=True, metavar="NAME", help="Only this clip; can be given several times.")
@OVERWRITE
@JSON
@talk_options
@click.pass_obj
def rebuild_command(
    screen: Screen,
    /,
    source: Path,
    output: Path | None,
    against: Path | None,
    gamma: bool,
    names: tuple[str, ...],
    overwrite: bool,
    as_json: bool,
) -> None:
    """Make GOPRO_Large from GOPRO_Large_all, or compare the two, or both.

    Of 3214 blurry images, 3200 can be made; the other 14 are named. A run that was stopped goes on where it was.
    Ends with code 3 if frames are missing or damaged that should be there, and with code 4 if images of blur or sharp
    differ from the published ones.

    \b
      blursynth gopro rebuild GOPRO_Large_all/ -o rebuilt/ --against GOPRO_Large/
    """
    from blursynth.gopro import gopro_clips, rebuild  # noqa: PLC0415

    by_name = {clip.name: clip for clip in gopro_clips()}
    for name in names:
        if name not in by_name:
            raise SettingsError(f"clip {printable(name)!r} is not of GOPRO; 'blursynth gopro clips' lists them")
    report = rebuild(
        source,
        output,
        against=against,
        gamma=gamma,
        clips=[by_name[name] for name in dict.fromkeys(names)] or None,
        overwrite=overwrite,
        progress=screen,
    )
    click.echo(json.dumps(report.values()) if as_json else report.text())
    if report.differing:
        raise RefusedError(f"{report.differing} images of {against} are not what its frames make")
    if report.not_made:
        raise PartialError(f"{report.not_made} of {report.pairs} pairs lack frames; the others are good")


@command.command("clips")
@JSON
def clips_command(as_json: bool) -> None:
    """List the 33 clips of GOPRO: pairs, frames per blurry image, centre frames.

    \b
      blursynth gopro clips --json
    """
    from blursynth.gopro import gopro_clips  # noqa: PLC0415

    rows = [
        {
            "clip": clip.name,
            "split": clip.split,
            "pairs": clip.pairs,
            "frames_per_blur": clip.frames_per_blur,
            "first_pair": clip.first_pair,
            "last_pair": clip.last_pair,
            "first_centre_frame": clip.first_centre_frame,
            "last_centre_frame": clip.last_centre_frame,
        }
        for clip in gopro_clips()
    ]
    if as_json:
        click.echo(json.dumps(rows))
    else:
        click.echo("\n".join(["\t".join(rows[0]), *("\t".join(map(str, row.values())) for row in rows)]))
