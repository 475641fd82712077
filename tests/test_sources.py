"""What runs train with: shards, photographs, packs of them."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import Tensor

from blursynth.cli.screen import Screen
from blursynth.cli.train import command
from blursynth.errors import SettingsError, ShardError
from blursynth.model.checkpoint import load_checkpoint
from blursynth.model.online import pack_photos
from blursynth.model.settings import OnlineConfig, TrainConfig
from blursynth.model.sources import Request, open_sources
from blursynth.model.train import train
from samples import moving_texture

CPU = torch.device("cpu")
PLAIN: dict[str, Any] = {"network": "lite-tiny", "patch": 32, "batch": 2, "workers": 0, "validation_patch": 48}
ONLINE = OnlineConfig(blur_px="3-8", noise="off", jpeg="off", highlights="off", still=0.0)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of six photographs of textures."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(6):
        Image.fromarray(moving_texture(1, 128, 160, seed=i)[0]).save(folder / f"{i}.png")
    return folder


def test_photographs_are_set_aside_and_give_moving_crops(photos: Path) -> None:
    sources = open_sources(
        photos, TrainConfig(**PLAIN, online=ONLINE, validation_fraction=0.3, validation_pairs=5), CPU
    )
    assert len(sources.training) == 4
    assert len(sources.validation) == 2
    assert not set(sources.training.sources) & set(sources.validation)
    assert len(sources.examples) == 5
    for blurry, sharp in sources.examples:
        assert blurry.shape == sharp.shape == (48, 48, 3)
        assert not np.array_equal(blurry, sharp)


def test_two_sizes_of_a_photograph_train_or_validate_together(tmp_path: Path) -> None:
    names = [f"{name}.x{factor}.png" for name in ("ant", "bee", "cat", "dog", "eel", "fox") for factor in ("1", "1.5")]
    for number, name in enumerate(names):
        Image.fromarray(moving_texture(1, 96, 96, seed=number)[0]).save(tmp_path / name)
    sources = open_sources(tmp_path, TrainConfig(**PLAIN, online=ONLINE, validation_fraction=0.5), CPU)
    assert len(sources.training) == len(sources.validation) == 6
    sides = [{name.split(".")[0] for name in side} for side in (sources.training.sources, sources.validation)]
    assert not sides[0] & sides[1]


def test_photographs_of_one_recording_are_shared_out_too(tmp_path: Path) -> None:
    for number in range(4):
        Image.fromarray(moving_texture(1, 96, 96, seed=number)[0]).save(tmp_path / f"walk_{number}.png")
    sources = open_sources(tmp_path, TrainConfig(**PLAIN, online=ONLINE), CPU)
    assert (len(sources.training), len(sources.validation)) == (3, 1)


def test_photographs_too_small_for_the_crops_are_left_out_and_stop_nothing(photos: Path, tmp_path: Path) -> None:
    Image.fromarray(moving_texture(1, 60, 60, seed=9)[0]).save(photos / "small.png")
    config = TrainConfig(**PLAIN | {"patch": 96}, online=ONLINE, steps=1, validation_fraction=0)
    assert train(photos, tmp_path / "run", config).steps == 1
    with pytest.raises(SettingsError, match="patch 128: larger than pairs of 112 px"):
        train(photos, tmp_path / "other", replace(config, patch=128))


def test_a_pack_gives_what_its_photographs_give(photos: Path, tmp_path: Path) -> None:
    pack_photos(sorted(photos.iterdir()), tmp_path / "photos.pack")
    config = TrainConfig(**PLAIN, online=ONLINE)
    request = Request(patch=32, batch=2, seed=1, steps=range(3))
    streams = [open_sources(path, config, CPU).training.open(request) for path in (photos, tmp_path / "photos.pack")]
    for one, other in zip(*streams, strict=True):
        assert torch.equal(one.blurry, other.blurry)
        assert torch.equal(one.sharp, other.sharp)


@pytest.mark.usefixtures("one_thread")
def test_training_on_photographs_goes_on_where_it_stopped(photos: Path, tmp_path: Path) -> None:
    config = TrainConfig(**PLAIN, online=ONLINE, steps=2)
    train(photos, tmp_path / "run", config)
    assert train(photos, tmp_path / "run", replace(config, steps=4), resume=True).steps == 4
    with pytest.raises(SettingsError, match="online"):
        train(photos, tmp_path / "run", TrainConfig(**PLAIN, steps=6), resume=True)
    source = open_sources(photos, config, CPU).training
    whole = list(source.open(Request(patch=32, batch=2, seed=1, steps=range(4))))
    rest = list(source.open(Request(patch=32, batch=2, seed=1, steps=range(2, 4))))
    assert all(torch.equal(one.blurry, other.blurry) for one, other in zip(whole[2:], rest, strict=True))


def test_a_share_of_the_batches_are_means_of_codes(photos: Path) -> None:
    def blurry(codes: float, steps: range, workers: int = 0) -> list[Tensor]:
        online = replace(ONLINE, codes=codes)
        source = open_sources(photos, TrainConfig(**PLAIN, online=online), CPU).training
        request = Request(patch=32, batch=2, seed=5, steps=steps, workers=workers)
        return [batch.blurry for batch in source.open(request)]

    light, codes, mixed = (blurry(share, range(5)) for share in (0, 1, 0.4))
    kinds = [[torch.equal(batch, each) for each in (light[i], codes[i])] for i, batch in enumerate(mixed)]
    assert kinds == [[True, False], [True, False], [False, True], [True, False], [False, True]]
    assert all((a.float().mean() > b.float().mean()) for a, b in zip(light, codes, strict=True))
    resumed = blurry(0.4, range(3, 5), workers=2)
    assert all(torch.equal(a, b) for a, b in zip(resumed, mixed[3:], strict=True))
    with pytest.raises(SettingsError, match=r"codes 1.5: must be from 0 to 1"):
        replace(ONLINE, codes=1.5)


@pytest.mark.usefixtures("one_thread")
def test_the_command_takes_photographs(photos: Path, tmp_path: Path) -> None:
    arguments = ["--network", "lite-tiny", "--patch", "32", "--batch", "2", "--steps", "2", "--workers", "0", "--json"]
    online = ["--online", "blur_px=3-6", "--online", "still=0.2", "--validation-patch", "48", "--validation-pairs", "2"]
    done = CliRunner().invoke(command, [str(photos), "-o", str(tmp_path / "run"), *arguments, *online], obj=Screen())
    assert done.exception is None, done.output
    assert json.loads(done.stdout)["steps"] == 2
    recorded = load_checkpoint(tmp_path / "run" / "last.safetensors").training["online"]
    assert (recorded["blur_px"], recorded["still"]) == ("3-6", 0.2)
    for wrong in ("nonsense=1", "still=much", "codes=half", "still", "noise=match", "layers=9"):
        refused = CliRunner().invoke(command, [str(photos), *arguments, "--online", wrong], obj=Screen())
        assert isinstance(refused.exception, SettingsError)


def test_a_folder_without_anything_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="no photographs"):
        open_sources(tmp_path, TrainConfig(**PLAIN), CPU)


_BARE = """
import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

