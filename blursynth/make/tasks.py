"""The work on clips, cut into tasks and handed to an engine."""

import itertools
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from blursynth.crf import response_curve
from blursynth.engine import Engine, Failure, run_tasks
from blursynth.errors import RefusedError
from blursynth.files import printable
from blursynth.make.folder import Folder
from blursynth.make.noise import noise_of_clip
from blursynth.make.plan import ClipPlan, Part
from blursynth.make.run import ClipRun, Finished
from blursynth.progress import Progress
from blursynth.radiometry import NoiseLevel

__all__ = ["Results", "make_clips"]

_TASKS_PER_WORKER = 3  # so that workers finish at about the same time


@dataclass(frozen=True, slots=True, eq=False)
class _Task:
    """Shards of one clip that are made in one pass."""

    plan: ClipPlan
    directory: Path

    @property
    def num_frames(self) -> int:
        windows = [window for part in self.plan.parts for window in part.windows]
        return windows[-1].stop - windows[0].first


@dataclass(slots=True, eq=False)
class Results:
    """What came of a run: why windows were rejected, by shard; what went wrong and noise, by clip (its SHA-256)."""

    rejected: dict[str, dict[str, int]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    levels: dict[str, NoiseLevel] = field(default_factory=dict)


def make_clips(plans: Sequence[ClipPlan], folder: Folder, engine: Engine, progress: Progress) -> Results:
    """Make the shards that are not there yet; each is listed when it is safe."""
    results = Results()

    def finished(done: Finished) -> None:
        results.rejected[done.part.shard] = done.rejected
        folder.manifest.add(done.entry)

    todo: list[_Task] = []
    for plan in plans:
        parts = tuple(part for part in plan.parts if not folder.is_done(part.shard, len(part.windows)))
        if not parts:
            continue
        try:
            measured = _with_level(plan)
            if measured.level is not None:
                results.levels[plan.sha256] = measured.level
            todo += _tasks(measured, parts, folder.path, engine)
        except RefusedError as error:
            results.errors[plan.sha256] = str(error)
    if engine.backend == "local" and engine.num_workers == 1:
        _run_here(todo, finished, progress, results)
    else:
        _run_elsewhere(todo, engine, finished, progress, results)
    return results


def _with_level(plan: ClipPlan) -> ClipPlan:
    if plan.config.noise != "match":
        return plan
    return replace(plan, level=noise_of_clip(plan.info, response_curve(plan.crf), plan.config.resize))


def _tasks(plan: ClipPlan, parts: tuple[Part, ...], directory: Path, engine: Engine) -> list[_Task]:
    """Cut the work into as many stretches as there are workers to share it."""
    num_tasks = 1
    if engine.backend != "local":
        num_tasks = len(parts)
    elif engine.num_workers > 1:
        num_tasks = min(len(parts), _TASKS_PER_WORKER * engine.num_workers)
    bounds = np.linspace(0, len(parts), num_tasks + 1).round().astype(int).tolist()
    cuts = itertools.pairwise(bounds)
    return [_Task(replace(plan, parts=parts[start:stop]), directory) for start, stop in cuts if start < stop]


def _run_here(
    tasks: Sequence[_Task], finished: Callable[[Finished], None], progress: Progress, results: Results
) -> None:
    for task in tasks:
        with progress.task(task.plan.info.path.name, task.num_frames, "frames") as advance:
            try:
                ClipRun(task.plan, task.plan.parts, task.directory, finished, advance).run()
            except RefusedError as error:
                results.errors[task.plan.sha256] = str(error)


def _run_elsewhere(
    tasks: Sequence[_Task], engine: Engine, finished: Callable[[Finished], None], progress: Progress, results: Results
) -> None:
    total, died = sum(task.num_frames for task in tasks), 0
    with progress.task("clips", total, "frames") as advance, closing(run_tasks(_run_task, tasks, engine)) as outcomes:
        for position, outcome in outcomes:
            task = tasks[position]
            advance(task.num_frames, "")
            if not isinstance(outcome, Failure):
                for done in outcome:
                    finished(done)
            elif isinstance(outcome.error, RefusedError):
                results.errors[task.plan.sha256] = str(outcome.error)
            elif outcome.has_killed_workers and (died := died + 1) < len(tasks):
                results.errors[task.plan.sha256] = f"{printable(task.plan.info.path)}: {outcome.message}"
            else:
                raise outcome.as_error(printable(task.plan.info.path))


def _run_task(task: _Task) -> list[Finished]:
    done: list[Finished] = []
    ClipRun(task.plan, task.plan.parts, task.directory, done.append, lambda _frames, _note: None).run()
    return done
