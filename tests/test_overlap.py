"""Three steps of many jobs, each beside the others."""

import threading
from collections.abc import Callable

import pytest

from blursynth.model.overlap import overlapped

SECONDS = 10.0


def test_results_come_in_order_and_every_step_has_its_turn() -> None:
    for count in range(5):
        jobs = list(range(count))
        found = overlapped(jobs, lambda job: 10 * job, lambda job, item: lambda: (job, item))
        assert list(found) == [(job, 10 * job) for job in jobs]


def test_the_next_is_read_and_the_last_is_written_while_one_is_restored() -> None:
    read, written = [threading.Event() for _ in range(3)], [threading.Event() for _ in range(3)]

    def restore(job: int, _item: None) -> Callable[[], int]:
        if job < 2:
            assert read[job + 1].wait(SECONDS)
        if job == 2:
            assert written[0].is_set()  # not more than one waits to be written
            assert written[1].wait(SECONDS)

        def write() -> int:
            written[job].set()
            return job

        return write

    assert list(overlapped(range(3), lambda job: read[job].set(), restore)) == [0, 1, 2]


def test_no_more_than_one_is_read_ahead() -> None:
    read: list[int] = []

    def restore(job: int, _item: None) -> Callable[[], int]:
        assert max(read) <= job + 1
        return lambda: job

    assert list(overlapped(range(9), read.append, restore)) == list(range(9))


@pytest.mark.parametrize("step", ["read", "restore", "write"])
def test_what_a_step_raises_is_raised_and_ends_the_work(step: str) -> None:
    begun: list[int] = []

    def fail(job: int, where: str) -> int:
        if (job, where) == (2, step):
            raise ValueError(f"job {job}")
        return job

    def restore(job: int, _item: int) -> Callable[[], int]:
        begun.append(job)
        fail(job, "restore")
        return lambda: fail(job, "write")

    with pytest.raises(ValueError, match="job 2"):
        list(overlapped(range(9), lambda job: fail(job, "read"), restore))
    assert max(begun) <= 3
