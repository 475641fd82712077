"""Checkpoints: tensors and plain values in one safetensors file; never a pickled object.

The header carries one JSON text: schema, network, training settings, step, scores, and a SHA-256 of it and
all tensors, since safetensors does not notice a flipped bit.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

import blursynth
from blursynth.errors import CheckpointError
from blursynth.files import check_regular_file, newest_first, printable, write_bytes

from .mscnn import MSCNNConfig
from .networks import Network, NetworkConfig, build_network, describe_network, read_config

__all__ = [
    "CHECKPOINT_SCHEMA",
    "Checkpoint",
    "load_checkpoint",
    "newest_checkpoint",
    "restore_network",
    "save_checkpoint",
]

CHECKPOINT_SCHEMA = 1
_MAX_HEADER_BYTES = 64 << 20
_MAX_DEPTH = 8  # of lists in lists
_WEIGHTS = "weights"
_TENSORS = (_WEIGHTS, "optimizer", "average", "discriminator")  # fields; with a dot, prefixes of names in the file


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A network, and what is needed to go on training it.

    ``training`` holds the settings, ``progress`` the step, the elapsed seconds and the like, ``scores`` the validation,
    all as plain values. The others map names to tensors. ``weights`` are those to use; what only a resumed run needs is
    empty in a checkpoint that is only for use: ``optimizer``, and where the run has them, the running mean of the
    weights (``average``) and the second player of adversarial training (``discriminator``, with its optimiser).
    """

    network: NetworkConfig
    weights: Mapping[str, Tensor]
    training: Mapping[str, Any] = field(default_factory=dict)
    progress: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Any] = field(default_factory=dict)
    optimizer: Mapping[str, Tensor] = field(default_factory=dict)
    average: Mapping[str, Tensor] = field(default_factory=dict)
    discriminator: Mapping[str, Tensor] = field(default_factory=dict)


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint in one step; the one that was there stays until this one is whole.

    Raises
    ------
    OutputError
        If the disk says no.
    """
    tensors = {
        f"{kind}.{name}": tensor.detach().cpu().contiguous()
        for kind in _TENSORS
        for name, tensor in getattr(checkpoint, kind).items()
    }
    values = {
        "schema": CHECKPOINT_SCHEMA,
        "blursynth_version": blursynth.__version__,
        "network": describe_network(checkpoint.network),
        "training": dict(checkpoint.training),
        "progress": dict(checkpoint.progress),
        "scores": dict(checkpoint.scores),
    }
    text = json.dumps({**values, "sha256": _digest(tensors, values)}, sort_keys=True)
    write_bytes(path, safetensors.torch.save(tensors, {"blursynth": text}), overwrite=True)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint and check every byte of it.

    Raises
    ------
    CheckpointError
        If the file is not a checkpoint of ours, is damaged, or its weights are not finite.
    """
    status = check_regular_file(path, CheckpointError)
    with path.open("rb") as file:
        head = file.read(9)
    header_bytes = int.from_bytes(head[:8], "little")
    if len(head) < 9 or head[8:9] != b"{" or not 2 <= header_bytes <= min(_MAX_HEADER_BYTES, status.st_size - 8):
        raise CheckpointError(f"{printable(path)}: not a checkpoint of blursynth (a safetensors file)")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
    except MemoryError:
        raise
    except Exception as error:  # what a forged header makes readers raise is nearly anything
        raise CheckpointError(f"{printable(path)}: not a checkpoint of blursynth, or cut short") from error
    try:
        return _parsed(tensors, metadata)
    except CheckpointError as error:
        raise CheckpointError(f"{printable(path)}: {printable(str(error))}; it cannot be used") from error
    except MemoryError:
        raise
    except Exception as error:
        why = f"its description cannot be read ({printable(str(error)[:200])})"
        raise CheckpointError(f"{printable(path)}: {why}; it cannot be used") from error


def _parsed(tensors: dict[str, Tensor], metadata: Mapping[str, str]) -> Checkpoint:
    if "blursynth" not in metadata:
        raise CheckpointError("a safetensors file, but not a checkpoint of blursynth")
    values = json.loads(metadata["blursynth"])
    if _depth(values) > _MAX_DEPTH:
        raise CheckpointError("its description is nested deeper than any of ours")
    if values["schema"] != CHECKPOINT_SCHEMA:
        raise CheckpointError(f"schema {values['schema']!r}; this version reads schema {CHECKPOINT_SCHEMA}")
    if values.pop("sha256") != _digest(tensors, values):
        raise CheckpointError("it differs from what was written: the file is damaged")
    checkpoint = Checkpoint(
        network=read_config(values["network"]),
        training=dict(values["training"]),
        progress=dict(values["progress"]),
        scores=dict(values["scores"]),
        **{kind: _with_prefix(tensors, f"{kind}.") for kind in _TENSORS},
    )
    _empty_network(checkpoint)
    for kind in (_WEIGHTS, "average"):
        for name, tensor in getattr(checkpoint, kind).items():
            if not torch.isfinite(tensor.float()).all():
                raise CheckpointError(f"{name} holds values that are not finite")
    return checkpoint


def _depth(values: object) -> int:
    inside = list(values.values()) if isinstance(values, dict) else values
    return 1 + max(map(_depth, inside), default=0) if isinstance(inside, list) else 0


def _with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _digest(tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def restore_network(checkpoint: Checkpoint) -> Network:
    """Build the network of a checkpoint with its weights.

    Raises
    ------
    CheckpointError
        If the weights are not those of the network that the checkpoint names.
    """
    network = _empty_network(checkpoint)
    network.load_state_dict(checkpoint.weights, assign=True)
    return network.float()


def _empty_network(checkpoint: Checkpoint) -> Network:
    """Build the network without memory for its weights, and check that those of the checkpoint belong there."""
    config = checkpoint.network
    blocks = (
        config.num_scales * config.num_blocks
        if isinstance(config, MSCNNConfig)
        else len(config.channels) + sum(config.encoder_blocks + config.decoder_blocks)
    )
    if blocks > len(checkpoint.weights):  # each has some; a number made up could keep us building for hours
        raise CheckpointError(
            f"checkpoint does not fit its network: {blocks} blocks, {len(checkpoint.weights)} weights"
        )
    try:
        with torch.device("meta"):
            network = build_network(config)
    except (RuntimeError, TypeError) as error:  # sides beyond what a tensor can have
        raise CheckpointError("checkpoint names a network of impossible size") from error
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in checkpoint.weights.items()}
    if expected != found:
        name = min(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        raise CheckpointError(
            f"checkpoint does not fit its network: {name} is {found.get(name)}, expected {expected.get(name)}"
        )
    for name, tensor in checkpoint.weights.items():
        if not tensor.is_floating_point():
            raise CheckpointError(f"checkpoint does not fit its network: {name} is {tensor.dtype}")
    return network


def newest_checkpoint(runs: Path) -> Path:
    """Return the best checkpoint of the run that improved last.

    Raises
    ------
    CheckpointError
        If there is none; it says how to make one.
    """
    found = newest_first(list(runs.glob("*/best.safetensors"))) if runs.is_dir() else []
    if not found:
        raise CheckpointError(
            f"no trained network in {printable(runs)}/: run 'blursynth train shards/' first, or use --checkpoint"
        )
    return found[0]
