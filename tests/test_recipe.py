from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from blursynth.errors import PhotoError, SettingsError
from blursynth.model.bundled import bundled_names, initial_weights, load_bundled
from blursynth.model.online import load_pack, pack_photos
from blursynth.model.recipe import Budget, budget, photographs, prepare_photographs, score_pairs
from blursynth.model.recipe.__main__ import main
from blursynth.model.settings import TrainConfig
from blursynth.model.state import begin_run
from blursynth.progress import SILENT
from blursynth.recordings import recording_of
from samples import moving_texture


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three photographs and one that must not be seen."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, name in enumerate(("one", "two", "three", "testset_1")):
        pixels = moving_texture(1, 208, 216, seed=number)[0]
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    folder = tmp_path / "pairs"
    for part, shift in (("blur", 1), ("sharp", 0)):
        (folder / part).mkdir(parents=True)
        pixels = moving_texture(2, 64, 80, seed=9)[shift]
        Image.fromarray(pixels).save(folder / part / "a.png")
    return folder


def test_photographs_are_written_as_they_are_and_enlarged_and_count_as_one(photos: Path, tmp_path: Path) -> None:
    found = prepare_photographs([str(photos)], tmp_path / "out", exclude=["testset*"])
    assert [path.name for path in found] == [
        "one.x1.5.png", "one.x1.png", "three.x1.5.png", "three.x1.png", "two.x1.5.png", "two.x1.png",
    ]  # fmt: skip
    original = np.array(Image.open(photos / "one.png"))
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / "out" / "one.x1.png")), original)
    enlarged = Image.open(tmp_path / "out" / "one.x1.5.png")
    assert enlarged.size == (324, 312)
    back = np.array(enlarged.resize((216, 208), Image.Resampling.BOX)).astype(float)
    assert np.abs(back - original).mean() < 6
    assert recording_of("one.x1.5.png") == recording_of("one.x1.png") != recording_of("two.x1.png")


def test_a_pack_gives_the_same_photographs_as_its_folder(photos: Path, tmp_path: Path) -> None:
    pack_photos(sorted(photos.iterdir()), tmp_path / "photos.pack")
    from_pack = prepare_photographs([str(tmp_path / "photos.pack")], tmp_path / "a")
    from_folder = prepare_photographs([str(photos)], tmp_path / "b")
    assert [path.read_bytes() for path in from_pack] == [path.read_bytes() for path in from_folder]


def test_nothing_to_train_with_is_told(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no photographs are left"):
        prepare_photographs([str(photos)], tmp_path / "out", exclude=["*"])
    (photos / "one.png").write_bytes(b"no picture")
    with pytest.raises(PhotoError, match=r"one\.png"):
        prepare_photographs([str(photos)], tmp_path / "out")


def test_minutes_are_shared_among_the_sizes() -> None:
    both = Budget(20, ("tiny", "base"))
    assert both.config("tiny", has_gpu=True).minutes == 5
    assert both.config("base", has_gpu=True).minutes == 15
    assert both.config("base", has_gpu=True).network == "lite"
    alone = Budget(20).config("tiny", has_gpu=False)
    assert (alone.minutes, alone.network, alone.precision) == (20, "lite-tiny", "bfloat16")
    assert Budget(20, init="tiny").config("tiny", has_gpu=True).init == "tiny"
    with pytest.raises(SettingsError, match="init tiny: weights are of one size"):
        Budget(20, ("tiny", "base"), init="tiny")
    with pytest.raises(SettingsError, match="size huge: choose from tiny, base"):
        Budget(20, ("huge",))


def test_scores_are_those_of_the_pictures(pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no pictures"):
        (tmp_path / "empty" / "blur").mkdir(parents=True)
        score_pairs(tmp_path / "no.safetensors", tmp_path / "empty")


@pytest.mark.usefixtures("one_thread")
def test_the_recipe_makes_weights_that_load(
    photos: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def short(self: Budget, name: str, *, has_gpu: bool) -> TrainConfig:
        return replace(full(self, name, has_gpu=has_gpu), steps=3, patch=64, batch=2, progressive=False, workers=0)

    full = Budget.config
    monkeypatch.setattr(Budget, "config", short)
    monkeypatch.setattr(photographs, "_PER_PHOTO", 1)
    monkeypatch.setattr(photographs, "_SIZE", (144, 128))
    monkeypatch.chdir(tmp_path)
    arguments = [str(photos), "-o", "work", "--minutes", "1", "--device", "cpu", "--exclude", "testset*"]
    assert main([*arguments, "--pairs", str(pairs), "--weights", "weights"]) == 0
    assert bundled_names(Path("weights")) == ("tiny",)
    assert load_bundled("tiny", Path("weights")).size_multiple == 32
    card = Path("weights/tiny.md").read_text()
    assert "dB blurry" in card
    printed = capsys.readouterr()
    assert "weights/tiny.safetensors" in printed.out
    assert "PSNR, RGB" in printed.out
    assert "testset" not in "".join(path.name for path in Path("work").rglob("*"))
    assert main([str(photos), "--minutes", "0"]) == 2
    assert "minutes 0" in capsys.readouterr().err


def test_a_size_that_would_see_too_few_crops_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = {"lite-tiny": 1000.0, "lite": 100.0}
    monkeypatch.setattr(budget, "samples_per_second", lambda config: rates[config.network])
    assert budget.affordable(Budget(20, ("tiny", "base")), SILENT).sizes == ("tiny",)
    rates["lite"] = 1000.0
    assert budget.affordable(Budget(20, ("tiny", "base")), SILENT).sizes == ("tiny", "base")
    rates.update({"lite-tiny": 1.0, "lite": 1.0})
    assert budget.affordable(Budget(20, ("base", "tiny")), SILENT).sizes == ("base",)


@pytest.mark.usefixtures("one_thread")
def test_the_rate_is_that_of_whole_steps() -> None:
    config = TrainConfig(network="lite-tiny", patch=64, batch=2, device="cpu", augmentation="turns")
    assert 0.5 < budget.samples_per_second(config, 0.2) < 1e5


def test_photographs_are_packed_without_the_excluded(photos: Path, tmp_path: Path) -> None:
    assert main([str(photos), "--pack", str(tmp_path / "a.pack"), "--exclude", "testset*"]) == 0
    assert load_pack(tmp_path / "a.pack").names == ("one.png", "three.png", "two.png")


def test_the_weights_that_come_along_can_be_trained_further() -> None:
    config = Budget(1, init="tiny").config("tiny", has_gpu=False)
    state = begin_run(config, torch.device("cpu"), "", initial=initial_weights("tiny"))
    expected = load_bundled("tiny").state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in state.network.state_dict().items())
