"""Where to compute."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal

import torch

from blursynth.errors import DeviceError, MachineError

_DEVICES = ("cpu", "cuda", "mps", "xpu")

__all__ = [
    "Precision",
    "autocast",
    "choose_device",
    "computes_bfloat16",
    "fastest_convolutions",
    "is_out_of_memory",
    "memory_errors",
]

Precision = Literal["auto", "float32", "bfloat16"]
# Of RuntimeErrors: on the CPU, by CUDA outside of torch's own allocator, wrapped by a compiler, by libraries, by MPS.
_OUT_OF_MEMORY = (
    "can't allocate memory",
    "CUDA error: out of memory",
    "CUDA out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "backend out of memory",
)
_BFLOAT16_UNITS = ("avx512_bf16", "amx_bf16", "bf16")  # of x86 and of ARM


def choose_device(name: str = "auto") -> torch.device:
    """Return the device of a name; ``auto`` is CUDA if it is there, then the CPU.

    Raises
    ------
    DeviceError
        If that device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type not in _DEVICES:
            raise DeviceError(f"device {name!r} is not one of {', '.join(_DEVICES)}")
        if device.type == "cuda" and not torch.cuda.is_available():
            raise DeviceError("device cuda: torch sees no GPU; --device cpu works everywhere")
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise DeviceError(f"device {name!r} is not there; --device auto takes what is") from error
    return device


def autocast(device: torch.device, precision: Precision = "auto") -> AbstractContextManager[object]:
    """Compute in bfloat16 where that is safe, or in float32.

    Parameters
    ----------
    precision
        ``auto`` is bfloat16 on CUDA, if the GPU has units for it (NVIDIA's since Ampere), and float32 elsewhere.
    """
    is_low = precision == "bfloat16" or (precision == "auto" and device.type == "cuda" and computes_bfloat16(device))
    return torch.autocast(device.type, torch.bfloat16) if is_low else nullcontext()


def computes_bfloat16(device: torch.device) -> bool:
    """Return whether a device has units for bfloat16; without them it computes more slowly in it than in float32.

    Of a CPU, torch tells since 2.10; an older one is believed to have them.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):
        return True
    found = torch.cpu.get_capabilities()
    return any(found.get(name, False) for name in _BFLOAT16_UNITS)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, of a GPU or of the machine."""
    is_named = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return is_named or any(words in str(error) for words in _OUT_OF_MEMORY)


@contextmanager
def fastest_convolutions(device: torch.device) -> Iterator[None]:
    """Let cuDNN try, for each size of images that comes, which of its algorithms is the fastest; for few sizes."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = before or device.type == "cuda"
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


@contextmanager
def memory_errors(remedy: str) -> Iterator[None]:
    """Turn "out of memory", of a GPU or of the machine, into a MachineError that says what to do.

    So does a process killed beside us while it read data, which the kernel does when memory runs out. PyTorch raises
    that wherever this process happens to be.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise MachineError(f"out of GPU memory: {remedy}") from error
    except MemoryError as error:
        raise MachineError(f"out of memory: {remedy}") from error
    except RuntimeError as error:
        if str(error).startswith("DataLoader worker"):
            raise MachineError(f"a process that reads data was killed, perhaps for its memory: {remedy}") from error
        if not is_out_of_memory(error):
            raise
        raise MachineError(f"out of memory: {remedy}") from error
