"""The weights that come with blursynth: which there are, and that their bytes are those that were made.

``weights/index.json`` names each file with its SHA-256; `docs/default-model.md` and the cards beside the files tell how
they were made.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from blursynth.errors import CheckpointError
from blursynth.files import check_regular_file, make_directory, printable, sha256_of, write_bytes

from .checkpoint import Checkpoint, load_checkpoint, restore_network, save_checkpoint
from .networks import Network

__all__ = [
    "WEIGHTS",
    "InitialWeights",
    "bundle",
    "bundled_names",
    "initial_weights",
    "is_bundled",
    "load_bundled",
]

WEIGHTS = Path(__file__).parent / "weights"
_INDEX = "index.json"


def bundled_names(folder: Path = WEIGHTS) -> tuple[str, ...]:
    """Return the names of the weights that are there, the default first."""
    return tuple(_read_index(folder))


@cache
def _read_index(folder: Path) -> dict[str, dict[str, str]]:
    try:
        index: dict[str, dict[str, str]] = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{printable(folder / _INDEX)}: the installation is damaged; install again") from error
    return index


def load_bundled(name: str, folder: Path = WEIGHTS) -> Network:
    """Load the network of weights that come with blursynth.

    Raises
    ------
    CheckpointError
        If there are none of that name, or the file is not the one that was made (SHA-256).
    """
    index = _read_index(folder)
    if name not in index:
        known = ", ".join(index) or "none"
        raise CheckpointError(f"{printable(name)}: no weights of this name come with blursynth; there are: {known}")
    path = folder / index[name]["file"]
    check_regular_file(path, CheckpointError)
    if hashlib.sha256(path.read_bytes()).hexdigest() != index[name]["sha256"]:
        raise CheckpointError(f"{printable(path)}: differs from what was made; install blursynth again")
    return restore_network(load_checkpoint(path))


@dataclass(frozen=True, slots=True, eq=False)
class InitialWeights:
    """A network to train on, what its weights are called, and the SHA-256 of their file: names change, bytes do not."""

    network: Network
    name: str
    sha256: str


def initial_weights(model: str, folder: Path = WEIGHTS) -> InitialWeights:
    """Load what to begin with: weights that come with blursynth, by their name, or a checkpoint of ours.

    Raises
    ------
    CheckpointError
        If it is not there or cannot be used.
    """
    if is_bundled(model, folder):
        return InitialWeights(load_bundled(model, folder), model, _read_index(folder)[model]["sha256"])
    path = Path(model)
    return InitialWeights(restore_network(load_checkpoint(path)), path.name, sha256_of(path))


def is_bundled(model: str, folder: Path = WEIGHTS) -> bool:
    """Return whether a text is to be taken for a name of weights that come with blursynth, and not for a file."""
    return model in bundled_names(folder) or not Path(model).exists()


def bundle(name: str, checkpoint: Checkpoint, card: str, folder: Path = WEIGHTS) -> Path:
    """Write weights to be shipped: float16, without what only a resumed run needs, with their card and hash.

    Weights of half precision make a file of half the size; what they restore differs by less than one 8-bit code.

    Parameters
    ----------
    name
        What `load_bundled` is to find them by. The first name of the index is the default.
    checkpoint
        Weights as they are used.
    card
        Markdown.

    Returns
    -------
    The file of weights.
    """
    make_directory(folder)
    path = folder / f"{name}.safetensors"
    slim = Checkpoint(
        network=checkpoint.network,
        weights={key: tensor.half() for key, tensor in checkpoint.weights.items()},
        training=checkpoint.training,
        progress=checkpoint.progress,
        scores=checkpoint.scores,
    )
    save_checkpoint(path, slim)
    write_bytes(folder / f"{name}.md", card.encode(), overwrite=True)
    index = _read_index(folder) if (folder / _INDEX).exists() else {}
    entry = {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    text = json.dumps({**index, name: entry}, indent=2)
    write_bytes(folder / _INDEX, f"{text}\n".encode(), overwrite=True)
    _read_index.cache_clear()
    return path
