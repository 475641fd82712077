"""Networks with weights that others have published.

`load_published` reads a file of PyTorch, `load_any` a file of PyTorch or a checkpoint of ours, `load_network` those and
what comes with blursynth.
"""

from pathlib import Path

from blursynth.model.bundled import bundled_names, is_bundled, load_bundled
from blursynth.model.checkpoint import load_checkpoint, restore_network
from blursynth.model.networks import Network

from .deepdeblur import CentredMSCNN, deepdeblur_network
from .nafnet import NAFNet, is_nafnet, nafnet_network
from .reading import is_torch_file, read_state

__all__ = ["AnyNetwork", "CentredMSCNN", "NAFNet", "load_any", "load_network", "load_published"]

_DEFAULT = "tiny"

AnyNetwork = Network | NAFNet


def load_published(path: Path, *, rgb_range: float = 255.0) -> CentredMSCNN | NAFNet:
    """Read weights in the layout of DeepDeblur-PyTorch (Nah et al., CVPR 2017) or of NAFNet (Chen et al., ECCV 2022).

    Parameters
    ----------
    path
        A file of ``torch.save``, of the format before or since PyTorch 1.6. It holds a plain state dict, or that below
        ``G``, ``state_dict``, ``params`` or ``model``; names may begin with ``module.``. Weights are float16, bfloat16,
        float32 or float64; the size of the network is that of the weights.
    rgb_range
        The code of white in the images that weights of DeepDeblur-PyTorch were trained with: its option
        ``--rgb_range``, which a file of weights does not tell. Its default, and that of the weights it offers, is 255.

    Returns
    -------
    A network in evaluation mode, float32, for images in [0, 1] as all of ours, whatever ``rgb_range`` is.

    Raises
    ------
    CheckpointError
        If the file holds anything but tensors and plain values (code in it is never run), if it is damaged or too
        large, or its weights are not finite or not those of such a network; the message names the file.
    SettingsError
        If ``rgb_range`` is not from 1 to 65535.
    """
    state = read_state(path)
    return nafnet_network(path, state) if is_nafnet(state) else deepdeblur_network(path, state, rgb_range)


def load_any(path: Path) -> AnyNetwork:
    """Load the network of a checkpoint of ours, or of weights that `load_published` reads; the content decides.

    Raises
    ------
    CheckpointError
        If it is neither, or cannot be used.
    """
    return load_published(path) if is_torch_file(path) else restore_network(load_checkpoint(path))


def load_network(model: str | Path | None = None) -> AnyNetwork:
    """Load the network of a name or a file.

    Parameters
    ----------
    model
        A name among those that come with blursynth, or a checkpoint or published weights. Without it, the default.

    Raises
    ------
    CheckpointError
        If it is not there or cannot be used.
    """
    if isinstance(model, Path):
        return load_any(model)
    if model is None:
        return load_bundled(next(iter(bundled_names()), _DEFAULT))
    return load_bundled(model) if is_bundled(model) else load_any(Path(model))
