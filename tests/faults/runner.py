"""Run a case in a folder of its own, and see that it came out as promised."""

import hashlib
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from blursynth.contents import verify_paths
from faults.goods import Goods
from faults.launcher import Launcher, Outcome, still_running
from faults.watching import hits, watching

__all__ = [
    "Case",
    "Result",
    "Sandbox",
    "Trial",
    "bytes_of",
    "changed",
    "run_case",
    "sandbox",
    "state_of",
    "what_is_half",
]

_MAX_LINE = 900
_FOREIGN = re.compile(
    r"^\[ ?[A-Z]+:|^\[\w+ @ |^libpng|^Corrupt JPEG|\w*Warning:|Exception ignored|^OpenCV|^HDF5|Segmentation"
)
_NOT_LISTED = "not in the manifest"
_LOCK = re.compile(r"\.blursynth(-\d+-of-\d+)?\.lock")


@dataclass(frozen=True, slots=True)
class Trial:
    """Faults of one kind, tried several times: what must come out, and what was otherwise."""

    family: str
    fault: str
    promise: str
    tried: int
    faults: tuple[str, ...] = ()
    bytes_lost: int = 0
    remark: str = ""

    @property
    def survived(self) -> int:
        """How many came out as promised."""
        return self.tried - min(self.tried, len(self.faults))


@dataclass(frozen=True, slots=True, eq=False)
class Sandbox:
    """Where a case happens: it runs in ``work``; ``bait`` is for files that nothing may open."""

    root: Path
    goods: Goods
    port: int

    @property
    def work(self) -> Path:
        """The working folder of the command."""
        return self.root / "work"

    @property
    def bait(self) -> Path:
        """Files beside it that must stay unopened."""
        return self.root / "bait"

    def take(self, *names: str) -> None:
        """Copy good files into the working folder."""
        for name in names:
            source = self.goods.path(name)
            if source.is_dir():
                shutil.copytree(source, self.work / name)
            else:
                shutil.copyfile(source, self.work / name)


def _nothing(_sandbox: Sandbox) -> None:
    pass


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One fault. ``command`` is split at spaces; ``{port}`` and ``{root}`` in it are filled in.

    ``message`` is searched in what is said on stderr. ``writes`` are patterns of the files that may appear.
    ``unmended`` says why it is known to come out otherwise, until that is mended.
    """

    family: str
    fault: str
    command: str | tuple[str, ...]
    code: int
    message: str = ""
    prepare: Callable[[Sandbox], object] = _nothing
    writes: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)
    is_fresh: bool = False
    standard_input: bytes = b""
    max_lines: int = 3
    unmended: str = ""

    def __str__(self) -> str:
        return f"{self.family}: {self.fault}"

    def arguments(self, sandbox: Sandbox) -> list[str]:
        """Return the words of the command, without its name."""
        words = self.command.split() if isinstance(self.command, str) else list(self.command)
        return [word.replace("{port}", str(sandbox.port)).replace("{root}", str(sandbox.root)) for word in words]


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """What came of a case; ``faults`` says what was not as promised, and is empty where it survived."""

    case: Case
    outcome: Outcome
    faults: tuple[str, ...]
    bytes_lost: int


def state_of(folder: Path) -> dict[str, str]:
    """Return what lies in a folder: names, and hashes of what regular files hold."""
    state = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file():
            state[str(path.relative_to(folder))] = f"{path.lstat().st_mode:o}" if not path.is_dir() else "folder"
        else:
            state[str(path.relative_to(folder))] = f"{path.stat().st_size} {_hash(path)}"
    return state


def _hash(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        return str(error)


def changed(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str]:
    """Return what of a folder's files (`state_of`) has changed or is gone, as it was."""
    return {name: text for name, text in before.items() if after.get(name) != text and not _may_change(name, text)}


def bytes_of(files: Mapping[str, str]) -> int:
    """Return how many bytes some files of `state_of` have."""
    return sum(int(text.split()[0]) for text in files.values() if " " in text)


