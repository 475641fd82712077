"""Small arrays on their way to the device."""

import torch
from torch import Tensor

__all__ = ["sent"]


def sent(values: Tensor, device: torch.device) -> Tensor:
    """Send to the device without waiting for the work that it still does."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)
