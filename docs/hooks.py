"""Pages of the documentation that are made when it is built: the command line, the changelog, the model card."""

import re
from pathlib import Path

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from blursynth.cli.main import COMMANDS, cli

__all__ = ["command_line_page", "help_text", "on_files"]

ROOT = Path(__file__).parents[1]
_WIDTH = 78  # what click leaves of the 80 columns of a terminal
_WEIGHTS = ROOT / "model" / "weights"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made from the code and from files at the top of the repository."""
    pages = {
        "command-line.md": command_line_page(),
        "changelog.md": (ROOT / "CHANGELOG.md").read_text(),
        "model-card.md": model_card_page(),
    }
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def command_line_page() -> str:
    """Return the page of all commands, each with the text of its ``--help``."""
    about = (
        "What `--help` says, command by command. Exit codes, the environment and settings files are on "
        "[a page of their own](shell.md)."
    )
    parts = ["# Command line", about, _section(2, "blursynth", help_text([]))]
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        parts.append(_section(2, name, help_text([name])))
        below = sorted(command.commands) if isinstance(command, click.Group) else []
        parts += [_section(3, f"{name} {each}", help_text([name, each])) for each in below]
    return "\n\n".join(parts) + "\n"


def help_text(names: list[str]) -> str:
    """Return what ``blursynth NAMES… --help`` prints on a terminal of 80 columns, without the last line's end."""
    context = click.Context(cli, info_name="blursynth", terminal_width=_WIDTH, **cli.context_settings)
    command: click.Command = cli
    for name in names:
        assert isinstance(command, click.Group)  # noqa: S101  # a mistake of ours
        below = command.get_command(context, name)
        assert below is not None  # noqa: S101  # a mistake of ours
        command, context = below, click.Context(below, info_name=name, parent=context, terminal_width=_WIDTH)
    return command.get_help(context)


def _section(level: int, title: str, text: str) -> str:
    return f"{'#' * level} {title}\n\n```text\n{text}\n```"


def model_card_page() -> str:
    """Return the cards of the weights that come along; without any, where cards come from."""
    cards = sorted(_WEIGHTS.glob("*.md"))
    if cards:
        return "# Model card\n\n" + "\n\n".join(_lowered(card.read_text()) for card in cards)
    return (
        "# Model card\n\nNo trained weights come with this version. Every training run writes a card of its own, "
        "`runs/NAME/card.md`: its data by hash, its settings, its scores with their definition, the size of the "
        "network and the versions that made it; see [training](training.md#what-a-run-leaves).\n"
    )


def _lowered(page: str) -> str:
    """Return a page whose headings stand one level lower, below a heading that it shares with others."""
    return re.sub(r"^(#+ )", r"#\1", page, flags=re.MULTILINE)
