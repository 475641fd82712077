"""``blursynth calibrate-crf``."""

import json
from pathlib import Path
from typing import Any

import click

from blursynth.cli.options import JSON, OVERWRITE, talk_options
from blursynth.cli.screen import Screen

__all__ = ["command"]


@click.command("calibrate-crf")
@click.argument("photos", nargs=-1, required=True)
@click.option("--exposures", metavar="T,T,...", help="Seconds, in the order of the photographs.  [default: from EXIF]")
@click.option(
    "-o", "--output", default="camera.json", show_default=True, type=click.Path(path_type=Path), help="Curve to write."
)
@click.option("--plot", type=click.Path(path_type=Path), help="Draw the curve too, as PNG.")
@click.option(
    "--method", default="least-squares", show_default=True,
    type=click.Choice(["least-squares", "debevec", "robertson"]), help="Ours, or one of OpenCV's.",
)  # fmt: skip
@OVERWRITE
@JSON
@talk_options
@click.pass_obj
def command(
    screen: Screen,
    /,
    photos: tuple[str, ...],
    exposures: str | None,
    output: Path,
    plot: Path | None,
    method: Any,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Measure a camera's response curve from photographs of several exposure times.

    Put the camera on a tripod, fix aperture, sensitivity and white balance, and photograph a scene of light and shade
    five to nine times, each exposed for twice as long as the one before. `make --crf camera.json` uses the curve.

    \b
      blursynth calibrate-crf bracket/*.jpg -o camera.json --plot camera.png
      blursynth calibrate-crf a.png b.png c.png --exposures 1/500,1/250,1/125
    """
    from blursynth import calibration  # noqa: PLC0415
    from blursynth.files import expand  # noqa: PLC0415
    from blursynth.photos import PHOTO_SUFFIXES  # noqa: PLC0415

    calibration.check_output(output, ".json", overwrite=overwrite)
    if plot:
        calibration.check_output(plot, ".png", overwrite=overwrite)
    seconds = None if exposures is None else [calibration.parse_exposure(text) for text in exposures.split(",")]
    bracket = calibration.read_bracket(expand(photos, PHOTO_SUFFIXES), seconds)
    found = calibration.calibrate(bracket.images, bracket.exposure_seconds, method=method, names=bracket.names)
    calibration.write_curve(output, found, overwrite=overwrite)
    if plot:
        calibration.write_plot(plot, found, overwrite=overwrite)
    shortest, longest = min(bracket.exposure_seconds), max(bracket.exposure_seconds)
    screen.note(
        f"{found.curve.name}, from {found.num_images} photographs of {shortest:.4g} to {longest:.4g} s that agree to "
        f"{found.residual_codes:.2f} codes RMS"
    )
    for name in found.idle:
        screen.note(f"{name}: says nothing, since nearly all of it is black, clipped or uneven: leave it out")
    if found.is_doubtful:
        screen.note("that is more than noise: did the camera or the light move, or something but the exposure time?")
    click.echo(json.dumps(found.summary() | {"output": str(output)}) if as_json else str(output))
