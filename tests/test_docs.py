"""The documentation: it builds, its commands and code are those of the program, and its tutorial runs."""

import ast
import importlib
import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

from blursynth.cli.main import COMMANDS, cli
from blursynth.make import MakeConfig, make_dataset
from blursynth.shards import PAIR_DTYPE, Codec, Manifest, Shard
from samples import ClipMaker

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
BLURSYNTH = Path(sys.executable).with_name("blursynth")
# What the tutorial does in minutes, done in seconds.
SMALLER = {
    "seconds=4, width=1280, height=720": "seconds=0.35, width=160, height=96",
    "--minutes 5": "--steps 2 --workers 0",
}


def code_blocks(page: Path, languages: str = "sh|python") -> list[tuple[str, str]]:
    """The language and text of each fenced block, in order; indented ones of tabs too."""
    found = re.findall(rf"^( *)```({languages})\n(.*?)^\1```", page.read_text(), re.MULTILINE | re.DOTALL)
    return [(language, re.sub(f"^{indent}", "", text, flags=re.MULTILINE)) for indent, language, text in found]


def commands_in(page: Path) -> Iterator[list[str]]:
    """The words of each command line of blursynth on a page, in blocks and indented."""
    lines = [line for _, text in code_blocks(page, "sh|bash|") for line in text.splitlines()]
    lines += re.findall(r"^    (?! )(.*)$", page.read_text(), re.MULTILINE)
    for line in lines:
        if match := re.match(r"(?:\w+=\S+ |srun |\$ )*(?:torchrun .*?-m )?blursynth (.*)", line.strip()):
            yield shlex.split(match[1], comments=True)


def option_names(command: click.Command) -> set[str]:
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}


def check_command(words: list[str]) -> None:
    context = click.Context(cli)
    command: click.Command = cli
    known = option_names(cli) | {"--help"}
    for word in words:
        if word.startswith("-"):
            assert word.split("=")[0] in known, f"{command.name} has no {word}"
        elif isinstance(command, click.Group) and word[0].isalpha() and not word.endswith(".toml"):
            below = command.get_command(context, word)
            assert below, f"{word} is no command"
            command, known = below, known | option_names(below)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_on_the_pages_have_these_options(page: Path) -> None:
    for words in commands_in(page):
        check_command(words)


