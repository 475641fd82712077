"""What a run survives: steps whose gradient is not finite."""

from collections.abc import Mapping

from torch import Tensor

from blursynth.errors import BlursynthError

__all__ = ["Guard", "RunTensors"]

RunTensors = Mapping[str, Mapping[str, Tensor]]
_MAX_SKIPPED_IN_A_ROW = 10


class Guard:
    """Counts steps that had to be skipped, and keeps what a run can go back to.

    Up to ten in a row are nothing but skipped. After one more, the run goes back to the state that was last kept, with
    half the learning rate; when that happens a second time, it fails.
    """

    def __init__(self) -> None:
        self._in_a_row = 0
        self._since: int | None = None
        self._good: RunTensors = {}

    def keep(self, tensors: RunTensors) -> None:
        """Keep a copy of a state, in main memory, unless it is one that steps are just being skipped in."""
        if self._in_a_row:
            return
        self._good = {
            kind: {name: tensor.detach().to("cpu", copy=True) for name, tensor in named.items()}
            for kind, named in tensors.items()
        }

    def passed(self) -> None:
        """Take note of a step that was made."""
        self._in_a_row, self._since = 0, None

    def failed(self, step: int, *, rollbacks: int) -> RunTensors | None:
        """Take note of a step that was skipped; return the state to go back to, if it is time to.

        Raises
        ------
        BlursynthError
            If the run went back before and it did not help.
        """
        self._since = step if self._since is None else self._since
        self._in_a_row += 1
        if self._in_a_row <= _MAX_SKIPPED_IN_A_ROW:
            return None
        if rollbacks:
            raise BlursynthError(
                f"the loss is not finite since step {self._since}, at half the learning rate too; "
                "the last checkpoint is kept; lower --learning-rate"
            )
        self._in_a_row = 0
        return self._good
