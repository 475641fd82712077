import pytest
import torch

from blursynth.errors import BlursynthError
from blursynth.model.guards import Guard


def weights(value: float) -> dict[str, dict[str, torch.Tensor]]:
    return {"weights": {"a": torch.full((2,), value)}}


def test_ten_bad_steps_in_a_row_are_only_skipped() -> None:
    guard = Guard()
    for _ in range(3):
        assert all(guard.failed(step, rollbacks=1) is None for step in range(10))
        guard.passed()


def test_after_one_more_the_state_kept_last_is_given_back_unchanged() -> None:
    guard = Guard()
    guard.keep(weights(1.0))
    kept = weights(2.0)
    guard.keep(kept)
    kept["weights"]["a"].fill_(float("nan"))  # the run goes on with the same tensors
    for step in range(10):
        assert guard.failed(step, rollbacks=0) is None
    guard.keep(weights(float("nan")))  # a state that steps are being skipped in is not kept
    found = guard.failed(10, rollbacks=0)
    assert found is not None
    assert found["weights"]["a"].tolist() == [2.0, 2.0]


def test_going_back_helps_once_or_never() -> None:
    guard = Guard()
    guard.keep(weights(1.0))
    found = [guard.failed(step, rollbacks=0) for step in range(5, 16)]
    assert [each is not None for each in found] == [False] * 10 + [True]
    assert all(guard.failed(step, rollbacks=1) is None for step in range(16, 26))
    with pytest.raises(BlursynthError, match=r"not finite since step 5, at half the learning rate too; .*lower"):
        guard.failed(26, rollbacks=1)