def test_a_command_that_is_not_there_would_be_noticed() -> None:
    for words in (["make", "--widow", "7"], ["mak", "clip.mp4"], ["gopro", "rebild"]):
        with pytest.raises((AssertionError, click.UsageError)):
            check_command(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_on_the_pages_imports_what_there_is(page: Path) -> None:
    for _, text in code_blocks(page, "python"):
        if "--8<--" in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("blursynth"):
                module = importlib.import_module(str(node.module))
                assert all(hasattr(module, alias.name) for alias in node.names), f"{page.name}: {ast.unparse(node)}"


def test_the_tutorial_runs(tmp_path: Path) -> None:
    blocks = code_blocks(DOCS / "tutorial.md")
    text = "\n".join(block for _, block in blocks)
    assert all(text.count(long) == 1 for long in SMALLER)
    folders = f"{BLURSYNTH.parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": folders, "OMP_NUM_THREADS": "1"}
    output = ""
    for language, block in blocks:
        for long, short in SMALLER.items():
            block = block.replace(long, short)  # noqa: PLW2901
        program = [sys.executable, "-W", "error", "-c", block] if language == "python" else ["bash", "-ec", block]
        done = subprocess.run(program, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{block}\n{done.stderr}"
        output += done.stdout
    assert (tmp_path / "photo_deblurred.png").exists()
    assert re.search(r"blurry: \d\d\.\d\d dB\ndeblurred: \d\d\.\d\d dB", output)


def hooks() -> dict[str, Any]:
    pytest.importorskip("mkdocs")
    return runpy.run_path(str(DOCS / "hooks.py"))


def test_the_page_of_the_command_line_is_what_help_says() -> None:
    page, texts = hooks()["command_line_page"](), [[], *([name] for name in COMMANDS)]
    assert page.count("```text") == page.count("Usage: blursynth")
    usages = re.findall(r"Usage: blursynth ([a-z -]*?)\[", page)
    assert [words.split() for words in usages if " " not in words.strip()] == texts
    for words in usages:
        shown = help_of(words.split())
        assert f"```text\n{shown}```" in page, f"{words} --help says something else"


def help_of(words: list[str]) -> str:
    """What the command prints where the terminal has 80 columns; in this process, since starting one takes a second."""
    from click.testing import CliRunner

    environment = {"COLUMNS": "80", "PATH": os.environ["PATH"]}
    return CliRunner().invoke(cli, [*words, "--help"], prog_name="blursynth", env=environment, terminal_width=78).output


def test_help_of_the_installed_command_is_that_of_the_page() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    done = subprocess.run(
        [BLURSYNTH, "make", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
        stdin=subprocess.DEVNULL,
    )
    assert done.stdout == help_of(["make"])


@pytest.mark.parametrize("codec", ["raw", "zstd"])
def test_the_reader_on_the_page_reads_shards(make_clip: ClipMaker, tmp_path: Path, codec: Codec) -> None:
    folder = tmp_path / "shards"
    make_dataset([make_clip(num_frames=12)], folder, MakeConfig(window="3", codec=codec))
    ((_, code),) = code_blocks(DOCS / "shard-format.md", "python")
    assert "blursynth" not in code
    program = (
        f"import hdf5plugin\n{code}import sys\n"
        "(path,) = shards_of(Path(sys.argv[1]))\n"
        "for index in range(4):\n"
        "    blurry, sharp, row = read_pair(path, index)\n"
        "    np.savez(f'{sys.argv[1]}/{index}.npz', blurry=blurry, sharp=sharp, frame=row['centre_frame'])\n"
    )
    subprocess.run([sys.executable, "-c", program, str(folder)], check=True)  # our own import switches plug-ins off
    with Shard(next(folder.glob("*.h5"))) as shard:
        for index in range(4):
            read = np.load(folder / f"{index}.npz")
            assert np.array_equal([read["blurry"], read["sharp"]], shard.pair(index))
            assert read["frame"] == shard.rows()[index]["centre_frame"] == 3 * index + 1


def test_the_page_on_shards_has_every_field_where_it_is() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (\d+) \|", (DOCS / "shard-format.md").read_text(), re.MULTILINE)
    fields: Any = PAIR_DTYPE.fields
    assert rows == [(name, fields[name][0].name, str(fields[name][1])) for name in PAIR_DTYPE.names or ()]
    assert f"A row takes {PAIR_DTYPE.itemsize} bytes" in (DOCS / "shard-format.md").read_text()


def test_the_page_on_shards_has_every_key_and_attribute(shards: Path) -> None:
    page = (DOCS / "shard-format.md").read_text()
    manifest = (shards / "manifest.jsonl").read_text()
    with Shard(next(iter(Manifest.read(shards))).path(shards)) as shard:
        for name in {*re.findall(r'"(\w+)":', manifest), *shard.attributes}:
            assert f"`{name}`" in page, name


def test_shell_completion_knows_commands_and_options() -> None:
    for words, place, expected in (
        ("blursynth tr", 1, "train"),
        ("blursynth train --pre", 2, "--preset"),
        ("blursynth train --preset ", 3, "paper"),
    ):
        environment = {
            **os.environ,
            "COMP_WORDS": words,
            "COMP_CWORD": str(place),
            "_BLURSYNTH_COMPLETE": "bash_complete",
        }
        done = subprocess.run([BLURSYNTH], env=environment, capture_output=True, text=True, check=True)
        assert f"plain,{expected}" in done.stdout.splitlines()
    shells = re.findall(r"_BLURSYNTH_COMPLETE=(\w+)_source", (DOCS / "shell.md").read_text())
    assert shells == ["bash", "zsh", "fish"]
    from click.shell_completion import get_completion_class

    assert all(get_completion_class(shell) for shell in shells)


def test_every_picture_is_made_by_a_script_and_shown() -> None:
    images = {path.name for path in (DOCS / "images").iterdir()}
    scripts = "".join(path.read_text() for path in (DOCS / "figures").glob("*.py"))
    pages = "".join(page.read_text() for page in PAGES)
    assert {name for name in images if f'"{name}":' not in scripts} == set()
    assert {name for name in images if f"images/{name}" not in pages} == set()
    assert sum(path.stat().st_size for path in (DOCS / "images").iterdir()) < 2_000_000


def test_charts_are_what_their_scripts_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT)
    for module in ("charts", "timeline"):
        figures = importlib.import_module(f"docs.figures.{module}").FIGURES
        assert all((DOCS / "images" / name).read_text() == make() for name, make in figures.items())


def test_the_site_builds_without_a_warning_and_asks_nobody(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    fetched = re.compile(r'<(?:script|link|img|iframe)[^>]+(?:src|href)="((?:https?:)?//[^"]+)"')
    for page in tmp_path.rglob("*.html"):
        assert fetched.findall(page.read_text()) == [], page
    documented = set(
        re.findall(r'id="(blursynth[\w.]+)"', "".join(p.read_text() for p in tmp_path.rglob("api/*.html")))
    )
    names = {name.rsplit(".", 1)[-1] for name in documented}
    for module in re.findall(
        r"^## (blursynth\S+)", "".join(p.read_text() for p in DOCS.glob("api/*.md")), re.MULTILINE
    ):
        package = importlib.import_module(module)
        called = [name for name in package.__all__ if callable(getattr(package, name)) and not name.isupper()]
        described = [
            name for name in called if getattr(getattr(package, name), "__module__", "").startswith("blursynth")
        ]
        assert [name for name in described if name not in names] == [], module
