"""One pass over a clip: decode, measure, average, write, flush, each in a thread of its own."""

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil

from blursynth.crf import response_curve
from blursynth.decoding import decode
from blursynth.errors import MachineError
from blursynth.files import printable, sha256_of
from blursynth.make.measuring import Meter, judge
from blursynth.make.plan import ClipPlan, Part
from blursynth.make.rows import attributes_of, row_of
from blursynth.motion import Worth
from blursynth.rendition import Rendition, output_curves
from blursynth.shards import Entry, ShardWriter
from blursynth.synthesis import Pair, Synthesizer, held_frames
from blursynth.windows import Window, pair_key

__all__ = ["ClipRun", "Finished", "rendition_of"]

_GAP_BYTES = 6  # for each pixel, of the motion between two frames
_LIGHT_BYTES = 5 * 6 * 4  # for each pixel, of frames and sums in six channels of light
_NO_FILE = "0" * 64
_MEMORY_SHARE = 0.7  # of what is free may be taken by frames
_MAX_WAITING_PAIRS = 4  # between decoding and the disk: bounds memory


@dataclass(frozen=True, slots=True)
class Finished:
    """A part that is done: its entry, and why how many of its windows did not become pairs."""

    part: Part
    entry: Entry
    rejected: dict[str, int]


def _check_memory(plan: ClipPlan, capacity: int) -> None:
    info = plan.info
    sample_bytes = 1 if info.colour.depth == 8 else 2
    num_bytes = capacity * info.width * info.height * 3 * sample_bytes  # 4:4:4 at most
    if plan.config.sub_frames() != 0:
        num_bytes += (capacity * _GAP_BYTES + _LIGHT_BYTES) * info.width * info.height
    free = psutil.virtual_memory().available
    if num_bytes > _MEMORY_SHARE * free:
        raise MachineError(
            f"{printable(info.path)}: {capacity} frames of {info.width}x{info.height} at once need up to "
            f"{num_bytes / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free; choose a shorter --window or --exposure"
        )


@dataclass(slots=True, eq=False)
class _Open:
    """The part that is being filled."""

    part: Part
    writer: ShardWriter
    written: list["Future[None]"]
    rejected: Counter[str]


_Outcome = tuple[Pair, Worth | None] | str  # or why there is none


def rendition_of(plan: ClipPlan) -> Rendition:
    """Return what becomes of the light of a clip."""
    return Rendition(response_curve(plan.crf), output_curves(plan.config.output_crf), plan.config.chain(), plan.level)


