"""What a run reads, stage after stage, each process its share."""

from collections.abc import Generator

from blursynth.errors import SettingsError

from .distributed import World
from .online.batch import Batch
from .settings import TrainConfig, stages_of
from .sources import Request, Source
from .stages import Stage, stage_at

__all__ = ["Feed"]


class Feed:
    """The batches of a run in the order of its steps; `close` ends the processes that read.

    Raises
    ------
    SettingsError
        If a stage's crops are larger than a pair, or its batch cannot be shared evenly.
    """

    def __init__(self, source: Source, config: TrainConfig, world: World, *, is_pinned: bool) -> None:
        self._source, self._config, self._world, self._is_pinned = source, config, world, is_pinned
        self._stages = stages_of(config)
        for stage in self._stages:
            self._check(stage)
        self._stage: Stage | None = None
        self._stream: Generator[Batch, None, None] | None = None

    def _check(self, stage: Stage) -> None:
        side, size = self._source.largest_patch, self._world.size
        if stage.patch > side:
            remedy = " or leave --progressive out" if self._config.progressive else ""
            raise SettingsError(f"patch {stage.patch}: larger than pairs of {side} px; choose --patch smaller{remedy}")
        if stage.batch % size:
            raise SettingsError(f"batch {stage.batch}: {size} processes cannot share it evenly; choose another --batch")

    def samples(self, fraction: float) -> int:
        """Return how many samples a step takes, of all processes together, at a fraction of the run."""
        return stage_at(self._stages, fraction).batch

    def read(self, step: int, fraction: float) -> Batch:
        """Return this process's share of the batch of a step; steps have to follow each other.

        Raises
        ------
        ShardError
            If a shard is no longer what it was.
        """
        stage = stage_at(self._stages, fraction)
        if stage != self._stage or self._stream is None:
            self.close()
            self._stage, self._stream = stage, self._open(stage, step)
        return next(self._stream)

    def _open(self, stage: Stage, step: int) -> Generator[Batch, None, None]:
        # Share r of step s holds the samples from s batch + r batch / size on: it is step s size + r of small batches.
        rank, size = self._world.rank, self._world.size
        request = Request(
            patch=stage.patch,
            batch=stage.batch // size,
            seed=stage.seed,
            steps=range(step * size + rank, self._config.steps * size, size),
            workers=self._config.workers,
            is_pinned=self._is_pinned,
            is_fresh=self._config.light == "fresh",
        )
        return self._source.open(request)

    def close(self) -> None:
        """End the processes that read."""
        if self._stream is not None:
            self._stream.close()
        self._stream = None
