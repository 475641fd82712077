"""One pass over a clip: decode, average, write, flush, each in a thread of its own."""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import blursynth
from blursynth.crf import response_curve
from blursynth.decoding import decode
from blursynth.files import printable, sha256_of
from blursynth.make.plan import ClipPlan, Part
from blursynth.shards import Entry, Manifest, ShardWriter
from blursynth.synthesis import Pair, Synthesizer, held_frames
from blursynth.windows import Window, pair_key

__all__ = ["ClipRun"]

_MAX_WAITING_PAIRS = 4  # between decoding and the disk: bounds memory


class ClipRun:
    """Makes the shards of a clip in one pass: this thread decodes, one averages, one writes, one flushes to the disk.

    Parameters
    ----------
    plan
        The clip.
    todo
        The shards that are to be made; the others are there already.
    manifest
        Of the folder; each shard is listed when it is safe.
    advance
        Told of each decoded frame.
    """

    def __init__(
        self, plan: ClipPlan, todo: Sequence[Part], manifest: Manifest, advance: Callable[[float, str], None]
    ) -> None:
        self._plan = plan
        self._manifest = manifest
        self._advance = advance
        windows = [window for part in todo for window in part.windows]
        self._capacity = held_frames(windows)
        curve = response_curve(plan.config.crf)
        self._synthesizer = Synthesizer(plan.info, curve, capacity=self._capacity, resize=plan.config.resize)
        self._part_of = {window.number: part for part in todo for window in part.windows}
        self._waiting = deque(windows)
        self._averaged: deque[tuple[Window, Future[None]]] = deque()
        self._written: deque[Future[None]] = deque()
        self._of_part: list[Future[None]] = []
        self._committed: deque[Future[None]] = deque()
        self._writer: ShardWriter | None = None
        self._part: Part | None = None
        self._open: list[ShardWriter] = []

    def run(self) -> None:
        """Decode the clip and make the shards.

        Raises
        ------
        OutputError
            If the disk says no; shards that were finished stay.
        """
        with ExitStack() as stack:
            self._averaging, self._writing, self._committing = (
                stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix=name))
                for name in ("average", "write", "commit")
            )
            try:
                self._decode()
                self._finish_part()
                for futures in (self._written, self._committed):
                    while futures:
                        futures.popleft().result()
            except BaseException:
                for executor in (self._averaging, self._writing, self._committing):
                    executor.shutdown(wait=True, cancel_futures=True)
                for writer in self._open:
                    writer.discard()
                raise

    def _decode(self) -> None:
        """Feed frames to the ring and give out each window when its last frame is there."""
        bad: list[int] = []  # frames that are missing or damaged, in order
        expected = 0
        for frame in decode(self._plan.info):
            bad += range(expected, frame.index + frame.is_damaged)
            expected = frame.index + 1
            if frame.index >= self._waiting[0].first:
                self._free_slot(frame.index)
                self._synthesizer.hold(frame)
            while self._waiting and self._waiting[0].stop <= frame.index + 1:
                window = self._waiting.popleft()
                if bisect_left(bad, window.first) == bisect_left(bad, window.stop):
                    self._give_out(window)
            self._advance(1, "")
            if not self._waiting:
                return

    def _free_slot(self, index: int) -> None:
        """Wait until no window is being averaged that still needs the frame which this one replaces."""
        while self._averaged and self._averaged[0][0].first <= index - self._capacity:
            self._averaged.popleft()[1].result()

    def _give_out(self, window: Window) -> None:
        part = self._part_of[window.number]
        if part is not self._part or self._writer is None:
            self._finish_part()
            self._part, self._writer = part, self._begin(part)
        handed_over: list[Pair] = []  # so that a finished pair is held by nobody once it is written
        averaged = self._averaging.submit(self._average, window, handed_over)
        self._averaged.append((window, averaged))
        written = self._writing.submit(self._write, self._writer, averaged, handed_over)
        self._written.append(written)
        self._of_part.append(written)
        while len(self._written) > _MAX_WAITING_PAIRS:
            self._written.popleft().result()

    def _begin(self, part: Part) -> ShardWriter:
        while len(self._committed) > 1:  # one shard being flushed, one being filled
            self._committed.popleft().result()
        writer = ShardWriter(
            self._manifest.directory / part.shard,
            size=self._plan.size,
            capacity=len(part.windows),
            attributes=_attributes(self._plan),
            codec=self._plan.config.codec,
        )
        self._open.append(writer)
        return writer

    def _finish_part(self) -> None:
        if self._part is None or self._writer is None:
            return
        self._committed.append(self._committing.submit(self._commit, self._part, self._writer, self._of_part))
        self._writer, self._of_part = None, []

    def _average(self, window: Window, handed_over: list[Pair]) -> None:
        handed_over.append(self._synthesizer.pair(window))

    def _write(self, writer: ShardWriter, averaged: "Future[None]", handed_over: list[Pair]) -> None:
        averaged.result()
        pair = handed_over.pop()
        writer.append(_row(self._plan, pair.window), pair.blurry, pair.sharp)

    def _commit(self, part: Part, writer: ShardWriter, all_written: "list[Future[None]]") -> None:
        for written in all_written:  # if one failed, so does the shard
            written.result()
        pairs = writer.commit()
        self._open.remove(writer)
        if not pairs:
            return
        path = self._manifest.directory / part.shard
        height, width = self._plan.size
        self._manifest.add(
            Entry(
                shard=part.shard,
                bytes=path.stat().st_size,
                sha256=sha256_of(path),
                pairs=pairs,
                planned=len(part.windows),
                height=height,
                width=width,
                source=printable(self._plan.info.path.name),
                source_sha256=self._plan.sha256,
                settings_sha256=self._plan.config.sha256(),
            )
        )


def _row(plan: ClipPlan, window: Window) -> dict[str, int | float]:
    info = plan.info
    pts = info.pts
    return {
        "number": window.number,
        "first_frame": window.first,
        "centre_frame": window.centre,
        "last_frame": window.stop - 1,
        "first_pts": int(pts[window.first]),
        "centre_pts": int(pts[window.centre]),
        "last_pts": int(pts[window.stop - 1]),
        "num_frames": window.length,
        "exposure_seconds": float(window.length / info.frame_rate),
        "rng_key": pair_key(plan.config.seed, plan.sha256, window.number),
    }


def _attributes(plan: ClipPlan) -> dict[str, Any]:
    info = plan.info
    colour = {
        "matrix": info.colour.matrix,
        "range": "full" if info.colour.is_full_range else "limited",
        "depth": info.colour.depth,
        "guessed": list(info.colour.guessed),
    }
    return {
        "blursynth_version": blursynth.__version__,
        "config": plan.config.settings(),
        "crf": plan.config.crf,
        "crf_table": response_curve(plan.config.crf).linear_of_codes(),
        "source": printable(info.path.name),
        "source_sha256": plan.sha256,
        "licence": "unspecified",
        "frame_rate": str(info.frame_rate),
        "time_base": str(info.time_base),
        "colour": colour,
    }
