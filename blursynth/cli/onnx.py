"""``blursynth onnx``."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from blursynth.cli.options import JSON, OVERWRITE, talk_options
from blursynth.cli.screen import Screen
from blursynth.files import make_directory, printable, sha256_of

__all__ = ["command"]


@click.command("onnx")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="File.  [default: the checkpoint's name, ending in .onnx]"
)
@click.option(
    "--licence", default="unspecified", show_default=True, metavar="NAME", help="Of the weights, to note in the file."
)
@OVERWRITE
@JSON
@talk_options
@click.pass_obj
def command(
    screen: Screen, /, checkpoint: Path, output: Path | None, licence: str, overwrite: bool, as_json: bool
) -> None:
    """Write a network as an ONNX file, for programs without PyTorch.

    CHECKPOINT is one of ours, or published weights of DeepDeblur-PyTorch or NAFNet. The file takes any number of
    images of any size that is a multiple of what its metadata say. It is written if ONNX Runtime computes with it what
    PyTorch computes.

    \b
      blursynth onnx runs/mine/best.safetensors -o deblur.onnx --licence MIT
    """
    from blursynth.model.onnx_export import export_onnx  # noqa: PLC0415  # torch
    from blursynth.model.published import load_any  # noqa: PLC0415

    network = load_any(checkpoint)
    path = output or checkpoint.with_suffix(".onnx")
    make_directory(path.parent)
    written = export_onnx(
        network, path, licence=printable(licence), checkpoint_sha256=sha256_of(checkpoint), overwrite=overwrite
    )
    if as_json:
        click.echo(json.dumps(asdict(written), default=str))
        return
    click.echo(printable(path))
    screen.note(
        f"{written.num_bytes / 1e6:.1f} MB; sides in multiples of {written.size_multiple} px; "
        f"at most {written.max_difference:.1g} from what PyTorch computes"
    )
