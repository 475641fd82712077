"""``blursynth train``."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from blursynth.cli.options import JSON, device_option, talk_options
from blursynth.cli.screen import Screen
from blursynth.errors import SettingsError
from blursynth.files import printable
from blursynth.shards import Manifest

__all__ = ["command"]


@click.command("train")
@click.argument("shards", default="shards", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Folder of the run.  [default: a new one in runs/]"
)
@click.option("--resume", is_flag=True, help="Go on with the run of -o, or with the newest one in runs/.")
@click.option(
    "--preset",
    type=click.Choice(["paper", "fast"]),
    help="Settings for what is not given: Nah et al.'s, or the best we know.  [default: paper]",
)
@click.option(
    "--network",
    default="mscnn",
    show_default=True,
    type=click.Choice(["mscnn", "mscnn-2", "mscnn-1", "lite", "lite-tiny"]),
)
@click.option("--init", metavar="NAME|FILE", help="Begin with these weights: a name that comes along, or a checkpoint.")
@click.option("--steps", default=900_000, show_default=True, type=click.IntRange(min=1), help="Stop after these.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="Stop after this time, schedule finished.")
@click.option("--patch", default=256, show_default=True, help="Side of the crops, px.")
@click.option("--batch", default=2, show_default=True, help="Crops in a step, of all processes together.")
@click.option(
    "--progressive/--no-progressive",
    default=False,
    show_default=True,
    help="Begin with 3/4 of the side, end with 3/2; fewer of the larger crops.",
)
@click.option(
    "--accumulate", default=1, show_default=True, metavar="K", help="Work a batch out in K parts: less memory."
)
@click.option("--optimizer", default="adam", show_default=True, type=click.Choice(["adam", "adamw"]))
@click.option("--learning-rate", default=5e-5, show_default=True, help="Of the optimiser, at its highest.")
@click.option("--schedule", default="step", show_default=True, type=click.Choice(["step", "cosine"]))
@click.option("--clip-norm", type=float, help="Shorten longer gradients to this.")
@click.option(
    "--ema",
    default=0.0,
    show_default=True,
    help="Decay of a running mean of the weights, which is scored and saved: 0.999.",
)
@click.option(
    "--loss",
    default="content-l2",
    show_default=True,
    type=click.Choice(["content-l2", "content-l1", "charbonnier", "psnr"]),
)
@click.option("--coarse-weight", default=1.0, show_default=True, help="Of the scales but the finest, in the loss.")
@click.option("--fft-weight", default=0.0, show_default=True, help="Of the spectrum's absolute error, in the loss.")
@click.option(
    "--adversarial/--no-adversarial",
    default=False,
    show_default=True,
    help="Train against a discriminator too, lambda 1e-4 (eq. 6).",
)
@click.option(
    "--augmentation",
    default="paper",
    show_default=True,
    type=click.Choice(["paper", "turns"]),
    help="Turns, mirrors and channel orders; the paper's saturation, noise and sharp pairs too.",
)
@click.option(
    "--light",
    default="fresh",
    show_default=True,
    type=click.Choice(["fresh", "stored"]),
    help="Draw curve, noise and the like anew for pairs of --store linear, or take them as stored.",
)
@click.option(
    "--validation-fraction", default=0.1, show_default=True, help="Set aside; whole clips if there are several."
)
@click.option("--validation-pairs", default=16, show_default=True, help="Scored each time.")
@click.option("--validation-patch", default=256, show_default=True, help="Side of their centre crops, px.")
@click.option("--save-minutes", default=5.0, show_default=True, help="Validate and save this often.")
@click.option("--seed", default=0, show_default=True, help="Of weights, crops and augmentation.")
@click.option("--workers", default=2, show_default=True, help="Processes that read shards.")
@click.option(
    "--online",
    multiple=True,
    metavar="NAME=VALUE",
    help="What is drawn when photographs train, repeatable: still=0.1, blur_px=2-40, noise=iso:100-1600, jpeg=off, …",
)
@click.option(
    "--precision",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "float32", "bfloat16"]),
    help="Of the network; auto is bfloat16 on CUDA, float32 elsewhere.",
)
@click.option(
    "--compile",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "on", "off"]),
    help="The network with torch.compile, before the clock runs; auto does on CUDA, where it pays.",
)
@click.option(
    "--cache",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "off", "host", "device"]),
    help="Hold the pairs in memory; auto does on a GPU with room for them.",
)
@device_option
@JSON
@talk_options
@click.pass_obj
def command(
    screen: Screen,
    /,
    shards: Path,
    output: Path | None,
    resume: bool,
    preset: str | None,
    as_json: bool,
    **settings: Any,
) -> int:
    """Train the multi-scale network on shards, or on photographs.

    The defaults are the network and the settings of Nah et al., CVPR 2017; they want a GPU. --preset fast wants one
    too, and less of its time. Writes best.safetensors, last.safetensors, card.md and log.jsonl. Ctrl-C saves first;
    --resume goes on. A folder of photographs, or a pack of them, is shaken while it trains: no sample comes twice.

    \b
      blursynth train shards/
      blursynth train shards/ --preset fast --minutes 25
      blursynth train shards/ --preset fast --network lite-tiny --patch 128 --batch 8 --minutes 30
      blursynth train photos/ --preset fast --online still=0.1 --online blur_px=4-60
      torchrun --nproc-per-node 2 -m blursynth train shards/
    """
    from blursynth.model.checkpoint import load_checkpoint  # noqa: PLC0415  # torch takes seconds
    from blursynth.model.distributed import is_first_process  # noqa: PLC0415
    from blursynth.model.presets import PRESETS  # noqa: PLC0415
    from blursynth.model.train import TrainConfig, newest_run, train  # noqa: PLC0415

    run = output or (newest_run(Path("runs")) if resume else Path("runs") / time.strftime("%Y-%m-%d-%H%M%S"))
    if resume and (run / "last.safetensors").exists():
        settings |= _not_given(load_checkpoint(run / "last.safetensors").training, settings)
    settings |= _not_given(PRESETS[preset] if preset else {}, settings)
    settings["online"] = _online(settings["online"])
    config = TrainConfig(**{field.name: settings[field.name] for field in fields(TrainConfig)})
    if is_first_process() and (missing := Manifest(shards).missing_parts()):
        screen.note(f"{printable(shards)}: part {', '.join(missing)} is missing: make --part makes it")
    result = train(shards, run, config, resume=resume, progress=screen)
    if is_first_process():
        screen.note(f"{result.steps} steps done; blursynth deblur photo.jpg --checkpoint {result.best}")
        click.echo(json.dumps(asdict(result), default=str) if as_json else str(result.best))
    return 128 + result.stopped_by if result.stopped_by else 0


def _not_given(values: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that the user left to us: neither in the command, nor the environment, nor a file."""
    source = click.get_current_context().get_parameter_source
    return {name: values[name] for name in settings if name in values and source(name) is ParameterSource.DEFAULT}


def _online(given: Mapping[str, Any] | tuple[str, ...]) -> Any:
    """Return what is drawn when photographs train, from NAME=VALUE or from a checkpoint."""
    from blursynth.model.settings import OnlineConfig  # noqa: PLC0415  # torch takes seconds

    if isinstance(given, Mapping):
        return OnlineConfig(**given)
    known = {field.name for field in fields(OnlineConfig)}
    values: dict[str, Any] = {}
    for text in given:
        name, _, value = text.partition("=")
        if name not in known or not value:
            raise SettingsError(f"online {text!r}: write NAME=VALUE with one of {', '.join(sorted(known))}")
        is_share = name in ("still", "codes")
        if is_share and not value.replace(".", "", 1).isdigit():
            raise SettingsError(f"online {name}={value}: a share from 0 to 1, such as {name}=0.1")
        values[name] = float(value) if is_share else value
    return OnlineConfig(**values)
