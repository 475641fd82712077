"""The short form of the faults: ``cd tests && python -m faults`` is the long one."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.__main__ import CASES, workshop
from faults.disk import fail_each_call, limit_files
from faults.fuzz import READERS, feed
from faults.goods import Goods
from faults.kills import JOBS, kill_at_random
from faults.launcher import Launcher, Outcome
from faults.power import lose_power
from faults.processes import lost_streams, two_writers
from faults.runner import Case, Result, Trial, run_case
from faults.sources import find_forbidden, source_trial
from faults.table import counts, table_of, write_table

Shop = tuple[Launcher, Goods, int]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with workshop(tmp_path_factory.mktemp("faults")) as opened:
        yield opened


_SLOW = ("archive of 2.7 GB", "900 megapixels")


def _short() -> list[Case]:
    """Every second option with its first bad value, every second checkpoint in one command, of the rest every fourth.

    The long form tries all of them.
    """
    groups: dict[str, dict[str, Case]] = {}
    for case in CASES:
        is_of_many = case.family in {"option", "checkpoint"}
        key = case.fault.rsplit(" ", 1)[0] if is_of_many else case.fault
        if not any(slow in case.fault for slow in _SLOW):
            groups.setdefault(case.family, {}).setdefault(key, case)
    found = []
    for family, group in groups.items():
        found += list(group.values())[:: 2 if family in {"option", "checkpoint"} else 4]
    return found


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            case,
            id=f"{number} {str(case)[:60]!a}",
            marks=[pytest.mark.xfail(strict=True, reason=case.unmended)] if case.unmended else [],
        )
        for number, case in enumerate(_short())
    ],
)
def test_bad_input_comes_out_as_promised(shop: Shop, tmp_path: Path, case: Case) -> None:
    launcher, goods, port = shop
    result = run_case(case, launcher, goods, tmp_path / "box", port)
    assert not result.faults, (result.outcome.stderr[-500:], result.faults)
    assert result.bytes_lost == 0


def test_a_killed_make_leaves_whole_files_and_goes_on(shop: Shop, tmp_path: Path) -> None:
    trial = kill_at_random(JOBS[0], 3, shop[0], shop[1], tmp_path / "box")
    assert (trial.tried, trial.faults) == (3, ())


def test_whatever_call_fails_nothing_is_half(shop: Shop, tmp_path: Path) -> None:
    job = next(job for job in JOBS if job.name == "deblur")
    trial = fail_each_call(job, shop[0], shop[1], tmp_path / "box", step=5)
    assert trial.tried >= 2
    assert trial.faults == ()


def test_a_limit_on_the_size_of_files_is_one_clear_error(shop: Shop, tmp_path: Path) -> None:
    trial = limit_files(JOBS[0], shop[0], shop[1], tmp_path / "box")
    assert trial.tried >= 1
    assert trial.faults == ()


def test_whenever_power_is_lost_files_are_whole(shop: Shop, tmp_path: Path) -> None:
    trial = lose_power(next(job for job in JOBS if job.name == "deblur"), shop[0], shop[1], tmp_path / "box")
    assert trial.tried >= 4
    assert trial.faults == ()


def test_a_disk_without_power_keeps_what_was_flushed_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "log").mkdir()
    script = (
        "import os, sys; from faults.power import record_flushes\n"
        "record_flushes(*sys.argv[1:]); os.chdir(sys.argv[1])\n"
        "for name in 'ab':\n"
        "    with open(f'{name}.tmp', 'w') as file:\n"
        "        file.write(name); file.flush()\n"
        "        if name == 'a': os.fsync(file.fileno())\n"
        "    os.replace(f'{name}.tmp', name)\n"
    )
    folders = [str(tmp_path / name) for name in ("out", "log")]
    subprocess.run([sys.executable, "-c", script, *folders], check=True, cwd=Path(__file__).parent)
    kept, now = (json.loads((tmp_path / "log" / f"0002-{kind}.json").read_text()) for kind in ("kept", "now"))
    assert kept == {}  # the folder was never flushed
    assert (tmp_path / "log" / now["./a"]).read_text() == "a"
    assert not now["./b"]


@pytest.mark.parametrize("trial", [two_writers, lost_streams])
def test_processes_and_streams(shop: Shop, tmp_path: Path, trial: object) -> None:
    assert callable(trial)
    found: Trial = trial(shop[0], shop[1], tmp_path / "box")
    assert found.faults == ()


def test_what_was_once_found_stays_mended(tmp_path: Path) -> None:
    for path in sorted(Path(__file__).with_name("faults").glob("corpus/*-*")):
        assert feed(READERS[path.name.partition("-")[0]], path.read_bytes(), tmp_path) == "", path.name


def test_the_source_holds_no_shell_and_no_pickle() -> None:
    assert source_trial().faults == ()


@pytest.mark.parametrize(
    "text",
    [
        "subprocess.run(x, shell=True)", "os.system('x')", "pickle.load(f)", "torch.load(f)", "eval(x)",
        "torch.load(f, weights_only=False)", "np.load(f, allow_pickle=True)", "cv2.imwrite('a', b)",
    ],
)  # fmt: skip
def test_forbidden_source_is_found(text: str) -> None:
    assert len(list(find_forbidden(f"def f(x):\n    {text}\n"))) == 1


def test_the_table_escapes_what_files_are_called_and_says_what_is_known(tmp_path: Path) -> None:
    case = Case("video", "name <img>|x", "make x", 2, unmended="soon")
    result = Result(case, Outcome(2, "", "error: <b>\x1b: no\n", 0), ("said something else",), 0)
    trial = Trial("killed", "make", "whole", 3, ("one",))
    path = tmp_path / "reliability.md"
    path.write_text("before\n<!-- written by python -m faults -->\nold\n<!-- end of what was written -->\nafter\n")
    write_table(path, table_of([result], [trial]))
    text = path.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "&lt;img&gt;&#124;x" in text
    assert "<b>" not in text
    assert "not mended yet: soon" in text
    assert "&#124; one" not in text  # a remark is a cell of its own
    assert "| one |" in text
    assert counts([result], [trial]) == {
        "cases tried": 4, "survived": 2, "known and not mended yet": 1, "bytes lost": 0
    }  # fmt: skip
