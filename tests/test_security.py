"""What SECURITY.md says of the versions, and where the repository leads its readers."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]


def _direct_dependencies() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lists = [
        project["project"]["dependencies"],
        *project["project"]["optional-dependencies"].values(),
        *project["dependency-groups"].values(),
    ]
    return [Requirement(text) for texts in lists for text in texts if isinstance(text, str)]


def test_every_direct_dependency_is_pinned_to_one_version_that_is_allowed() -> None:
    lines = [line.split("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines()]
    pins = [Requirement(line) for line in lines if line]
    assert all(re.fullmatch(r"==[^*,]+", str(pin.specifier)) for pin in pins)
    versions = {canonicalize_name(pin.name): Version(str(pin.specifier).removeprefix("==")) for pin in pins}
    assert len(versions) == len(pins)
    for wanted in _direct_dependencies():
        assert versions[canonicalize_name(wanted.name)] in wanted.specifier, wanted.name


def test_nothing_links_to_a_repository_of_ours_that_is_not_known_to_exist() -> None:
    folders = [ROOT, *(ROOT / name for name in ("docs", "blursynth", "model", "tests", "examples", "benchmarks"))]
    paths = [path for folder in folders for path in (folder.glob("*") if folder == ROOT else folder.rglob("*"))]
    texts = [path for path in paths if path.suffix in {".md", ".toml", ".cff", ".yml", ".yaml", ".py"}]
    link = re.compile(r"(github|gitlab)\.com/[\w.-]*blursynth")
    assert [path.name for path in texts if link.search(path.read_text(encoding="utf-8"))] == []
