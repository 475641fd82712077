"""Reading what comes next and writing what came last while the network has its turn."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["overlapped"]

Job = TypeVar("Job")
Read = TypeVar("Read")
Result = TypeVar("Result")


def overlapped(
    jobs: Sequence[Job], read: Callable[[Job], Read], restore: Callable[[Job, Read], Callable[[], Result]]
) -> Iterator[Result]:
    """Do jobs in three steps, each step of a job beside the others of its neighbours.

    Parameters
    ----------
    read
        Called in a thread of its own, one job ahead.
    restore
        Called where the results are asked for, with what was read. Returns the last step, which is called in another
        thread, while the next job is restored.

    Yields
    ------
    What the last step of each job returns, in the order of the jobs. What a step raises is raised here; a last step
    that has begun is finished all the same.
    """
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        ahead = [reader.submit(read, job) for job in jobs[:1]]
        behind: list[Future[Result]] = []
        for i, job in enumerate(jobs):
            item = ahead.pop().result()
            ahead += [reader.submit(read, following) for following in jobs[i + 1 : i + 2]]
            finish = restore(job, item)
            if behind:
                yield behind.pop().result()
            behind.append(writer.submit(finish))
        if behind:
            yield behind.pop().result()
