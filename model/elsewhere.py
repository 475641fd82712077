"""Weights that others publish inside their packages: where they are, without importing those packages."""

import importlib.util
import os
from pathlib import Path

from blursynth.errors import DeviceError

__all__ = ["find_weights"]


def find_weights(variable: str, package: str, inside: str, *, missing: str) -> Path:
    """Return where weights are: what an environment variable names, else a file of an installed package.

    Parameters
    ----------
    variable
        Name of the environment variable; what it names is not looked at.
    package
        Its name; it is looked for and not imported, since it may need what nobody has.
    inside
        Path of the file in the package.
    missing
        What to say if neither is there: how to get them.

    Raises
    ------
    DeviceError
        If neither is there.
    """
    if named := os.environ.get(variable):
        return Path(named)
    found = importlib.util.find_spec(package)
    for folder in (found and found.submodule_search_locations) or ():
        path = Path(folder) / inside
        if path.is_file():
            return path
    raise DeviceError(missing)
