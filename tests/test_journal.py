import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from blursynth.model.journal import Journal

module = importlib.import_module("blursynth.model.journal")
SCORES = {"psnr": 30.5, "blurry": 25.0, "pairs": 2, "definition": "…"}


class Board:
    """Stands for TensorBoard's writer."""

    def __init__(self) -> None:
        self.scalars: dict[str, float] = {}
        self.pictures: dict[str, Any] = {}
        self.is_closed = False

    def add_scalar(self, name: str, value: float, step: int) -> None:
        assert step == 3
        self.scalars[name] = value

    def add_image(self, name: str, picture: Any, step: int, dataformats: str) -> None:
        assert (step, dataformats) == (3, "HWC")
        self.pictures[name] = picture

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.is_closed = True


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def write(journal: Journal) -> None:
    journal.note_step({"psnr": -20.0, "fft": 1.0, "discriminator": 5.0}, 3.0, 8, is_made=True)
    journal.note_step({"psnr": float("nan"), "fft": 1.0, "discriminator": 5.0}, float("nan"), 8, is_made=False)
    journal.note_step({"psnr": -22.0, "fft": 2.0, "discriminator": 7.0}, 5.0, 8, is_made=True)
    journal.write_steps(3, 12.34, learning_rate=1e-3, data_wait=0.25, skipped=1, parts=2)


def test_a_line_tells_the_means_of_the_steps_that_were_made(tmp_path: Path) -> None:
    journal = Journal(tmp_path, step=0, is_writer=True)
    write(journal)
    journal.write_steps(3, 12.5, learning_rate=1e-3, data_wait=0.25, skipped=1, parts=2)  # nothing happened since
    journal.note_step({"psnr": float("inf")}, float("inf"), 8, is_made=False)
    journal.write_steps(4, 13.0, learning_rate=1e-3, data_wait=0.25, skipped=2, parts=2)
    first, second = lines(tmp_path)
    assert first.pop("samples_per_second") > 0
    assert first == {
        "step": 3,
        "seconds": 12.3,
        "loss": -19.5,  # -21 and 1.5: the discriminator pays its own
        "losses": {"psnr": -21.0, "fft": 1.5, "discriminator": 6.0},
        "gradient_norm": 4.0,
        "learning_rate": 1e-3,
        "data_wait": 0.25,
        "skipped": 1,
        "parts": 2,
    }
    assert (second["loss"], second["losses"], second["gradient_norm"]) == (None, {}, None)


def test_progress_tells_loss_rate_and_waiting(tmp_path: Path) -> None:
    journal = Journal(tmp_path, step=0, is_writer=True)
    journal.note_step({"content": 0.5}, 1.0, 8, is_made=True)
    remark = journal.remark(12, 0.031, 27.126)
    assert remark.startswith("step 12  loss 0.5  ")
    assert "samples/s  data wait 3%  best 27.13 dB" in remark
    assert "best" not in journal.remark(12, 0.031, None)


def test_other_processes_write_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path, step=0, is_writer=False)
    write(journal)
    journal.write_scores(3, 12.0, SCORES, [])
    journal.close()
    assert list(tmp_path.iterdir()) == []


def test_tensorboard_gets_the_same_numbers_and_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board()
    monkeypatch.setattr(module, "_open_board", lambda *_arguments: board)
    journal = Journal(tmp_path, step=0, is_writer=True)
    write(journal)
    examples = [(np.full((4, 6, 3), k, np.uint8), np.full((4, 6, 3), 200 + k, np.uint8)) for k in range(6)]
    for number in range(6):
        journal.show(number, np.full((4, 6, 3), 100 + number, np.uint8))
    journal.write_scores(3, 12.0, SCORES, examples)
    journal.close()
    assert board.scalars["loss/psnr"] == -21.0
    assert (board.scalars["loss"], board.scalars["psnr"], board.scalars["learning_rate"]) == (-19.5, 30.5, 1e-3)
    assert board.scalars["samples_per_second"] > 0
    assert list(board.pictures) == [f"examples/{number}" for number in range(4)]
    assert board.pictures["examples/1"][0, ::6, 0].tolist() == [1, 101, 201]  # blurry, restored, sharp
    assert board.is_closed
    assert lines(tmp_path)[1]["scores"] == SCORES


def test_the_first_examples_are_drawn_one_below_the_other(tmp_path: Path) -> None:
    journal = Journal(tmp_path, step=0, is_writer=True)
    sizes = [(300, 200), (20, 30), (192, 192), (4, 6), (8, 8)]
    examples = [
        (np.full((*size, 3), k, np.uint8), np.full((*size, 3), 200 + k, np.uint8)) for k, size in enumerate(sizes)
    ]
    examples[0][0][:54] = 255  # beyond the middle 192 px
    for number, size in enumerate(sizes):
        journal.show(number, np.full((*size, 3), 100 + number, np.uint8))
    journal.write_scores(12, 12.0, SCORES, examples)
    journal.close()
    with Image.open(tmp_path / "samples" / "step-000012.png") as image:
        sheet = np.array(image)
    assert sheet.shape == (192 + 20 + 192 + 4, 3 * 192, 3)
    assert sheet[0, ::192, 0].tolist() == [0, 100, 200]
    assert sheet[192, :90:30, 0].tolist() == [1, 101, 201]
    assert sheet[-1, :18:6, 0].tolist() == [3, 103, 203]
    assert not sheet[-1, 18:].any()


def test_pictures_of_a_long_run_stay_few_and_show_all_of_it(tmp_path: Path) -> None:
    codes = np.zeros((4, 6, 3), np.uint8)
    journal = Journal(tmp_path, step=0, is_writer=True)
    for step in range(0, 2_000_000, 20_000):
        journal.show(0, codes)
        journal.write_scores(step, 12.0, SCORES, [(codes, codes)])
    steps = sorted(int(path.stem[5:]) for path in (tmp_path / "samples").iterdir())
    assert len(steps) == 32
    assert (steps[0], steps[-1]) == (0, 1_980_000)
    assert max(np.diff(steps)) <= 2_000_000 / 15


def test_a_resumed_run_forgets_pictures_of_later_steps(tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    for name in ("step-000003.png", "step-000009.png", "step-1000000.png", "step-mine.png"):
        (tmp_path / "samples" / name).touch()
    Journal(tmp_path, step=8, is_writer=False).close()
    assert len(list((tmp_path / "samples").iterdir())) == 4
    Journal(tmp_path, step=8, is_writer=True).close()
    assert {path.name for path in (tmp_path / "samples").iterdir()} == {"step-000003.png", "step-mine.png"}


def test_where_tensorboard_is_installed_its_files_are_written(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    journal = Journal(tmp_path, step=0, is_writer=True)
    write(journal)
    journal.show(0, np.zeros((4, 6, 3), np.uint8))
    journal.write_scores(3, 12.0, SCORES, [(np.zeros((4, 6, 3), np.uint8), np.zeros((4, 6, 3), np.uint8))])
    journal.close()
    assert [path.name.startswith("events.out.tfevents") for path in (tmp_path / "tensorboard").iterdir()] == [True]


def test_where_it_is_not_installed_nothing_is_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda _name: None)
    journal = Journal(tmp_path, step=0, is_writer=True)
    write(journal)
    journal.close()
    assert [path.name for path in tmp_path.iterdir()] == ["log.jsonl"]