missing = ("h5py", "cv2", "av", "numba", "click", "rich", "joblib", "imageio_ffmpeg", "psutil")
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name in missing else find_spec(name, package)
sys.modules.update(dict.fromkeys(missing))
"""
_TRAIN = """
from blursynth.model.settings import OnlineConfig, TrainConfig
from blursynth.model.train import train

config = TrainConfig(network="lite-tiny", patch=32, batch=2, workers=0, steps=2, validation_patch=48,
                     validation_pairs=2, online=OnlineConfig(blur_px="3-8"))
print(train(Path("photos.pack"), Path("run"), config).steps)
"""
_RECIPE = """
from blursynth.model.recipe.__main__ import main
from blursynth.model.recipe.budget import Budget

def short(self, name, *, has_gpu):
    few = {"steps": 2, "patch": 32, "batch": 2, "workers": 0, "validation_patch": 48, "validation_pairs": 2}
    return replace(full(self, name, has_gpu=has_gpu), progressive=False, precision="float32", **few)

full, Budget.config = Budget.config, short
arguments = ["--minutes", "9", "--device", "cpu", "-o", "work", "--weights", "weights"]
assert main(["photos.pack", *arguments, "--pairs", "pairs", "--online"]) == 0
assert not Path("work/pairs").exists()
checkpoint = "work/tiny/best.safetensors"
assert main(["photos.pack", *arguments, "-o", "again", "--init", checkpoint, "--online"]) == 0
"""


@pytest.mark.parametrize("program", [_TRAIN, _RECIPE], ids=["train", "recipe"])
def test_photographs_train_on_a_machine_with_little_more_than_torch(photos: Path, tmp_path: Path, program: str) -> None:
    pack_photos(sorted(photos.iterdir()), tmp_path / "photos.pack")
    for side in ("blur", "sharp"):
        (tmp_path / "pairs" / side).mkdir(parents=True)
        shutil.copy(photos / "0.png", tmp_path / "pairs" / side)
    done = subprocess.run(
        [sys.executable, "-c", _BARE + program], check=False, capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split("\n")[0] in {"2", "weights/tiny.safetensors"}
    if program == _RECIPE:
        assert "PSNR" in done.stdout
        assert "SSIM" not in done.stdout  # for want of numba


def test_names_of_the_package_are_found_when_they_are_asked_for() -> None:
    from blursynth import model

    for name in model.__all__:
        assert getattr(model, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        _ = model.nonsense
