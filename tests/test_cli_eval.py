import json
import signal
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

from blursynth.cli.main import main
from blursynth.model.checkpoint import Checkpoint, save_checkpoint
from blursynth.model.lite import Lite, LiteConfig
from blursynth.photos import read_photo

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = LiteConfig(channels=(2, 2), encoder_blocks=(0, 0), decoder_blocks=(1,), num_fused_levels=2)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three pairs, and a network that changes nothing, in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    rng = np.random.default_rng(0)
    for name in "abc":
        sharp = rng.integers(0, 256, (32, 48, 3), np.uint8)
        for kind, pixels in (("blur", cv2.blur(sharp, (5, 1))), ("sharp", sharp)):
            path = tmp_path / "set" / kind / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), pixels)
    with torch.random.fork_rng(devices=[]):
        save_checkpoint(tmp_path / "same.safetensors", Checkpoint(SMALL, Lite(SMALL).state_dict()))
    return tmp_path / "set"


def run(*arguments: str) -> Any:
    with pytest.raises(SystemExit) as end:
        main(["eval", *arguments])
    return end.value.code


Capture = pytest.CaptureFixture[str]


def test_a_table_is_printed_with_the_blurry_input_first(folder: Path, capsys: Capture) -> None:
    assert run("set", "--checkpoint", "same.safetensors", "--device", "cpu") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("set: 3 images, data ")
    blurry, network = lines[2].split(), lines[3].split()
    assert blurry[:2] == ["blurry", "input"]
    assert network[0] == "same.safetensors"
    assert blurry[2:8] == network[1:7]  # a network that is not trained is the identity
    assert any(line.startswith("psnr: mean over images; RGB") for line in lines)


def test_json_is_the_results_file_with_the_rest(folder: Path, capsys: Capture) -> None:
    assert run("--blur", "set/blur", "--sharp", "set/sharp", "--json", "--metrics", "psnr", "-o", "out", "-q") == 0
    printed = capsys.readouterr()
    values = json.loads(printed.out)
    written = json.loads(Path("out/results.json").read_text())
    assert {name: values[name] for name in written} == written
    assert values["data"][0]["name"] == "set/blur"
    assert list(values["metrics"]) == ["psnr"]
    assert (values["published"], values["differences"], printed.err) == ([], [], "")


def test_two_runs_are_printed_side_by_side(folder: Path, capsys: Capture) -> None:
    assert run("set", "-o", "out", "--metrics", "psnr") == 0
    capsys.readouterr()
    assert run("set", "--checkpoint", "same.safetensors", "--device", "cpu", "--against", "out/results.json") == 0
    assert "+0.00 [+0.00, +0.00]" in capsys.readouterr().out
    (folder / "blur/a.png").write_bytes((folder / "blur/b.png").read_bytes())
    assert run("set", "--against", "out/results.json") == 2
    assert "are not those evaluated there" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "nothing to evaluate"),
        (["none"], 4, "none: no such file"),
        (["--blur", "set/blur"], 2, "give both or neither"),
        (["--blur", "set/blur", "--sharp", "empty"], 2, "empty: no files ending in"),
        (["set", "--metrics", "psnr,sssim"], 2, "metric 'sssim' is unknown"),
        (["set", "--metrics", ""], 2, "no metric"),
        (["set", "--limit", "0"], 2, "0 is not in the range"),
        (["set", "--track", "blur_gamma"], 2, "blur_gamma"),
        (["set", "--checkpoint", "none.safetensors"], 4, "none.safetensors"),
        (["set", "--checkpoint", "set/blur/a.png"], 4, "a.png"),
        (["set", "--device", "abacus"], 5, "abacus"),
        (["set", "--against", "none.json"], 4, "none.json"),
        (["set", "--against", "set/blur/a.png"], 4, "a.png"),
        (["set", "-o", "old"], 2, "results.json: exists already"),
        (["empty"], 4, "empty"),
        (["bad"], 4, "none of its 1 pairs could be scored"),
        (["partial"], 3, "1 not scored, beside 1 pairs"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_gets_one_line_and_the_documented_code(
    folder: Path, capsys: Capture, arguments: list[str], code: int, message: str
) -> None:
    Path("empty").mkdir()
    Path("old").mkdir()
    Path("old/results.json").write_text("{}")
    for name, images in (("bad", "x"), ("partial", "xy")):
        for kind in ("blur", "sharp"):
            (Path(name) / kind).mkdir(parents=True)
            for image in images:
                (Path(name) / kind / f"{image}.png").write_bytes((folder / "blur/a.png").read_bytes())
        (Path(name) / "blur/x.png").write_bytes(b"no picture")
    assert run(*arguments) == code
    printed = capsys.readouterr()
    assert message in printed.err
    assert "Traceback" not in printed.err
    assert printed.err.strip().splitlines()[-1].lower().startswith("error: ")


def test_what_others_report_is_said_to_be_unknown_of_other_data(folder: Path, capsys: Capture) -> None:
    assert run("set", "--published") == 0
    assert "nothing is known to be published of set" in capsys.readouterr().err


def test_imported_shards_are_the_data_set_that_they_came_from(folder: Path, capsys: Capture) -> None:
    for sequence in ("GOPR0384_11_00", "GOPR0385_11_01"):
        for track in ("blur", "blur_gamma", "sharp"):
            (Path("GOPRO_Large/test") / sequence / track).mkdir(parents=True)
            for number, name in enumerate("abc", 1):
                pixels = (folder / ("sharp" if track == "sharp" else "blur") / f"{name}.png").read_bytes()
                (Path("GOPRO_Large/test") / sequence / track / f"{number:06d}.png").write_bytes(pixels)
    with pytest.raises(SystemExit) as end:
        main(["import", "GOPRO_Large", "--track", "blur_gamma", "-o", "shards", "--jobs", "1", "-q"])
    assert not end.value.code
    capsys.readouterr()
    found = []
    for arguments in (["shards"], ["GOPRO_Large", "--track", "blur_gamma"]):
        assert run(*arguments, "--json", "-q") == 0
        (data,) = json.loads(capsys.readouterr().out)["data"]
        found.append(data)
    assert found[0]["name"] == "GOPRO blur_gamma test"
    assert found[0] == found[1]
    assert run("shards", "GOPRO_Large", "--track", "blur") == 2
    assert run("GOPRO_Large", "--track", "blur", "-o", "linear", "-q") == 0
    assert run("shards", "--against", "linear/results.json") == 2
    assert "two tracks cannot be compared" in capsys.readouterr().err


@pytest.mark.shared
def test_the_blurry_input_of_real_pairs_has_the_psnr_of_scikit_image(
    shared: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    folder = shared / "pairs/gopro_dev"
    assert run(str(folder), "--metrics", "psnr", "--json", "-q") == 0
    data = json.loads(capsys.readouterr().out)["data"][0]
    assert (data["name"], data["images"]) == ("gopro_dev", 9)
    expected = []
    for pair in data["pairs"]:
        blurry, sharp = (read_photo(folder / kind / f"{pair['name']}.png").pixels for kind in ("blur", "sharp"))
        expected.append(float(peak_signal_noise_ratio(sharp, blurry, data_range=255)))  # type: ignore[no-untyped-call]
    psnr = data["methods"][0]["scores"]["psnr"]
    assert [f"{value:.2f}" for value in psnr["per_image"]] == [f"{value:.2f}" for value in expected]
    assert f"{psnr['mean']:.2f}" == f"{np.mean(expected):.2f}"
