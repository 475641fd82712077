"""Köhler's protocol, and the benchmark that is scored with it."""

import itertools
import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.signal import convolve2d  # type: ignore[import-untyped]

from blursynth.cli.main import main
from blursynth.crf import response_curve
from blursynth.errors import PhotoError, RefusedError, SettingsError
from blursynth.make import Engine
from blursynth.make.stills import KohlerConfig, make_kohler_set
from blursynth.make.stills.benchmark import _played
from blursynth.model.evaluation.kohler import kohler_ms_ssim, kohler_scores, whole_pixel_shift
from blursynth.model.evaluation.luma import full_luma
from blursynth.model.metrics import psnr
from blursynth.shake import ShakeRule, draw_trajectory
from blursynth.shake.benchmark import BENCHMARK_NAME, NUM_FRAMES, open_kohler
from blursynth.shake.playback import Playback

Codes = NDArray[np.uint8]
Plane = NDArray[np.float64]
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def texture(height: int, width: int, seed: int = 0) -> Codes:
    """Soft spots that no shift repeats."""
    rng = np.random.default_rng(seed)
    picture = cv2.GaussianBlur(rng.random((height, width, 3)), (0, 0), 2.5)
    picture = (picture - picture.min()) / (picture.max() - picture.min())
    return np.asarray(np.rint(picture * 190 + 30), np.uint8)


def slow_ms_ssim(first: Plane, second: Plane) -> float:
    """MeTriX MuX, with whole two-dimensional filters and MATLAB's symmetric borders."""
    half = [0.037828455507260, -0.023849465019560, -0.110624404418440, 0.377402855612830]
    low = np.array([*half, 0.852698679008890, *half[::-1]])
    low_pass = np.outer(low, low) / np.outer(low, low).sum()
    offsets = np.arange(-5, 6)
    window = np.exp(-(offsets[:, None] ** 2 + offsets**2) / 4.5)
    window /= window.sum()
    product = 1.0
    for scale, exponent in enumerate(EXPONENTS):
        if scale:
            first, second = (
                convolve2d(np.pad(plane, 4, mode="symmetric"), low_pass, "valid")[::2, ::2] for plane in (first, second)
            )
        mu, nu = (convolve2d(plane, window, "valid") for plane in (first, second))
        variance = convolve2d(first**2, window, "valid") - mu**2
        other = convolve2d(second**2, window, "valid") - nu**2
        covariance = convolve2d(first * second, window, "valid") - mu * nu
        sigma, tau = np.sqrt(np.maximum(variance, 0)), np.sqrt(np.maximum(other, 0))
        product *= np.mean((2 * sigma * tau + C2) / (variance + other + C2)) ** exponent
        product *= np.mean((covariance + C2 / 2) / (sigma * tau + C2 / 2)) ** exponent
    return float(product * np.mean((2 * mu * nu + C1) / (mu**2 + nu**2 + C1)) ** EXPONENTS[-1])


@pytest.mark.parametrize(("height", "width"), [(176, 190), (181, 177)])
def test_its_ms_ssim_is_that_of_metrix_mux(height: int, width: int) -> None:
    sharp = full_luma(texture(height, width))
    restored = cv2.GaussianBlur(sharp, (0, 0), 2.0) * 0.9 + np.random.default_rng(1).normal(0, 3, sharp.shape)
    found = kohler_ms_ssim(restored, sharp)
    assert 0.3 < found < 0.99
    assert found == pytest.approx(slow_ms_ssim(restored, sharp), abs=1e-9)
    assert kohler_ms_ssim(sharp, sharp) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("shift", [(0, 0), (3, -5), (-7, 2), (11, 9), (-1, -1)])
@pytest.mark.parametrize("size", [(60, 80), (61, 79)])
def test_whole_shifts_are_found(shift: tuple[int, int], size: tuple[int, int]) -> None:
    plane = texture(*size)[..., 0].astype(float)
    moved = np.roll(plane, (-shift[0], -shift[1]), axis=(0, 1))
    assert whole_pixel_shift(np.fft.rfft2(moved), np.fft.rfft2(plane), size) == shift


