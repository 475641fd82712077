import re
import subprocess
import sys
import tomllib
from pathlib import Path

import blursynth
import blursynth.model

ROOT = Path(__file__).parents[1]


def test_the_model_folder_is_reached_by_a_link() -> None:
    assert (ROOT / "blursynth" / "model").is_symlink()
    assert (ROOT / "blursynth" / "model").readlink() == Path("../model")


def test_public_names_are_few_and_there() -> None:
    names = blursynth.model.__all__
    assert len(set(names)) == len(names) <= 12
    assert all(hasattr(blursynth.model, name) for name in names)


def test_the_launcher_in_the_checkout_runs() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "cli.py"), "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"blursynth {blursynth.__version__}\n"


def test_every_dependency_is_pinned_for_ci_and_used() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    pins = {line.split("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    groups = project["dependency-groups"]
    wanted = [*project["project"]["dependencies"], *project["project"]["optional-dependencies"]["zstd"]]
    wanted += [name for group in groups.values() for name in group if isinstance(name, str)]
    names = {re.split(r"[<>=!;\[ ]", requirement)[0].lower() for requirement in wanted}
    assert names <= pins
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text()


def test_the_version_is_told_once() -> None:
    assert (ROOT / "CHANGELOG.md").read_text().count(f"## {blursynth.__version__}") == 1
    assert f"version: {blursynth.__version__}" in (ROOT / "CITATION.cff").read_text()
