"""Evaluation: data sets × methods -> scores. Images are read ahead and scored beside the network that restores them."""

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from blursynth.errors import PhotoError, RefusedError
from blursynth.files import printable
from blursynth.progress import SILENT, Progress

from .datasets import DataSet, PairSource, hash_of_pair
from .memory import PeakMemory
from .methods import Method
from .results import Column, DataResult, Failure, ImageScore, MethodResult
from .resuming import ScoreLog, key_of
from .scoring import Scoring
from .worst import WorstViews, view_of, worst_images

__all__ = ["WorstView", "evaluate", "score_key"]

Image = NDArray[np.uint8]
_READ_AHEAD = 2
_MAX_SCORERS = 8


@dataclass(frozen=True, slots=True, eq=False)
class WorstView:
    """A picture of one of the worst images: blurry, restored and sharp beside each other, (h, w, 3) uint8."""

    data: str
    method: str
    rank: int
    score: ImageScore
    pixels: Image


@dataclass(frozen=True, slots=True, eq=False)
class _Read:
    """A pair that was read."""

    source: PairSource
    blurry: Image
    truth: NDArray[Any]
    sha256: str


def evaluate(
    data: DataSet,
    methods: Sequence[Method],
    scoring: Scoring,
    *,
    device: torch.device,
    log: ScoreLog,
    settings: dict[str, Any],
    num_worst: int = 0,
    progress: Progress = SILENT,
) -> tuple[DataResult, list[WorstView]]:
    """Score methods on a data set.

    Parameters
    ----------
    methods
        The blurry input first.
    device
        Whose memory is watched.
    log
        Scores that are in it are not computed again; new ones are added. Pairs are known by their pixels.
    settings
        What else decides the scores, plain values.
    num_worst
        How many pictures of the worst images by the first metric to make, of each network.

    Returns
    -------
    Scores of the images that all methods were scored on, and the pictures. What failed is listed in the first.

    Raises
    ------
    RefusedError
        If no pair could be scored.
    MachineError
        If the memory runs out.
    """
    failures = {failure.name: failure for failure in data.failures}
    first, watch = scoring.columns[0], PeakMemory(device)
    found, views = [], []
    for method in methods:
        kept = WorstViews(num_worst, column=0, is_higher_better=first.is_higher_better)
        with progress.task(f"{data.name}: {method.name}", len(data.pairs), "images") as advance:
            scores, failed = _Pass(data, method, scoring, watch, log).run(
                score_key(method, scoring, settings),
                kept,
                lambda: advance(1, ""),
            )
        failures |= {failure.name: failure for failure in failed}
        found.append(MethodResult(method.name, method.checkpoint_sha256, tuple(scores)))
        views.append(kept)
    rows = tuple(
        replace(result, images=tuple(image for image in result.images if image.name not in failures))
        for result in found
    )
    if not rows[0].images:
        reason = next(iter(failures.values())).error
        raise RefusedError(f"{printable(data.name)}: none of its {data.total} pairs could be scored: {reason}")
    result = DataResult(data.name, data.layout, data.split, data.track, data.total, rows, tuple(failures.values()))
    pictures = [
        picture
        for method, row, kept in zip(methods, rows, views, strict=True)
        for picture in _worst_views(data, method, row, first, num_worst, kept)
    ]
    return result, pictures


@dataclass(frozen=True, slots=True, eq=False)
class _Scored:
    """A score with what it is of, as long as a picture may be made of it; ``restored`` is None if it was known."""

    score: ImageScore
    read: _Read
    restored: Image | None