def cut(picture: Codes, down: int, right: int) -> Codes:
    return picture[20 + down : 200 + down, 20 + right : 210 + right]


def test_a_shifted_dimmed_picture_is_brought_back() -> None:
    picture = (texture(240, 240) // 2) * 2
    sharp, restored = cut(picture, 0, 0), cut(picture, 4, -6) // 2
    assert psnr(restored, sharp) < 13
    found_psnr, found_ms_ssim = kohler_scores(restored, [sharp])
    # All that is left is the factor, which is found before the shift and so is not quite 2.
    factor = (sharp * restored.astype(float)).sum() / np.square(restored.astype(float)).sum()
    error = (factor / 2 - 1) * full_luma(sharp)[4:, :-6]
    assert found_psnr == pytest.approx(10 * math.log10(255**2 * sharp[..., 0].size / np.square(error).sum()), abs=1e-9)
    assert found_psnr > 38
    assert found_ms_ssim > 0.999


def test_the_zeroed_border_counts_as_agreement() -> None:
    picture = texture(240, 240)
    noise = np.random.default_rng(0).integers(-8, 9, (180, 190, 3))
    restored = (cut(picture, 10, 10) + noise).astype(np.uint8)
    scale = (cut(picture, 0, 0) * restored.astype(float)).sum() / np.square(restored.astype(float)).sum()
    moved = scale * full_luma(restored)[:170, :180]
    error = np.square(moved - full_luma(cut(picture, 0, 0))[10:, 10:]).sum() / (180 * 190)  # not 170 · 180
    found_psnr, _ = kohler_scores(restored, [cut(picture, 0, 0)])
    assert found_psnr == pytest.approx(10 * math.log10(255**2 / error), abs=1e-9)


def test_the_best_frame_counts_for_each_number_of_its_own() -> None:
    picture = texture(240, 240)
    restored = cut(picture, 0, 0)
    frames = [np.asarray(cv2.GaussianBlur(restored, (0, 0), sigma), np.uint8) for sigma in (3.0, 1.0, 2.0)]
    each = [kohler_scores(restored, [frame]) for frame in frames]
    assert kohler_scores(restored, iter(frames)) == each[1] == (max(p for p, _ in each), max(m for _, m in each))
    assert kohler_scores(restored, [*frames, restored])[0] > 60


def test_what_cannot_be_scored_is_refused() -> None:
    sharp = texture(180, 180)
    with pytest.raises(SettingsError, match="there are none"):
        kohler_scores(sharp, [])
    with pytest.raises(RefusedError, match="black"):
        kohler_scores(np.zeros_like(sharp), [sharp])
    with pytest.raises(SettingsError, match="176"):
        kohler_scores(sharp[:100], [sharp[:100]])
    with pytest.raises(ValueError, match="shapes"):
        kohler_scores(sharp, [sharp[1:]])


def playback(path_px: float = 12.0) -> tuple[Playback, NDArray[np.float32]]:
    linear = response_curve("srgb").to_linear(texture(240, 260))
    rule = ShakeRule(f"{path_px}", "tremor", "0.5", readout="0", layers="1")
    return Playback.along(draw_trajectory(rule, 5, (240, 260)), linear, (180, 190)), linear


def test_the_mean_of_what_is_seen_on_the_way_is_the_blurry_image() -> None:
    made, linear = playback()
    every = [made._mean(made.matrices[k : k + 1], np.ones(1)) for k in range(made.weights.size)]
    mean = np.einsum("k,kyxc->yxc", made.weights, np.array(every, np.float64))
    np.testing.assert_allclose(made.blurry_linear(), mean, atol=2e-5)
    frames = np.array(list(made.frames_linear(NUM_FRAMES)))
    assert np.abs(frames.mean(axis=0) - made.blurry_linear()).max() < 0.03
    middle = linear[30:210, 35:225]
    assert np.abs(frames - middle).mean(axis=(1, 2, 3)).max() > np.abs(made.blurry_linear() - middle).mean()


def test_frames_lie_along_the_trajectory_in_time() -> None:
    made, _ = playback()
    grey = [np.fft.rfft2(frame.mean(axis=2)) for frame in made.frames_linear(9)]
    steps = [whole_pixel_shift(a, b, (180, 190)) for a, b in itertools.pairwise(grey)]
    assert all(math.hypot(*step) <= 12 / 2 for step in steps)
    assert sum(math.hypot(*step) for step in steps) > 3


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photos")
    paths = [folder / "a.png", folder / "b.png"]
    for seed, path in enumerate(paths):
        Image.fromarray(texture(300, 320, seed)).save(path)
    return paths


CONFIG = KohlerConfig(size=(180, 176))


@pytest.fixture(scope="module")
def made(photos: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("set") / "out"
    make_kohler_set(photos[:1], output, CONFIG)
    return output


def contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def test_a_set_holds_twelve_trajectories_and_their_frames(made: Path) -> None:
    found = open_kohler(made)
    assert [trial.name for trial in found.trials] == [f"picture_01/trajectory_{k:02d}" for k in range(1, 13)]
    paths_px = [trial.path_px for trial in found.trials]
    assert np.diff(paths_px).min() > -1e-6
    assert paths_px[0] == pytest.approx(6, abs=0.01)
    assert paths_px[-1] == pytest.approx(300 / 8, abs=0.01)  # an eighth of the photograph at most
    trial = found.trials[3]
    blurry, frames = trial.read_blurry(), list(trial.read_frames())
    assert len(frames) == NUM_FRAMES
    assert {frame.shape for frame in frames} == {blurry.shape} == {(176, 180, 3)}
    assert json.loads((made / "index.json").read_bytes())["benchmark"] == BENCHMARK_NAME


def test_a_frame_scores_higher_than_the_blurry_image(made: Path) -> None:
    trial = open_kohler(made).trials[6]
    frames = list(trial.read_frames())[::8]
    blurry, sharp = kohler_scores(trial.read_blurry(), frames), kohler_scores(frames[2], frames)
    assert sharp[0] > 60
    assert blurry[0] < 40
    assert sharp[1] > 0.9999 > blurry[1]


def test_the_same_bytes_again_after_an_interruption_and_with_two_workers(
    photos: list[Path], made: Path, tmp_path: Path
) -> None:
    before = contents(made)
    for name in ("index.json", "picture_01/trajectory_04/trajectory.json", "picture_01/trajectory_04/frames/007.png"):
        (made / name).unlink()
    (made / "picture_01/trajectory_09/blurry.png").write_bytes(b"half")
    untouched = (made / "picture_01/trajectory_01/blurry.png").stat().st_mtime_ns
    with pytest.raises(RefusedError, match="no whole camera-shake benchmark"):
        open_kohler(made)
    make_kohler_set(photos[:1], made, CONFIG, engine=Engine(jobs=2))
    assert contents(made) == before
    assert (made / "picture_01/trajectory_01/blurry.png").stat().st_mtime_ns == untouched


def test_another_set_is_not_overwritten_unasked(photos: list[Path], made: Path) -> None:
    before = contents(made)
    for others, config in [(photos, CONFIG), (photos[1:], CONFIG), (photos[:1], KohlerConfig((180, 176), seed=1))]:
        with pytest.raises(SettingsError, match="--overwrite"):
            make_kohler_set(others, made, config)
    assert contents(made) == before


def test_overwriting_leaves_nothing_of_the_other_set(photos: list[Path], made: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    (output / "picture_02/trajectory_12/frames").mkdir(parents=True)
    stale = [
        output / f"picture_02/trajectory_12/{name}" for name in ("trajectory.json", "blurry.png", "frames/032.png")
    ]
    for path in (*stale, output / "plan.json", output / "notes.txt"):
        path.write_text("{}")
    make_kohler_set([photos[0], photos[0]], output, CONFIG, overwrite=True)
    assert contents(output) == contents(made) | {"notes.txt": b"{}"}


def test_a_damaged_set_is_refused(made: Path, tmp_path: Path) -> None:
    (tmp_path / "index.json").write_bytes(b"{}")
    changes: list[dict[str, Any]] = [
        {"schema": 2},
        {"benchmark": "another"},
        {"pictures": []},
        {"pictures": [{"trajectories": []}]},
        {"pictures": 3},
        {"settings": 3},
    ]
    for change in changes:
        index = json.loads((made / "index.json").read_bytes()) | change
        (tmp_path / "index.json").write_text(json.dumps(index))
        with pytest.raises(RefusedError, match=r"index\.json"):
            open_kohler(tmp_path)
    index = json.loads((made / "index.json").read_bytes())
    index["pictures"][0]["trajectories"][0]["path_px"] = 10**400
    (tmp_path / "index.json").write_text(json.dumps(index))
    with pytest.raises(RefusedError, match="damaged"):
        open_kohler(tmp_path)
    (tmp_path / "index.json").write_text("[" * 100_000)
    with pytest.raises(RefusedError, match="damaged"):
        open_kohler(tmp_path)
    (tmp_path / "index.json").write_bytes((made / "index.json").read_bytes())
    with pytest.raises(PhotoError, match="cannot be read"):
        open_kohler(tmp_path).trials[0].read_blurry()
    blurry = tmp_path / "picture_01/trajectory_01/blurry.png"
    blurry.parent.mkdir(parents=True)
    blurry.write_bytes((made / "picture_01/trajectory_02/blurry.png").read_bytes())
    with pytest.raises(PhotoError, match="not the bytes"):
        open_kohler(tmp_path).trials[0].read_blurry()


def test_small_photographs_and_impossible_settings_are_refused(photos: list[Path], tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match=r"a\.png: photo of 320x300 px"):
        make_kohler_set(photos[:1], tmp_path / "out", KohlerConfig((310, 290)))
    assert not (tmp_path / "out").exists()  # nothing is shaken before all are known to fit
    with pytest.raises(SettingsError, match="176"):
        KohlerConfig((512, 100))
    with pytest.raises(SettingsError, match="seed -1"):
        KohlerConfig(seed=-1)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/mine.txt").write_text("x")
    for overwrite in (False, True):
        with pytest.raises(SettingsError, match="mine: holds other files"):
            make_kohler_set(photos[:1], tmp_path / "mine", CONFIG, overwrite=overwrite)
    with pytest.raises(SettingsError, match="0 photographs"):
        make_kohler_set([], tmp_path / "out")
    (tmp_path / "no.png").write_bytes(b"no picture")
    with pytest.raises(PhotoError, match=r"no\.png"):
        make_kohler_set([tmp_path / "no.png"], tmp_path / "no", CONFIG)


def test_the_command_line_makes_it(photos: list[Path], made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["shake", str(photos[0]), "-o", str(made), "--preset", "kohler", "--size", "180x176", "-q"]
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--json"])
    assert end.value.code == 0
    assert json.loads(capsys.readouterr().out)["index"] == str(made / "index.json")
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--blur-px", "3"])
    assert end.value.code == 2
    assert "--blur-px does not go with --preset kohler" in capsys.readouterr().err


def test_what_the_benchmark_decides_is_refused_wherever_it_is_told(
    photos: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["shake", str(photos[0]), "-o", str(tmp_path / "out"), "--preset", "kohler", "--size", "180x176", "-q"]
    (tmp_path / "settings.toml").write_text("[shake]\nnoise = 'iso:800'\n")
    with pytest.raises(SystemExit) as end:
        main(["--config", str(tmp_path / "settings.toml"), *words])
    assert end.value.code == 2
    assert "--noise of the settings file does not go with --preset kohler" in capsys.readouterr().err
    monkeypatch.setenv("BLURSYNTH_SHAKE_STILL", "0.5")
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    assert "--still of the environment does not go with --preset kohler" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("height", "width"), [(602, 903), (602, 602)])
def test_photographs_of_the_help_are_large_enough(height: int, width: int) -> None:
    without_memory = np.broadcast_to(np.float32(0), (height, width, 3))
    for seed in range(3):
        for number in range(12):
            _played(KohlerConfig(seed=seed), number, without_memory)
