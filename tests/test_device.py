from contextlib import AbstractContextManager, nullcontext, suppress

import pytest
import torch

from blursynth.model.device import autocast, computes_bfloat16, fastest_convolutions, is_out_of_memory

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("precision", "expected"),
    [("auto", torch.float32), ("float32", torch.float32), ("bfloat16", torch.bfloat16)],
)
def test_the_cpu_computes_in_bfloat16_on_request_alone(precision: str, expected: torch.dtype) -> None:
    with autocast(CPU, precision):  # type: ignore[arg-type]
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == expected


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("precision", "expected"),
    [("auto", torch.bfloat16), ("float32", torch.float32), ("bfloat16", torch.bfloat16)],
)
def test_cuda_computes_in_bfloat16_unless_told_otherwise(precision: str, expected: torch.dtype) -> None:
    ones = torch.ones(2, 2, device="cuda")
    with autocast(ones.device, precision):  # type: ignore[arg-type]
        assert (ones @ ones).dtype == expected


@pytest.mark.parametrize("has_units", [True, False])
def test_a_gpu_without_units_for_bfloat16_is_left_in_float32(monkeypatch: pytest.MonkeyPatch, has_units: bool) -> None:
    begun: list[tuple[str, torch.dtype]] = []

    def noted(kind: str, dtype: torch.dtype) -> AbstractContextManager[None]:
        begun.append((kind, dtype))
        return nullcontext()

    monkeypatch.setattr(torch, "autocast", noted)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_emulated: has_units)
    with autocast(torch.device("cuda")):
        assert begun == [("cuda", torch.bfloat16)] * has_units


@pytest.mark.parametrize("before", [False, True])
def test_algorithms_are_chosen_on_a_gpu_and_all_is_as_before_afterwards(
    monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", before)
    for name in ("cpu", "cuda"):
        with suppress(KeyError), fastest_convolutions(torch.device(name)):
            assert torch.backends.cudnn.benchmark is (before or name == "cuda")
            raise KeyError
        assert torch.backends.cudnn.benchmark is before


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx512_f": True, "avx512_bf16": True}, True),
        ({"avx512_f": True, "avx512_bf16": False, "amx_bf16": True}, True),
        ({"neon": True, "bf16": True}, True),
        ({"avx2": True, "avx512_f": True}, False),
    ],
)
def test_whether_a_cpu_has_units_for_bfloat16(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], expected: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert computes_bfloat16(CPU) is expected


def test_an_older_torch_does_not_tell_and_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert computes_bfloat16(CPU)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("CUDA error: out of memory"), True),  # of pinned memory, say
        (RuntimeError("InductorError: OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), True),
        (RuntimeError("a mistake of ours"), False),
    ],
)
def test_memory_errors_are_told_from_others(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected
