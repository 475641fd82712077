"""What a run tells of itself: ``log.jsonl``, one line of progress and, where it is installed, TensorBoard."""

import importlib.util
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blursynth.files import append_line

__all__ = ["Journal"]

_LOG, _BOARD = "log.jsonl", "tensorboard"
_RECENT = 50
_MAX_PICTURES = 4


class Journal:
    """Gathers what happened in steps and writes it down.

    Lines of ``log.jsonl`` are JSON objects. After steps: ``step``, ``seconds`` of the run, ``samples_per_second`` and
    means since the line before: ``loss``, ``losses`` (its parts, weighted; ``discriminator`` is no part of the sum) and
    ``gradient_norm`` (before clipping), null where every step was skipped; then ``learning_rate``, ``data_wait`` (share
    of this session), ``skipped`` (steps in all) and ``parts`` (of a batch). After validation: ``step``, ``seconds`` and
    ``scores``.

    Parameters
    ----------
    run
        Folder of the run.
    step
        Where the run goes on: TensorBoard drops what it has of later steps.
    is_writer
        Whether to write; the other processes of a run only gather.
    """

    def __init__(self, run: Path, *, step: int, is_writer: bool) -> None:
        self._run, self._is_writer = run, is_writer
        self._board = _open_board(run / _BOARD, step) if is_writer else None
        self._recent: list[float] = []
        self._pictures: dict[int, NDArray[np.uint8]] = {}
        self._samples_per_second = 0.0
        self._begin_again()

    def _begin_again(self) -> None:
        self._start, self._samples = time.monotonic(), 0
        self._losses: list[Mapping[str, float]] = []
        self._norms: list[float] = []

    def note_step(self, losses: Mapping[str, float], norm: float, samples: int, *, is_made: bool) -> None:
        """Take note of a step: the parts of its loss, the norm of its gradient, its samples, and whether it counted."""
        self._samples += samples
        if is_made:
            self._losses.append(losses)
            self._norms.append(norm)
            self._recent = [*self._recent[1 - _RECENT :], _total(losses)]

    @property
    def samples_per_second(self) -> float:
        """Samples a second since the last line, or before it if that is only just written."""
        seconds = time.monotonic() - self._start
        if seconds > 1 or not self._samples_per_second:
            return self._samples / max(1e-9, seconds)
        return self._samples_per_second

    def remark(self, step: int, data_wait: float, best_psnr: float | None) -> str:
        """Return what the line of progress says beside rate and time left."""
        loss = f"loss {np.mean(self._recent):.4g}  " if self._recent else ""
        best = f"  best {best_psnr:.2f} dB" if best_psnr is not None else ""
        return f"step {step}  {loss}{self.samples_per_second:.3g} samples/s  data wait {data_wait:.0%}{best}"

    def write_steps(self, step: int, seconds: float, **values: float) -> None:
        """Write the line of the steps since the last one, if there were any."""
        if not self._samples:
            return
        self._samples_per_second = self._samples / max(1e-9, time.monotonic() - self._start)
        names = self._losses[0] if self._losses else ()
        losses = {name: float(np.mean([each[name] for each in self._losses])) for name in names}
        line: dict[str, Any] = {
            "step": step,
            "seconds": round(seconds, 1),
            "samples_per_second": round(self._samples_per_second, 2),
            "loss": _total(losses) if losses else None,
            "losses": losses,
            "gradient_norm": float(np.mean(self._norms)) if self._norms else None,
            **values,
        }
        self._append(line)
        if self._board:
            scalars = {f"loss/{name}": value for name, value in losses.items()}
            scalars |= {name: value for name, value in line.items() if isinstance(value, float) and name != "seconds"}
            for name, value in scalars.items():
                self._board.add_scalar(name, value, step)
        self._begin_again()

    def show(self, number: int, restored: NDArray[np.uint8]) -> None:
        """Keep the restored image of an example for `write_scores`, if pictures are shown at all."""
        if self._board and number < _MAX_PICTURES:
            self._pictures[number] = restored

    def write_scores(
        self,
        step: int,
        seconds: float,
        scores: Mapping[str, Any],
        examples: Sequence[tuple[NDArray[np.uint8], NDArray[np.uint8]]],
    ) -> None:
        """Write the line of a validation, and pictures of the first examples: blurry, restored, sharp."""
        self._append({"step": step, "seconds": round(seconds, 1), "scores": dict(scores)})
        if not self._board:
            return
        if scores["psnr"] is not None:
            self._board.add_scalar("psnr", scores["psnr"], step)
        for number, restored in self._pictures.items():
            blurry, sharp = examples[number]
            picture = np.concatenate([blurry, restored, sharp], axis=1)
            self._board.add_image(f"examples/{number}", picture, step, dataformats="HWC")
        self._board.flush()

    def _append(self, line: Mapping[str, Any]) -> None:
        if self._is_writer:
            append_line(self._run / _LOG, json.dumps(line, allow_nan=False))

    def close(self) -> None:
        """Write what TensorBoard still holds."""
        if self._board:
            self._board.close()


def _total(losses: Mapping[str, float]) -> float:
    return sum(value for name, value in losses.items() if name != "discriminator")


def _open_board(directory: Path, step: int) -> Any:
    """Return TensorBoard's writer, or None where it is not installed (the extra ``tensorboard``)."""
    if importlib.util.find_spec("tensorboard") is None:
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  # optional
    except ImportError:  # it is there and broken: no reason not to train
        return None
    return SummaryWriter(str(directory), purge_step=step or None)
