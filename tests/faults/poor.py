"""Workers that get little memory; this module is quick to import, since they do."""

import os
import resource
import threading
from pathlib import Path
from typing import Any

__all__ = ["starve_workers"]

_SPARE = "FAULTS_SPARE_MB"
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def starve_workers(spare_mb: int) -> None:
    """Let worker processes of this one take so much more address space than they begin with; for `Launcher.start`."""
    from blursynth.engine import running  # not in the workers

    untyped: Any = running
    untyped._die_with = _be_poor
    os.environ[_SPARE] = str(spare_mb)


def _be_poor(_parent: int) -> None:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * _PAGE_BYTES + (int(os.environ[_SPARE]) << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    threading.stack_size(1 << 20)
