"""``blursynth verify``."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from blursynth.cli.options import JSON, talk_options
from blursynth.cli.screen import Screen
from blursynth.errors import RefusedError
from blursynth.files import printable

__all__ = ["command"]


@click.command("verify")
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@JSON
@talk_options
@click.pass_obj
def command(screen: Screen, /, paths: tuple[Path, ...], as_json: bool) -> None:
    """Check every byte of shards and checkpoints.

    Size, SHA-256 and schema of every shard that a folder's manifest lists, and that its pairs can be read.

    \b
      blursynth verify shards/
    """
    from blursynth.contents import verify_paths  # noqa: PLC0415

    findings = verify_paths(list(paths), progress=screen)
    bad = [finding for finding in findings if finding.error]
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], default=str))
    else:
        click.echo("\n".join(f"{printable(finding.path)}: {finding.error or 'good'}" for finding in findings))
    if bad:
        raise RefusedError(f"{len(bad)} of {len(findings)} files are not good: {bad[0].error}")