class ClipRun:
    """Makes shards of a clip in one pass: this thread decodes; others measure, average, write and flush to the disk.

    Parameters
    ----------
    plan
        The clip.
    todo
        The shards that are to be made; the others are there already.
    directory
        Where they go.
    finished
        Told of each shard that is safe.
    advance
        Told of each decoded frame.
    """

    def __init__(
        self,
        plan: ClipPlan,
        todo: Sequence[Part],
        directory: Path,
        finished: Callable[[Finished], None],
        advance: Callable[[float, str], None],
    ) -> None:
        self._plan, self._directory = plan, directory
        self._finished, self._advance = finished, advance
        windows = [window for part in todo for window in part.windows]
        self._capacity = held_frames(windows)
        _check_memory(plan, self._capacity)
        sub_frames = plan.config.sub_frames()
        self._sees_neighbours = sub_frames != 0 or plan.config.exposure_rule() is not None
        self._synthesizer = Synthesizer(
            plan.info,
            rendition_of(plan),
            capacity=self._capacity,
            resize=plan.config.resize,
            sub_frames=sub_frames,
            interpolator=plan.interpolator,
            keeps_light=plan.config.store == "linear",
        )
        self._meter: Meter | None = None
        self._part_of = {window.number: part for part in todo for window in part.windows}
        self._waiting = deque(windows)
        self._averaged: deque[tuple[Window, Future[None]]] = deque()
        self._written: deque[Future[None]] = deque()
        self._committed: deque[Future[None]] = deque()
        self._rejected: dict[str, Counter[str]] = {part.shard: Counter() for part in todo}
        self._open: _Open | None = None
        self._unsafe: list[ShardWriter] = []

    def run(self) -> None:
        """Decode the clip and make the shards.

        Raises
        ------
        OutputError
            If the disk says no; shards that were finished stay.
        """
        with ExitStack() as stack:
            executors = [
                stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix=name))
                for name in ("measure", "average", "write", "commit")
            ]
            measuring, self._averaging, self._writing, self._committing = executors
            if self._plan.config.measure:
                info = self._plan.info
                self._meter = Meter(info.frame_times(), response_curve(self._plan.crf), info.colour.peak, measuring)
            try:
                self._decode()
                self._finish_part()
                for futures in (self._written, self._committed):
                    while futures:
                        futures.popleft().result()
            except BaseException:
                for executor in executors:
                    executor.shutdown(wait=True, cancel_futures=True)
                for writer in self._unsafe:
                    writer.discard()
                raise

    def _span(self, window: Window) -> tuple[int, int]:
        """Return the first frame that a window needs, and one past the last."""
        if not self._sees_neighbours:
            return window.first, window.stop
        return window.first - window.before, window.stop + window.after

    def _decode(self) -> None:
        """Feed frames to the ring and give out each window when its last frame is there."""
        bad: list[int] = []  # frames that are missing or damaged, in order
        expected = begin = self._span(self._waiting[0])[0]
        for frame in decode(self._plan.info, start=begin):
            self._advance(1, "")
            if frame.index < begin:
                continue
            bad += range(expected, frame.index + frame.is_damaged)
            expected = frame.index + 1
            if frame.index >= self._span(self._waiting[0])[0]:
                self._free_slot(frame.index)
                self._synthesizer.hold(frame)
                if self._meter:
                    self._meter.see(frame.index, frame.planes[0])
            while self._waiting and self._span(self._waiting[0])[1] <= frame.index + 1:
                window = self._waiting.popleft()
                first, stop = self._span(window)
                self._give_out(window, is_damaged=bisect_left(bad, first) != bisect_left(bad, stop))
            if not self._waiting:
                return
        for window in self._waiting:
            self._give_out(window, is_damaged=True)

    def _free_slot(self, index: int) -> None:
        """Wait until no window is being averaged that still needs the frame which this one replaces."""
        while self._averaged and self._span(self._averaged[0][0])[0] <= index - self._capacity:
            self._averaged.popleft()[1].result()

    def _give_out(self, window: Window, *, is_damaged: bool) -> None:
        part = self._part_of[window.number]
        if self._open is None or part is not self._open.part:
            self._finish_part()
            self._open = _Open(part, self._begin(part), [], self._rejected[part.shard])
        if is_damaged:
            self._open.rejected["damaged"] += 1
            if self._meter:  # behind the windows that are still being averaged
                self._averaging.submit(self._meter.forget, self._span(window)[0])
            return
        handed_over: list[_Outcome] = []  # so that a finished pair is held by nobody once it is written
        averaged = self._averaging.submit(self._average, window, handed_over)
        self._averaged.append((window, averaged))
        written = self._writing.submit(self._write, self._open, averaged, handed_over)
        self._written.append(written)
        self._open.written.append(written)
        while len(self._written) > _MAX_WAITING_PAIRS:
            self._written.popleft().result()

    def _begin(self, part: Part) -> ShardWriter:
        while len(self._committed) > 1:  # one shard being flushed, one being filled
            self._committed.popleft().result()
        config = self._plan.config
        writer = ShardWriter(
            self._directory / part.shard,
            size=self._plan.size,
            capacity=len(part.windows),
            attributes=attributes_of(self._plan),
            codec=config.codec,
            keeps_light=config.store == "linear",
        )
        self._unsafe.append(writer)
        return writer

    def _finish_part(self) -> None:
        if self._open is not None:
            self._committed.append(self._committing.submit(self._commit, self._open))
        self._open = None

    def _average(self, planned: Window, handed_over: list[_Outcome]) -> None:
        window = planned
        measured, repeats, verdict = None, [], ""
        if self._meter:
            if self._sees_neighbours:
                window = self._meter.within_cuts(window)
                repeats = self._meter.repeats(window)
            measured = self._meter.worth(window, repeats)
            verdict = judge(measured, self._plan.config)
            self._meter.forget(self._span(planned)[0])
        if verdict:
            handed_over.append(verdict)
            return
        key = pair_key(self._plan.config.seed, self._plan.sha256, window.number)
        handed_over.append((self._synthesizer.pair(window, key, repeats), measured))

    def _write(self, part: _Open, averaged: "Future[None]", handed_over: list[_Outcome]) -> None:
        averaged.result()
        outcome = handed_over.pop()
        if isinstance(outcome, str):
            part.rejected[outcome] += 1
            return
        pair, measured = outcome
        part.writer.append(row_of(self._plan, pair, measured), pair.images)

    def _commit(self, part: _Open) -> None:
        for written in part.written:  # if one failed, so does the shard
            written.result()
        pairs = part.writer.commit()
        self._unsafe.remove(part.writer)
        rejected = dict(sorted(part.rejected.items()))
        self._finished(Finished(part.part, self._entry(part.part, pairs, rejected), rejected))

    def _entry(self, part: Part, pairs: int, rejected: dict[str, int]) -> Entry:
        path = self._directory / part.shard
        height, width = self._plan.size
        return Entry(
            shard=part.shard,
            bytes=path.stat().st_size if pairs else 0,
            sha256=sha256_of(path) if pairs else _NO_FILE,
            pairs=pairs,
            planned=len(part.windows),
            height=height,
            width=width,
            source=printable(self._plan.info.path.name),
            source_sha256=self._plan.sha256,
            settings_sha256=self._plan.config.sha256(),
            split=self._plan.split,
            recording=printable(self._plan.recording),
            rejected=", ".join(f"{reason} {count}" for reason, count in rejected.items()),
        )
