"""Try all faults and write the table: ``cd tests && python -m faults``; see ``--help``."""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from faults import (
    checkpoints,
    clocks,
    disk,
    fuzz,
    manifests,
    memory,
    options,
    parts,
    pictures,
    power,
    processes,
    shards,
    videos,
)  # fmt: skip
from faults.goods import Goods, make_goods
from faults.kills import JOBS, kill_at_random
from faults.launcher import Launcher
from faults.runner import Case, Result, Trial, run_case
from faults.sources import source_trial
from faults.table import counts, table_of, write_table
from faults.watching import listening

CASES: tuple[Case, ...] = (
    *videos.CASES, *pictures.CASES, *shards.CASES, *checkpoints.CASES, *manifests.CASES, *options.CASES,
)  # fmt: skip
FAMILIES = ("cases", "sources", "kills", "disk", "processes", "memory", "fuzz", "guided")
_DOCS = Path(__file__).parents[2] / "docs" / "reliability.md"
_SLOW = {"train", "make --jobs 2"}  # of which not every call is let fail, but one in
_QUOTA = {"make", "deblur"}
_STEP = 5  # which is no multiple of the calls that it takes to write a file
_GUIDED = ("shard", "manifest", "pack")
_Work = Callable[[Launcher, Goods, Path], Trial]


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


@contextmanager
def workshop(folder: Path) -> Iterator[tuple[Launcher, Goods, int]]:
    """Make the good files, start what starts commands, and listen who comes over the network."""
    goods = make_goods(folder / "goods")
    with Launcher(folder / "launcher") as launcher, listening() as port:
        yield launcher, goods, port


def run_cases(cases: Sequence[Case], launcher: Launcher, goods: Goods, root: Path, port: int) -> Iterator[Result]:
    """Run cases one after the other."""
    for case in cases:
        yield run_case(case, launcher, goods, root, port)


def _trials(arguments: argparse.Namespace, scratch: Path) -> list[tuple[str, _Work]]:
    def killed(number: int) -> _Work:
        count = -(-arguments.kills // len(JOBS))
        return lambda launcher, goods, root: kill_at_random(JOBS[number], count, launcher, goods, root)

    def on_disk(work: Callable[..., Trial], number: int) -> _Work:
        is_long = work is disk.fail_each_call and JOBS[number].name in _SLOW
        options = {"step": _STEP} if is_long else {}
        return lambda launcher, goods, root: work(JOBS[number], launcher, goods, root, **options)

    def fed(name: str, **options: int) -> _Work:
        return lambda launcher, goods, _root: fuzz.fuzz(name, arguments.mutants, launcher, goods, **options)

    found: list[tuple[str, _Work]] = [("sources", lambda _launcher, _goods, _root: source_trial())]
    found += [("kills", killed(number)) for number in range(len(JOBS))]
    full = disk.fill_disk if disk.can_mount(scratch) else disk.limit_files
    found += [("disk", on_disk(work, number)) for work in (full, disk.fail_each_call) for number in range(len(JOBS))]
    found += [("disk", on_disk(disk.limit_files, 0))]
    found += [
        ("disk", on_disk(disk.use_up_quota, number)) for number in range(len(JOBS)) if JOBS[number].name in _QUOTA
    ]
    found += [("disk", trial) for trial in power.TRIALS]
    if full is disk.fill_disk:
        found.append(("disk", disk.read_only))
    found += [("processes", trial) for trial in (*processes.TRIALS, *parts.TRIALS, *clocks.TRIALS)]
    found += [("memory", trial) for trial in memory.TRIALS]
    found += [("fuzz", fed(name)) for name in fuzz.READERS]
    if arguments.guided:
        found += [("guided", fed(name, guided_seconds=arguments.guided)) for name in _GUIDED]
    return found


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m faults", description="Try all faults; write docs/reliability.md.")
    parser.add_argument("--kills", type=int, default=56, help="Moments at which commands are killed, of all together.")
    parser.add_argument("--mutants", type=int, default=200, help="Changed files for each reader.")
    parser.add_argument(
        "--guided", type=int, default=15, metavar="SECONDS", help="Of atheris for each reader; 0: none."
    )
    parser.add_argument(
        "--only", default="", metavar="A,B", help=f"Only these of {', '.join(FAMILIES)}; the table says so."
    )
    parser.add_argument("--no-table", action="store_true", help="Leave the documentation as it is.")
    return parser.parse_args()


def how_it_ran(arguments: argparse.Namespace, families: Collection[str]) -> str:
    """Say what ran, and with what numbers."""
    left_out = [name for name in FAMILIES if name not in families]
    numbers = f"{arguments.kills} kills, {arguments.mutants} changed files for each reader"
    guided = f", {arguments.guided} s of atheris for each of {len(_GUIDED)}" if arguments.guided else ""
    return f"Ran with {numbers}{guided}. " + (f"Left out: {', '.join(left_out)}." if left_out else "Nothing left out.")


def main() -> int:
    """Run everything; return 1 if anything came out otherwise than promised."""
    arguments, begin = _arguments(), time.monotonic()
    families = [name for name in FAMILIES if name in (arguments.only or ",".join(FAMILIES)).split(",")]
    results: list[Result] = []
    trials: list[Trial] = []
    with tempfile.TemporaryDirectory(prefix="faults-") as name, workshop(Path(name)) as (launcher, goods, port):
        root = Path(name) / "box"
        if "cases" in families:
            for result in run_cases(CASES, launcher, goods, root, port):
                results.append(result)
                if result.faults:
                    _say(f"{result.case}: {'; '.join(result.faults)}")
        for family, trial in _trials(arguments, Path(name)):
            if family in families:
                trials.append(trial(launcher, goods, root))
                _say(f"{trials[-1].fault}: {trials[-1].survived} of {trials[-1].tried} {'; '.join(trials[-1].faults)}")
    numbers = counts(results, trials)
    _say(", ".join(f"{name} {number}" for name, number in numbers.items()) + f", {time.monotonic() - begin:.0f} s")
    if not arguments.no_table:
        write_table(_DOCS, table_of(results, trials, how_it_ran(arguments, families)))
    lost = numbers["cases tried"] - numbers["survived"] - numbers["known and not mended yet"]
    return int(lost > 0 or numbers["bytes lost"] > 0)


if __name__ == "__main__":
    sys.exit(main())
