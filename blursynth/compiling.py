"""The one way in which hot loops are compiled."""

from collections.abc import Callable
from typing import TypeVar, cast

from numba import njit

__all__ = ["compiled"]

Function = TypeVar("Function", bound=Callable[..., object])


def compiled(function: Function) -> Function:
    """Compile on first use, cache on disk, let other threads run meanwhile; numba's own decorator hides the types."""
    return cast("Function", njit(cache=True, nogil=True, boundscheck=False)(function))
