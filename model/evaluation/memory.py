"""How much memory restoring one image takes at most."""

from contextlib import suppress
from pathlib import Path

import torch

__all__ = ["MEMORY_DEFINITION", "PeakMemory"]

_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
_RESET_PEAK = "5"  # see proc_pid_clear_refs(5)
MEMORY_DEFINITION = (
    "the most while one image is restored: on CUDA what PyTorch allocates, on the CPU the whole process (Linux)"
)


class PeakMemory:
    """Watches the memory of a device, or of this process if the device is the CPU; see MEMORY_DEFINITION."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._is_known = device.type == "cuda"

    def restart(self) -> None:
        """Forget the peak so far."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        elif self._device.type == "cpu":
            self._is_known = False
            with suppress(OSError):  # Linux alone has it
                _CLEAR.write_text(_RESET_PEAK, encoding="ascii")
                self._is_known = True

    def num_bytes(self) -> int | None:
        """Return the peak since `restart`; None where it cannot be known."""
        if not self._is_known:
            return None
        if self._device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self._device))
        lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)
