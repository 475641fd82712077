"""How much memory there is, and how much of it a network takes for a pixel."""

import math
from pathlib import Path

import psutil
import torch
from torch import Tensor, nn

__all__ = ["bytes_per_pixel", "free_bytes"]

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
    free = psutil.virtual_memory().available
    if limit_bytes is not None:
        return int(min(free, limit_bytes - psutil.Process().memory_info().rss))
    try:
        allowed, used = ((_CGROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
        return int(min(free, int(allowed) - int(used)))
    except (OSError, ValueError):  # no such limit, or "max"
        return int(free)


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
