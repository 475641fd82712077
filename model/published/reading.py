"""Files of PyTorch that somebody else wrote: the tensors come out, and no code in them is ever run."""

import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from blursynth.errors import CheckpointError
from blursynth.files import check_regular_file, printable

__all__ = ["MAX_BYTES", "is_torch_file", "read_state"]

MAX_BYTES = 2 << 30
_ZIP = b"PK\x03\x04"
_BEFORE_ZIP = bytes.fromhex("80028a0a6cfc9c46f9206aa85019")  # PyTorch's magic number, pickled: files before 1.6
# Under which names programs put the weights, the averaged ones first.
_WRAPPERS = ("params_ema", "params", "state_dict", "model_state_dict", "model", "G")


def is_torch_file(path: Path) -> bool:
    """Return whether a file begins as ``torch.save`` begins its files.

    Raises
    ------
    CheckpointError
        If the file cannot be read.
    """
    check_regular_file(path, CheckpointError)
    with path.open("rb") as file:
        head = file.read(len(_BEFORE_ZIP))
    return head.startswith(_ZIP) or head == _BEFORE_ZIP


def read_state(path: Path) -> dict[str, Tensor]:
    """Read the weights of a file that ``torch.save`` wrote.

    Returns
    -------
    Names and dense floating tensors in the CPU's memory, all finite in float32, below 2 GB together. What wraps them,
    and a ``module.`` that all names begin with, is taken off.

    Raises
    ------
    CheckpointError
        If the file holds anything else, or code; the code is not run.
    """
    if not is_torch_file(path):
        raise CheckpointError(f"{printable(path)}: not a file of PyTorch weights")
    _check_size(path)
    state = _unwrapped(path, _load(path))
    _check_tensors(path, state)
    return _without_prefix(state)


def _check_size(path: Path) -> None:
    """Refuse what is too large, or would be once it is unpacked, and archives with the weights inside."""
    num_bytes = path.stat().st_size
    if zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                entries = archive.infolist()
        except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
            raise CheckpointError(f"{printable(path)}: damaged or cut short") from error
        inside = [entry.filename for entry in entries]
        if not any(name.endswith("/data.pkl") for name in inside):
            weights = [name for name in inside if name.endswith((".pt", ".pth"))]
            hint = f"; unpack it and choose a file such as {printable(weights[0])}" if weights else ""
            raise CheckpointError(f"{printable(path)}: a ZIP archive, not a file of PyTorch weights{hint}")
        num_bytes = max(num_bytes, sum(entry.file_size for entry in entries))
    if num_bytes > MAX_BYTES:
        raise CheckpointError(f"{printable(path)}: {num_bytes / 1e9:.1f} GB, more than any network that is known here")


def _load(path: Path) -> object:
    try:
        with warnings.catch_warnings(), path.open("rb") as file:  # of a name, PyTorch would look at the ending
            warnings.simplefilter("ignore")  # about PyTorch's own old storages
            return torch.load(file, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{printable(path)}: {_why_not_unpickled(str(error))}") from error
    except Exception as error:  # what a damaged file raises is anything: KeyError, EOFError, RuntimeError, …
        if "TorchScript" in str(error):
            raise CheckpointError(
                f"{printable(path)}: a TorchScript program, which is code and is not run; only weights are read"
            ) from error
        raise CheckpointError(f"{printable(path)}: damaged or cut short, or not a file of PyTorch weights") from error


def _why_not_unpickled(message: str) -> str:
    """Tell code, which PyTorch names as a global that it does not know, from damage."""
    if "GLOBAL" in message or "global" in message:
        return "holds code or objects beside the weights, and code from a file is never run; save the state dict alone"
    return "damaged, or not a file of PyTorch weights"


def _unwrapped(path: Path, content: object) -> dict[str, Tensor]:
    for _ in range(len(_WRAPPERS)):  # a wrapper may lie in a wrapper, but not for ever
        if not isinstance(content, Mapping):
            break
        if content and all(type(name) is str and isinstance(value, Tensor) for name, value in content.items()):
            return dict(content)
        content = next((content[name] for name in _WRAPPERS if isinstance(content.get(name), Mapping)), None)
    names = ", ".join(_WRAPPERS)
    raise CheckpointError(f"{printable(path)}: no weights in it, neither alone nor below one of {names}")


def _check_tensors(path: Path, state: Mapping[str, Tensor]) -> None:
    """Refuse all that is not an ordinary tensor before anything is computed with it."""
    num_bytes = 0
    for name, tensor in state.items():
        what = _what_is_wrong(tensor)
        if what:
            raise CheckpointError(f"{printable(path)}: {_short(name)} is {what}")
        num_bytes += tensor.numel() * max(4, tensor.element_size())  # its values may repeat without taking space
    if num_bytes > MAX_BYTES:
        raise CheckpointError(f"{printable(path)}: its weights would take {num_bytes / 1e9:.1f} GB")
    for name, tensor in state.items():
        if not torch.isfinite(tensor.float()).all():
            raise CheckpointError(f"{printable(path)}: {_short(name)} holds values that are not finite")


def _what_is_wrong(tensor: Tensor) -> str:
    if type(tensor) not in {Tensor, nn.Parameter} or tensor.layout != torch.strided or tensor.is_quantized:
        return "not a dense tensor"
    if tensor.device.type != "cpu":
        return "a tensor without values"
    return "" if tensor.is_floating_point() else f"{tensor.dtype}; weights are floating-point numbers"


def _without_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    while all(name.startswith("module.") for name in state):  # of DataParallel
        state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    return state


def _short(name: Any) -> str:
    return printable(str(name)[:100])
