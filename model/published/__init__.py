"""Networks with weights that others have published.

`load_published` reads a file of PyTorch, `load_any` a file of PyTorch or a checkpoint of ours.
"""

from pathlib import Path

from blursynth.model.checkpoint import load_checkpoint, restore_network
from blursynth.model.networks import Network

from .deepdeblur import CentredMSCNN, deepdeblur_network
from .reading import is_torch_file, read_state

__all__ = ["CentredMSCNN", "load_any", "load_published"]


def load_published(path: Path, *, rgb_range: float = 255.0) -> Network:
    """Read weights in the layout of DeepDeblur-PyTorch, the authors' port of Nah et al., CVPR 2017.

    Parameters
    ----------
    path
        A file of ``torch.save``, of the format before or since PyTorch 1.6. It holds the port's own ``{"G": …}``, the
        plain state dict, or that below ``state_dict``, ``params`` or ``model``; names may begin with ``module.``.
        Weights are float16, bfloat16, float32 or float64; numbers of scales and blocks, channels and kernels are
        those of the weights.
    rgb_range
        The code of white in the images that the weights were trained with: the port's option ``--rgb_range``, which a
        file of weights does not tell. Its default, and that of the weights it offers, is 255.

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
    return deepdeblur_network(path, read_state(path), rgb_range)


def load_any(path: Path) -> Network:
    """Load the network of a checkpoint of ours, or of weights that `load_published` reads; the content decides.

    Raises
    ------
    CheckpointError
        If it is neither, or cannot be used.
    """
    return load_published(path) if is_torch_file(path) else restore_network(load_checkpoint(path))
