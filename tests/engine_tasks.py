"""What the tests of the engine run elsewhere: quick to import there."""

import os
import signal
import threading
import time
from pathlib import Path

from blursynth.errors import OutputError, VideoError
from blursynth.files import replacing


def square(number: int) -> int:
    return number * number


def slow_first(number: int) -> int:
    time.sleep(0.5 if number == 0 else 0)
    return number


def fail_by_number(number: int) -> object:
    if number == 1:
        raise VideoError("clip.mp4: cut short")
    if number == 2:
        raise KeyError("two\nlines")
    if number == 3:
        raise OutputError(28, "No space left on device")
    if number == 4:
        return threading.Lock()
    return number


def die_once_or_always(task: tuple[int, str]) -> int:
    """Kill the worker: task 3 the first time that it is tried, task 5 each time."""
    number, folder = task
    marker = Path(folder, "died")
    if number == 5 or (number == 3 and not marker.exists()):
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def threads_of_libraries(_: int) -> tuple[str, int, int]:
    import cv2
    import numba

    return os.environ["OMP_NUM_THREADS"], numba.get_num_threads(), cv2.getNumThreads()


def fail_or_write(task: tuple[str, int]) -> None:
    """Fail with the first number, when the other's worker is in the middle of a file that it will not finish."""
    folder, number = Path(task[0]), task[1]
    begun = folder / "begun"
    if number == 0:
        while not begun.exists():
            time.sleep(0.01)
        raise OutputError("the disk is full")
    with replacing(folder / "shard") as temporary:
        temporary.write_bytes(b"half")
        begun.touch()
        time.sleep(60)


def out_of_memory(_: int) -> bytes:
    return bytes(1 << 60)


def last_worker_dies(task: tuple[int, str]) -> tuple[int, int]:
    """Kill the second of two workers while it works, the first time."""
    number, folder = task
    time.sleep(0.05)
    marker = Path(folder, "died")
    if number >= 10 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number, os.getpid()


def slow_and_where(_: int) -> int:
    time.sleep(0.2)
    return os.getpid()
