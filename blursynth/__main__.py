"""``python -m blursynth``, and the ``blursynth`` command."""

import os
import signal
from types import FrameType
from typing import NoReturn

__all__ = ["main"]


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    os.write(2, b"interrupted\n")
    os._exit(130)


def main() -> NoReturn:
    """Run the command line; Ctrl-C while it is being loaded, when nothing is begun yet, ends it at once."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not of a job in the background
        signal.signal(signal.SIGINT, _leave)
    from blursynth.cli.main import main as run  # noqa: PLC0415  # takes a moment

    run()


if __name__ == "__main__":
    main()
