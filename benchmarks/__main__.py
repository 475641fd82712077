"""Run the benchmarks: ``python -m benchmarks [make|options|loader|deblur …]``."""

import sys
import tempfile
from pathlib import Path

from benchmarks import deblur, loader, make, options

BENCHMARKS = {"make": make.run, "options": options.run, "loader": loader.run, "deblur": deblur.run}

if __name__ == "__main__":
    for name in sys.argv[1:] or BENCHMARKS:
        with tempfile.TemporaryDirectory(prefix="blursynth-bench-") as folder:
            BENCHMARKS[name](Path(folder))
