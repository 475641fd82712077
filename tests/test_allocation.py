"""Memory that is kept is used again, and given back in the end."""

import os
import resource
from pathlib import Path

import pytest
import torch

from blursynth.model import allocation as module
from blursynth.model.allocation import reused_memory

MEGABYTE = 1 << 20
glibc = pytest.mark.skipif(module._glibc("malloc_trim") is None, reason="the C library is not glibc")


def pages_asked_for(num_rounds: int) -> int:
    """Return how many pages the system had to find while tensors of 64 MiB came and went."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(num_rounds):
        torch.zeros(16 * MEGABYTE).add_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@glibc
def test_what_was_freed_is_used_again_and_given_back_in_the_end() -> None:
    plain = pages_asked_for(4)
    before = resident_bytes()
    with reused_memory():
        pages_asked_for(1)
        assert pages_asked_for(4) < plain / 3  # once more at most, where something small came to lie in between
        assert resident_bytes() > before + 32 * MEGABYTE
    assert resident_bytes() < before + 32 * MEGABYTE
    assert pages_asked_for(4) > plain / 2


@glibc
def test_the_outermost_decides() -> None:
    with reused_memory():
        with reused_memory():
            pages_asked_for(1)
        assert pages_asked_for(4) < 40_000  # of 65,536
    assert module._num_users == 0


def test_errors_end_it_too() -> None:
    with pytest.raises(KeyError), reused_memory():
        raise KeyError
    assert module._num_users == 0


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_glibc", lambda _name: None)
    with reused_memory():
        assert module._num_users == 1
    assert module._num_users == 0