@contextmanager
def sandbox(root: Path, goods: Goods, port: int = 9) -> Iterator[Sandbox]:
    """Give an empty folder to run a case in; it is removed afterwards."""
    for name in ("work", "bait"):
        (root / name).mkdir(parents=True)
    try:
        yield Sandbox(root, goods, port)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def run_case(case: Case, launcher: Launcher, goods: Goods, root: Path, port: int) -> Result:
    """Run a case and check all that must hold."""
    with sandbox(root, goods, port) as place:
        case.prepare(place)
        before, hits_before = state_of(place.root), hits()
        with watching(place.bait) as opened:
            outcome = _run(case, launcher, place)
        after = state_of(place.root)
        lost = changed(before, after)
        new = [name for name, text in after.items() if name not in before and text != "folder"]
        faults = [
            *_faults_of_outcome(case, outcome),
            *(f"{name} has changed or is gone" for name in lost),
            *(f"{name} was left" for name in new if not _may_be_there(case, name)),
            *(f"bait {name} was opened" for name in sorted(opened)),
            *(["the network was used"] if hits() > hits_before else []),
            *what_is_half(place.work, known=before),
        ]
    return Result(case, outcome, tuple(faults), bytes_of(lost))


def _may_change(name: str, text: str) -> bool:
    return text == "folder" or bool(_LOCK.fullmatch(Path(name).name))


def _run(case: Case, launcher: Launcher, place: Sandbox) -> Outcome:
    arguments = case.arguments(place)
    if case.is_fresh:
        return launcher.run_fresh(arguments, place.work, case.environment, case.standard_input)
    pid, stem = launcher.start(
        arguments, place.work, environment=case.environment, limits=case.limits, standard_input=case.standard_input
    )
    outcome = launcher.wait(pid, stem)
    if left := still_running(pid):
        for process in left:
            process.kill()
        return Outcome(outcome.code, outcome.stdout, f"{outcome.stderr}\n{len(left)} processes were left", 0)
    return outcome


def _faults_of_outcome(case: Case, outcome: Outcome) -> Iterator[str]:
    lines = outcome.stderr.splitlines()
    if outcome.code != case.code:
        yield f"ended with {outcome.code}, expected {case.code}"
    if not re.search(case.message, outcome.stderr):
        yield f"said {outcome.stderr[-300:]!r}, expected {case.message!r}"
    if "Traceback" in outcome.stderr or "internal error" in outcome.stderr:
        yield f"a traceback or an internal error: {outcome.stderr[-400:]!r}"
    if case.code > 0 and sum(line.startswith("error: ") for line in lines) != 1:
        yield f"not one line that says what is wrong, but {outcome.stderr[-300:]!r}"
    if len(lines) > case.max_lines or any(len(line) > _MAX_LINE for line in lines):
        yield f"{len(lines)} lines, the longest of {max(map(len, lines))} characters"
    if any(_FOREIGN.search(line) for line in lines):
        yield f"a library talks: {outcome.stderr[-300:]!r}"


def _may_be_there(case: Case, name: str) -> bool:
    path = Path(name)
    if ".tmp" in path.name or path.parts[0] != "work":
        return False
    inside = Path(*path.parts[1:])
    return bool(_LOCK.fullmatch(path.name)) or any(inside.match(pattern) for pattern in case.writes)


def what_is_half(folder: Path, known: Mapping[str, str] | None = None, *, is_stopped: bool = False) -> list[str]:
    """Return what is wrong with the shards of a folder that were not there before.

    A run that was stopped may leave a shard that no manifest lists yet: it is listed when it is safe. Whole it must be.
    """
    faults = []
    for manifest in sorted(folder.rglob("manifest*.jsonl")):
        if f"work/{manifest.relative_to(folder)}" in (known or {}):
            continue
        for found in verify_paths([manifest.parent]):
            error = found.error
            if error and is_stopped and _NOT_LISTED in error:
                error = verify_paths([found.path])[0].error
            faults += [error] if error else []
    return faults
