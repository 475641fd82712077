"""``blursynth doctor``."""

import json

import click

from blursynth.cli.options import JSON, outline, talk_options

__all__ = ["command"]


@click.command("doctor")
@JSON
@talk_options
def command(as_json: bool) -> None:
    """Tell what this machine has and what is missing.

    \b
      blursynth doctor
    """
    from blursynth.environment import describe_environment, find_troubles  # noqa: PLC0415

    environment = describe_environment()
    troubles = find_troubles(environment)
    if as_json:
        click.echo(json.dumps({**environment, "troubles": troubles}))
    else:
        click.echo(outline({**environment, "to look at": troubles or "nothing"}))
