"""The deblur command: its options, its streams and its exit codes."""

import io
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from blursynth.cli.main import main
from blursynth.errors import CheckpointError
from blursynth.model import bundled, published
from blursynth.model.checkpoint import Checkpoint, save_checkpoint
from blursynth.model.lite import Lite, LiteConfig

SMALL = LiteConfig(channels=(2, 2), encoder_blocks=(0, 0), decoder_blocks=(0,))
pytestmark = pytest.mark.usefixtures("one_thread")


def lighter() -> Lite:
    """A network that adds a tenth of white, that is 25.5 codes, to every pixel."""
    with torch.random.fork_rng(devices=[]):
        network = Lite(SMALL)
    nn.init.constant_(network.get_parameter("heads.0.bias"), 0.1)
    return network


def load(name: str) -> Lite:
    if name != "tiny":
        raise CheckpointError(f"{name}: no weights of this name come with blursynth")
    return lighter()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a checkpoint and photographs; the weights that come along are those of `lighter`."""
    monkeypatch.chdir(tmp_path)
    for each in (bundled, published):
        monkeypatch.setattr(each, "bundled_names", lambda _folder=None: ("tiny",))
    monkeypatch.setattr(published, "load_bundled", load)
    with torch.random.fork_rng(devices=[]):
        save_checkpoint(tmp_path / "same.safetensors", Checkpoint(SMALL, Lite(SMALL).state_dict()))
    for name in ("a", "b"):
        Image.fromarray(codes()).save(tmp_path / f"{name}.png")
    return tmp_path


def codes() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 200, (70, 90, 3)).astype(np.uint8)


def pixels(path: Path | io.BytesIO) -> NDArray[np.int64]:
    with Image.open(path) as image:
        return np.asarray(image).astype(np.int64)


def run(*arguments: str) -> int | str | None:
    with pytest.raises(SystemExit) as end:
        main(["deblur", *arguments, "-q"])
    return end.value.code


def is_lighter(path: Path | io.BytesIO, by: float = 25.5) -> bool:
    return bool(np.abs(pixels(path) - codes() - by).max() <= 0.51)


def test_without_any_option_the_weights_that_come_along_are_used(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("a.png") == 0
    assert capsys.readouterr().out == "a_deblurred.png\n"
    assert is_lighter(folder / "a_deblurred.png")
    assert run("a.png") == 2  # there is one now
    assert run("a.png", "--overwrite") == 0


@pytest.mark.parametrize("option", ["--model", "--checkpoint"])
def test_a_network_is_chosen_by_name_or_file(folder: Path, option: str) -> None:
    assert run("a.png", option, "tiny", "-o", "one.png") == 0
    assert run("a.png", option, "same.safetensors", "-o", "two.png") == 0
    assert is_lighter(folder / "one.png")
    assert is_lighter(folder / "two.png", by=0)


def test_the_change_is_taken_in_part(folder: Path) -> None:
    assert run("a.png", "--strength", "0.5", "--self-ensemble", "--tile", "64", "-o", "half.png") == 0
    assert is_lighter(folder / "half.png", by=12.75)


def test_a_bad_file_among_good_ones_is_told_and_does_not_stop_them(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "bad.png").write_text("no photograph")
    assert run(".", "-o", "sharp") == 3
    shown = capsys.readouterr()
    assert shown.out == "sharp/a_deblurred.png\nsharp/b_deblurred.png\n"
    assert "bad.png: not a JPEG" in shown.err
    assert "1 of 3 photographs" in shown.err
    assert sorted(path.name for path in (folder / "sharp").iterdir()) == ["a_deblurred.png", "b_deblurred.png"]


@pytest.mark.parametrize("arguments", [["none.png"], ["bad.png"], ["a.png", "-o", "b.png"], ["a.png", "-o", "c.gif"]])
def test_what_must_fail_fails_before_torch_is_loaded(folder: Path, arguments: list[str]) -> None:
    (folder / "bad.png").write_text("no photograph")
    program = (
        "import sys, blursynth.cli.main as m\ntry: m.main()\nfinally: sys.exit(9 if 'torch' in sys.modules else 7)"
    )
    ended = subprocess.run([sys.executable, "-c", program, "deblur", *arguments], check=False, capture_output=True)
    assert ended.returncode == 7
    assert ended.stderr.count(b"\n") == 1


def test_in_an_output_folder_the_tree_of_a_searched_folder_stays(folder: Path) -> None:
    for name in ("100", "101"):
        (folder / "card" / name).mkdir(parents=True)
        (folder / "card" / name / "1.png").write_bytes((folder / "a.png").read_bytes())
    assert run("card", "--recursive", "-o", "sharp") == 0
    assert is_lighter(folder / "sharp" / "100" / "1_deblurred.png")
    assert is_lighter(folder / "sharp" / "101" / "1_deblurred.png")


def test_folders_are_searched_deeper_if_asked_for(folder: Path) -> None:
    (folder / "x" / "y").mkdir(parents=True)
    (folder / "a.png").rename(folder / "x" / "a.png")
    (folder / "b.png").rename(folder / "x" / "y" / "b.png")
    assert run("x") == 0
    assert not (folder / "x" / "y" / "b_deblurred.png").exists()
    assert run("x", "--recursive", "--suffix", "-2") == 0
    assert (folder / "x" / "y" / "b-2.png").exists()


def test_json_tells_what_became_of_each(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "bad.png").write_text("no photograph")
    assert run("a.png", "bad.png", "--json", "--compare") == 3
    good, bad = json.loads(capsys.readouterr().out)
    assert (good["output"], good["page"], good["error"]) == ("a_deblurred.png", "a_deblurred.png.html", None)
    assert bad["error"].startswith("bad.png: not a JPEG")
    assert (folder / "a_deblurred.png.html").exists()


def test_only_the_photograph_goes_to_standard_output(
    folder: Path, capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO((folder / "a.png").read_bytes())))
    assert run("-") == 0
    assert is_lighter(io.BytesIO(capsysbinary.readouterr().out))
    assert run("b.png", "-o", "-") == 0
    assert is_lighter(io.BytesIO(capsysbinary.readouterr().out))
    assert not list(folder.glob("*_deblurred*"))
    assert run("a.png", "-o", "-", "--json") == 2
    assert capsysbinary.readouterr().out == b""


@pytest.mark.parametrize("stdin", [None, SimpleNamespace(buffer=io.BytesIO(b""))])
def test_an_empty_or_closed_standard_input_is_no_photograph(
    folder: Path, stdin: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", stdin)
    assert run("-") == 4
    assert "standard input: empty file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["none.png"], 2, "none.png: no such file"),
        (["a.png", "-"], 2, "take one photograph"),
        (["a.png", "--model", "huge"], 4, "huge"),
        (["a.png", "--model", "a.png"], 4, "a.png: not a checkpoint"),
        (["a.png", "--strength", "2"], 2, "strength 2"),
        (["a.png", "--strength", "nan"], 2, "strength nan"),
        (["a.png", "--tile", "63"], 2, "tile 63"),
        (["a.png", "--tile", "large"], 2, "write auto or a number"),
        (["a.png", "--tile", "-5"], 2, "write auto or a number"),
        (["a.png", "--memory", "lots"], 2, "such as 2G"),
        (["a.png", "--memory", "0"], 2, "such as 2G"),
        (["a.png", "--memory", "1M"], 4, "give more with --memory"),
        (["a.png", "--max-pixels", "100"], 4, "over the limit of 100 pixels"),
        (["a.png", "--max-pixels", "-1"], 2, "max-pixels -1"),
        (["a.png", "--quality", "99"], 2, "quality 99"),
        (["a.png", "--device", "abacus"], 5, "abacus"),
        (["a.png", "-o", "b.png"], 2, "exists already"),
        (["a.png", "-o", "a.png"], 2, "would replace"),
        (["a.png", "-o", "c.gif"], 2, "cannot write .gif"),
    ],
)
def test_what_makes_no_sense_is_told_in_one_line(
    folder: Path, arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(folder.iterdir())
    assert run(*arguments) == code
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    ("text", "size"), [("2G", 2 << 30), ("500M", 500 << 20), ("1.5GiB", 3 << 29), ("1000000000", 10**9)]
)
def test_sizes_are_read_as_people_write_them(
    folder: Path, text: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int | None] = []

    def free(limit: int | None) -> int:
        asked.append(limit)
        return 10**9

    monkeypatch.setattr("blursynth.model.photographs.free_bytes", free)
    assert run("a.png", "--memory", text) == 0
    assert asked == [size]
