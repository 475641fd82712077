"""Run the benchmarks: ``python -m benchmarks [make|options|loader|exchange|train|deblur|interpolation …]``."""

import sys
import tempfile
from pathlib import Path

from benchmarks import deblur, exchange, interpolation, loader, make, options, train

BENCHMARKS = {
    "make": make.run,
    "options": options.run,
    "loader": loader.run,
    "exchange": exchange.run,
    "train": train.run,
    "deblur": deblur.run,
}
ON_REQUEST = {"interpolation": interpolation.run}  # takes many minutes, nearly all of them FFmpeg's

if __name__ == "__main__":
    for name in sys.argv[1:] or BENCHMARKS:
        with tempfile.TemporaryDirectory(prefix="blursynth-bench-") as folder:
            (BENCHMARKS | ON_REQUEST)[name](Path(folder))
