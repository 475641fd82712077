"""How much memory there is, and how much of it a network takes for a pixel."""

import math
import os
from pathlib import Path

import torch
from torch import Tensor, nn

__all__ = ["bytes_per_pixel", "free_bytes", "free_gpu_bytes"]

_CGROUP = Path("/sys/fs/cgroup")
_PROBE_PX = 64
_LIVE_LAYERS = 8  # outputs of the widest layer that lie in memory at once, skip connections and padding included


def free_bytes(limit_bytes: int | None = None) -> int:
    """Return how much more memory this process may take: what is free on the machine, or is left of a limit.

    Parameters
    ----------
    limit_bytes
        What the whole process may take. Without it, a container's own limit counts too (Linux control groups, version
        2).
    """
    free = _free_on_machine()
    if limit_bytes is not None:
        import psutil  # noqa: PLC0415  # what trains on photographs does without

        return min(free, limit_bytes - int(psutil.Process().memory_info().rss))
    try:
        allowed, used = (int((_CGROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        return min(free, allowed - used + _reclaimable())
    except (OSError, ValueError):  # no such limit, or "max"
        return free


def _free_on_machine() -> int:
    try:
        import psutil  # noqa: PLC0415
    except ImportError:  # without what the system would give back of its cache of files
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return int(psutil.virtual_memory().available)


def _reclaimable() -> int:
    """Return how much of a container's memory is files that were read, which the kernel drops when room is wanted."""
    try:
        lines = (_CGROUP / "memory.stat").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
    except (OSError, ValueError, IndexError, StopIteration):
        return 0


def free_gpu_bytes(device: torch.device) -> int:
    """Return how much more memory this process can have of a CUDA device; what torch keeps for later counts as free."""
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + kept


def bytes_per_pixel(network: nn.Module, size_multiple: int) -> float:
    """Estimate what a network needs for each pixel of an image when it restores it in float32.

    Parameters
    ----------
    network
        In evaluation mode. It is run once, on a small image.
    size_multiple
        What the sides of its images must be multiples of, in px.

    Notes
    -----
    Eight outputs of its widest layer; a `Lite` was measured at 0.65 to 1.05 of that.
    """
    widest = 0

    def watch(_module: nn.Module, _inputs: object, output: object) -> None:
        nonlocal widest
        if isinstance(output, Tensor):
            widest = max(widest, output.numel())

    hooks = [module.register_forward_hook(watch) for module in network.modules()]
    side = max(_PROBE_PX, size_multiple)
    device = next((tensor.device for tensor in network.parameters()), None)
    try:
        with torch.inference_mode():
            network(torch.zeros(1, 3, side, side, device=device))
    finally:
        for hook in hooks:
            hook.remove()
    return math.ceil(4 * _LIVE_LAYERS * widest / side**2)
