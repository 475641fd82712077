"""Clocks that are set back or ahead, and files that seem to come from the future: contents decide, not times."""

import os
import time
from pathlib import Path

from faults.goods import Goods
from faults.kills import JOBS, Job, digest_of, run_again
from faults.launcher import Launcher
from faults.runner import Trial, sandbox, state_of

__all__ = ["TRIALS", "set_clock", "wrong_clocks"]

_YEAR_SECONDS = 365 * 24 * 3600.0
_TRIES = (("make", -30.0), ("make", 30.0), ("deblur", 30.0), ("train", -30.0))


def set_clock(years: float) -> None:
    """Set the clock of this process; for `Launcher.start`."""
    real = time.time
    time.time = lambda: real() + years * _YEAR_SECONDS
    time.time_ns = lambda: int(time.time() * 1e9)


def wrong_clocks(launcher: Launcher, goods: Goods, root: Path) -> Trial:
    """Run jobs under a clock that is wrong, then again with files of another time under one that is right."""
    faults: list[str] = []
    bytes_lost = 0
    for name, years in _TRIES:
        job = next(job for job in JOBS if job.name == name)
        with sandbox(root, goods) as place:
            place.take(*job.takes)
            launcher.run(job.arguments(place.work), place.work)
            expected = digest_of(place.work / "out")
        with sandbox(root, goods) as place:
            place.take(*job.takes)
            inputs = state_of(place.work)
            found, lost = _in_another_year(job, years, place.work, launcher), 0
            if not found:
                found, lost = run_again(job, place, launcher, inputs, expected)
            bytes_lost += lost
            faults += [f"{job.name}, {years:+g} years: {fault}" for fault in found[:1]]
    promise = "code 0, the same bytes; run again, nothing is made anew"
    return Trial("processes", "clocks set back and ahead", promise, len(_TRIES), tuple(faults), bytes_lost)


def _in_another_year(job: Job, years: float, work: Path, launcher: Launcher) -> list[str]:
    done = launcher.run(job.arguments(work), work, hook="faults.clocks:set_clock", years=years)
    if done.code != 0:
        return [f"ends with {done.code}: {done.stderr[-300:]}"]
    when = time.time() + years * _YEAR_SECONDS
    for path in sorted((work / "out").rglob("*")):
        os.utime(path, (when, when))
    return []


TRIALS = (wrong_clocks,)
