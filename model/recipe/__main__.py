"""``python -m blursynth.model.recipe``."""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from blursynth.errors import BlursynthError

from ..bundled import WEIGHTS
from ..online.packing import pack_photos
from .budget import Budget
from .making import make_weights
from .photographs import wanted

__all__ = ["main"]

_TELL_SECONDS = 15.0


class _Lines:
    """Tells of work on stderr, a line a quarter of a minute."""

    def note(self, message: str) -> None:
        sys.stderr.write(f"{message}\n")

    @contextmanager
    def task(self, label: str, total: float, unit: str) -> Iterator[Callable[[float, str], None]]:
        done, told = 0.0, time.monotonic()

        def advance(step: float, remark: str) -> None:
            nonlocal done, told
            done += step
            if time.monotonic() > told + _TELL_SECONDS:
                told = time.monotonic()
                self.note(f"{label}: {done:.0f} of {total:.0f} {unit}  {remark}")

        yield advance


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the recipe from a shell; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m blursynth.model.recipe", description="Make the default weights.")
    parser.add_argument("photos", nargs="+", help="files, folders, or one pack")
    parser.add_argument("-o", "--output", type=Path, default=Path("weights-run"), help="folder for what lies between")
    parser.add_argument("--pack", type=Path, metavar="FILE", help="only put the photographs into one file, and stop")
    parser.add_argument("--minutes", type=float, default=25.0, help="of training")
    parser.add_argument("--sizes", default="tiny", help="tiny, base, or both with a comma")
    parser.add_argument("--exclude", action="append", default=[], metavar="PATTERN", help="names to leave out")
    parser.add_argument("--init", metavar="NAME|FILE", help="weights to begin with: a bundled name or a checkpoint")
    parser.add_argument("--online", action="store_true", help="shake while training; so it is on a GPU anyway")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--pairs", type=Path, help="folder with blur/ and sharp/ to score with")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="where the results go")
    options = parser.parse_args(arguments)
    progress = _Lines()
    try:
        if options.pack:
            pack_photos(wanted(options.photos, options.exclude), options.pack)
            return 0
        made = make_weights(
            options.photos,
            options.output,
            Budget(options.minutes, tuple(options.sizes.split(",")), options.device, options.init, options.online),
            exclude=options.exclude,
            pairs=options.pairs,
            weights=options.weights,
            progress=progress,
        )
    except BlursynthError as error:
        progress.note(f"error: {error}")
        return error.exit_code
    for each in made:
        sys.stdout.write(f"{each.path}\n")
        for key, value in each.scores.items():
            sys.stdout.write(f"  {key}: {value}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