class _Pass:
    """One method over one data set."""

    def __init__(self, data: DataSet, method: Method, scoring: Scoring, watch: PeakMemory, log: ScoreLog) -> None:
        self._data, self._method, self._scoring, self._memory, self._log = data, method, scoring, watch, log

    def run(self, key: str, views: WorstViews, on_image: Callable[[], None]) -> tuple[list[ImageScore], list[Failure]]:
        """Return scores in the order of the pairs, and what failed."""
        scores: list[ImageScore] = []
        failures: list[Failure] = []
        num_scorers = min(_MAX_SCORERS, os.cpu_count() or 1)
        with ThreadPoolExecutor(num_scorers, "score") as scorers:
            pending: deque[tuple[str, Future[_Scored]]] = deque()

            def take_oldest() -> None:
                name, future = pending.popleft()
                try:
                    scores.append(self._keep(key, future.result(), views))
                except (ValueError, RefusedError) as error:  # what a metric cannot do with these images
                    failures.append(Failure(name, f"{printable(name)}: {error}"))
                on_image()

            try:
                for name, read in _read_ahead(self._data.pairs):
                    if isinstance(read, RefusedError):
                        failures.append(Failure(name, str(read)))
                        on_image()
                        continue
                    pending.append((name, self._submit(scorers, key, read)))
                    while len(pending) > num_scorers:
                        take_oldest()
                while pending:
                    take_oldest()
            finally:
                scorers.shutdown(cancel_futures=True)
        return scores, failures

    def _submit(self, scorers: ThreadPoolExecutor, key: str, read: _Read) -> Future[_Scored]:
        known = self._log.find(key, read.sha256)
        if known:
            done: Future[_Scored] = Future()
            score = replace(known, name=read.source.name, sequence=read.source.sequence)
            done.set_result(_Scored(score, read, None))
            return done
        if self._method.restore is None:
            return scorers.submit(self._score, read, read.blurry, (None, None, 0))
        self._memory.restart()
        start = time.perf_counter()
        restored, kept_tiles = self._method.restore(read.blurry)
        seconds = time.perf_counter() - start
        return scorers.submit(self._score, read, restored, (seconds, self._memory.num_bytes(), kept_tiles))

    def _score(self, read: _Read, restored: Image, cost: tuple[float | None, int | None, int]) -> _Scored:
        values = self._scoring.score(restored, read.truth)
        return _Scored(ImageScore(read.source.name, read.source.sequence, read.sha256, values, *cost), read, restored)

    def _keep(self, key: str, scored: _Scored, views: WorstViews) -> ImageScore:
        if scored.restored is not None:
            self._log.add(key, scored.score)
            if self._method.restore:
                views.offer(scored.score, scored.read.blurry, scored.restored, _one_of(scored.read.truth))
        return scored.score


def score_key(method: Method, scoring: Scoring, settings: dict[str, Any]) -> str:
    """Return the key under which the log keeps scores of a method."""
    definitions = [f"{column.name}: {column.definition}" for column in scoring.columns]
    return key_of(method.checkpoint_sha256, definitions, settings | {"protocol": scoring.protocol})


def _read(source: PairSource) -> _Read:
    blurry, truth = source.read()
    if blurry.shape != truth.shape[-3:]:
        raise PhotoError(f"{printable(source.name)}: blurry and sharp image have different sizes")
    return _Read(source, blurry, truth, hash_of_pair(blurry, truth))


def _read_ahead(pairs: Sequence[PairSource]) -> Iterator[tuple[str, _Read | RefusedError]]:
    """Yield pairs in their order, the next ones being read meanwhile; a pair that is bad is an error in its place."""
    rest = iter(pairs)
    with ThreadPoolExecutor(1, "read") as reader:
        waiting: deque[tuple[str, Future[_Read]]] = deque()
        try:
            while True:
                while len(waiting) <= _READ_AHEAD and (source := next(rest, None)):
                    waiting.append((source.name, reader.submit(_read, source)))
                if not waiting:
                    return
                name, future = waiting.popleft()
                try:
                    read: _Read | RefusedError = future.result()
                except RefusedError as error:
                    read = error
                yield name, read
        finally:
            reader.shutdown(cancel_futures=True)


def _worst_views(
    data: DataSet, method: Method, row: MethodResult, first: Column, count: int, kept: WorstViews
) -> Iterator[WorstView]:
    """Yield the pictures of the worst images; those scored in an earlier run are restored once more."""
    if not method.restore:
        return
    sources = {source.name: source for source in data.pairs}
    worst = worst_images(row.images, count, column=0, is_higher_better=first.is_higher_better)
    for rank, score in enumerate(worst, 1):
        pixels = kept.find(score)
        if pixels is None:
            read = _read(sources[score.name])
            pixels = view_of(read.blurry, method.restore(read.blurry)[0], _one_of(read.truth))
        yield WorstView(data.name, method.name, rank, score, pixels)


def _one_of(truth: NDArray[Any]) -> Image:
    """Return the truth, or of several the middle one."""
    return truth if truth.ndim == 3 else truth[len(truth) // 2]
