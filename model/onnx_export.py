"""Networks as ONNX files, for programs without PyTorch."""

import copy
import importlib
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

import blursynth
from blursynth.errors import BlursynthError, DeviceError, SettingsError
from blursynth.files import printable, refuse_existing, write_bytes

from .published import AnyNetwork

__all__ = ["OnnxFile", "export_onnx"]

_OPSET = 18  # the first one with all that the networks need; newer ones are understood by fewer programs
_TOLERANCE = 1e-4
_LIBRARIES = ("onnx", "onnxscript", "onnxruntime")
_TALKATIVE = ("torch.onnx", "onnxscript", "onnx_ir")


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """What `export_onnx` wrote.

    ``size_multiple`` is what the sides of the images must be multiples of, in px; ``max_difference`` how far ONNX
    Runtime and PyTorch were apart on random images, where 1 is white.
    """

    path: Path
    num_bytes: int
    opset: int
    size_multiple: int
    max_difference: float


def export_onnx(
    network: AnyNetwork,
    path: Path,
    *,
    licence: str = "unspecified",
    checkpoint_sha256: str = "unknown",
    overwrite: bool = False,
) -> OnnxFile:
    """Write a network as an ONNX file, after ONNX Runtime has computed with it what PyTorch computes.

    Parameters
    ----------
    network
        Left as it is.
    path
        Ends in ``.onnx``. Its folder must exist.
    licence, checkpoint_sha256
        Of the weights, for the file's metadata.
    overwrite
        Replace a file that is there.

    Returns
    -------
    What was written.

    Raises
    ------
    DeviceError
        If a library is missing: the extra ``onnx`` brings them.
    SettingsError
        If the file is there already or its name ends otherwise.
    OutputError
        If the disk says no.
    BlursynthError
        If the file would compute something else.

    Notes
    -----
    Input ``blurry`` and output ``sharp`` are (N, 3, H, W) float32, R'G'B' in [0, 1]; N is free, H and W are multiples
    of ``size_multiple``. The output is the finest scale, not clipped. Images of other sizes are padded at the right and
    at the bottom, by reflection, and the result is cut back. The metadata say so too, and hold the name and size of the
    network, the licence, the SHA-256 of the checkpoint and the version of blursynth.
    """
    if path.suffix != ".onnx":
        raise SettingsError(f"{printable(path)}: the name of an ONNX file ends in .onnx")
    refuse_existing(path, overwrite=overwrite)
    onnx, onnxruntime = _libraries()
    network = copy.deepcopy(network).cpu().float().eval()
    model = _exported(network)
    _describe(model, network, {"licence": licence, "checkpoint_sha256": checkpoint_sha256})
    onnx.checker.check_model(model)
    content = model.SerializeToString(deterministic=True)
    difference = _max_difference(onnxruntime, content, network)
    if not difference < _TOLERANCE:  # nor is NaN
        raise BlursynthError(
            f"{printable(path)}: not written, as ONNX Runtime and PyTorch differ by {difference:.1g}; "
            f"torch {torch.__version__} and onnx {onnx.__version__} do not seem to fit together"
        )
    write_bytes(path, content, overwrite=overwrite)
    return OnnxFile(path, len(content), _OPSET, network.size_multiple, difference)


def _libraries() -> tuple[ModuleType, ModuleType]:
    """Return onnx and onnxruntime."""
    try:
        onnx, _, onnxruntime = (importlib.import_module(name) for name in _LIBRARIES)
    except ImportError as error:
        raise DeviceError(f"ONNX files need {', '.join(_LIBRARIES)}: pip install 'blursynth[onnx]'") from error
    return onnx, onnxruntime


class _Finest(nn.Module):
    """A network without its coarser scales."""

    def __init__(self, network: AnyNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, blurry: Tensor) -> Tensor:
        finest: Tensor = self.network(blurry)[0]
        return finest


def _exported(network: AnyNetwork) -> Any:
    """Return the network as a model of ONNX, with nothing in it that tells where it was made."""
    multiple = network.size_multiple
    sizes = {0: Dim("batch"), 2: multiple * Dim("rows"), 3: multiple * Dim("columns")}
    example = torch.zeros(2, 3, 3 * multiple, 4 * multiple)  # a dimension of 1 would be taken for a constant
    with _quiet():
        program = torch.onnx.export(
            _Finest(network).eval(),
            (example,),
            dynamo=True,
            verbose=False,
            opset_version=_OPSET,
            external_data=False,
            input_names=["blurry"],
            output_names=["sharp"],
            dynamic_shapes={"blurry": sizes},
        )
    assert program is not None  # noqa: S101  # it is only where a path is given
    model = program.model_proto
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output, model.graph):
        del part.metadata_props[:]  # stack traces, with the paths of this machine
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep PyTorch's warnings about its own code to itself."""
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _describe(model: Any, network: AnyNetwork, values: dict[str, str]) -> None:
    multiple = network.size_multiple
    values = {
        "name": type(network).__name__,
        "network": json.dumps(asdict(network.config), sort_keys=True),
        "size_multiple": str(multiple),
        "padding": f"right and bottom by reflection to multiples of {multiple} px; cut the result back",
        "range": "R'G'B' in [0, 1]; clip the result",
        "blursynth_version": blursynth.__version__,
        **values,
    }
    model.producer_name, model.producer_version = "blursynth", blursynth.__version__
    del model.metadata_props[:]
    for key, value in sorted(values.items()):
        model.metadata_props.add(key=key, value=value)


@torch.inference_mode()
def _max_difference(onnxruntime: ModuleType, content: bytes, network: AnyNetwork) -> float:
    """Compare on images of two sizes, neither of them that of the export; relative where values are beyond [0, 1]."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    multiple = network.size_multiple
    worst = torch.zeros(())
    for num_images, rows, columns in ((1, 2, 5), (3, 4, 1)):
        blurry = torch.rand((num_images, 3, rows * multiple, columns * multiple), generator=generator)
        expected = network(blurry)[0]
        (found,) = session.run(["sharp"], {"blurry": blurry.numpy()})
        unit = expected.abs().max().clamp(min=1)
        worst = torch.maximum(worst, (torch.from_numpy(found) - expected).abs().max() / unit)
    return float(worst)
