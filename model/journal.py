"""What a run tells of itself: ``log.jsonl``, pictures, a line of progress and, where it is installed, TensorBoard."""

import importlib.util
import io
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from blursynth.files import append_line, make_directory, write_bytes

__all__ = ["SAMPLES", "Journal"]

SAMPLES = "samples"  # folder of pictures
_LOG, _BOARD = "log.jsonl", "tensorboard"
_RECENT = 50
_MAX_PICTURES = 4
_MAX_SIDE_PX = 192  # of a picture in samples/; of larger ones, the middle
_MAX_SAMPLES = 32  # files in samples/


class Journal:
    """Gathers what happened in steps and writes it down.

    Lines of ``log.jsonl`` are JSON objects. After steps: ``step``, ``seconds`` of the run, ``samples_per_second`` and
    means since the line before: ``loss``, ``losses`` (its parts, weighted; ``discriminator`` is no part of the sum) and
    ``gradient_norm`` (before clipping), null where every step was skipped; then ``learning_rate``, ``data_wait`` (share
    of this session), ``skipped`` (steps in all) and ``parts`` (of a batch). After validation: ``step``, ``seconds`` and
    ``scores``.

    ``samples/step-NNNNNN.png`` shows the first validation crops at that step, up to four of up to 192 px, one below the
    other: blurry, restored, sharp. At most 32 are kept, spread over the whole run.

    Parameters
    ----------
    run
        Folder of the run.
    step
        Where the run goes on: samples of later steps are removed, and TensorBoard drops what it has of them.
    is_writer
        Whether to write; the other processes of a run only gather.
    """

    def __init__(self, run: Path, *, step: int, is_writer: bool) -> None:
        self._run, self._is_writer = run, is_writer
        self._board = _open_board(run / _BOARD, step) if is_writer else None
        self._recent: list[float] = []
        self._pictures: dict[int, NDArray[np.uint8]] = {}
        if is_writer:
            _forget_later(run / SAMPLES, step)
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
        """Keep the restored image of an example for `write_scores`, if it is one of the first."""
        if self._is_writer and number < _MAX_PICTURES:
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
        rows = {
            number: (examples[number][0], restored, examples[number][1])
            for number, restored in sorted(self._pictures.items())
        }
        if self._is_writer and rows:
            _write_sample(self._run / SAMPLES, step, list(rows.values()))
        if not self._board:
            return
        if scores["psnr"] is not None:
            self._board.add_scalar("psnr", scores["psnr"], step)
        for number, row in rows.items():
            self._board.add_image(f"examples/{number}", np.concatenate(row, axis=1), step, dataformats="HWC")
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


def _sample_step(path: Path) -> int:
    digits = path.stem.removeprefix("step-")
    return int(digits) if digits.isdecimal() else -1


def _forget_later(directory: Path, step: int) -> None:
    for path in directory.glob("step-*.png"):
        if _sample_step(path) > step:
            path.unlink(missing_ok=True)


def _write_sample(directory: Path, step: int, rows: Sequence[Sequence[NDArray[np.uint8]]]) -> None:
    """Write rows of equally large images, (H, W, 3) uint8 each; rows of other sizes are filled up with black."""
    strips = [np.concatenate([_middle(image) for image in row], axis=1) for row in rows]
    width = max(strip.shape[1] for strip in strips)
    sheet = np.concatenate([np.pad(strip, ((0, 0), (0, width - strip.shape[1]), (0, 0))) for strip in strips])
    file = io.BytesIO()
    Image.fromarray(sheet).save(file, "PNG")
    make_directory(directory)
    write_bytes(directory / f"step-{step:06}.png", file.getbuffer(), overwrite=True)
    _thin_out(directory)


def _thin_out(directory: Path) -> None:
    """While there are too many pictures, remove the one whose neighbours are closest together."""
    found = sorted(directory.glob("step-*.png"), key=_sample_step)
    while len(found) > _MAX_SAMPLES:
        steps = [_sample_step(path) for path in found]
        crowded = min(range(1, len(found) - 1), key=lambda k: steps[k + 1] - steps[k - 1])
        found.pop(crowded).unlink(missing_ok=True)


def _middle(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    top, left = (max(0, side - _MAX_SIDE_PX) // 2 for side in image.shape[:2])
    return image[top : top + _MAX_SIDE_PX, left : left + _MAX_SIDE_PX]


def _open_board(directory: Path, step: int) -> Any:
    """Return TensorBoard's writer, or None where it is not installed (the extra ``tensorboard``)."""
    if importlib.util.find_spec("tensorboard") is None:
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  # optional
    except ImportError:  # it is there and broken: no reason not to train
        return None
    return SummaryWriter(str(directory), purge_step=step or None)
