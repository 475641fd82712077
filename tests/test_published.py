import io
import os
import pickle
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from skimage.transform import pyramid_gaussian
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from blursynth.errors import CheckpointError, SettingsError
from blursynth.model import Deblurrer
from blursynth.model.checkpoint import Checkpoint, save_checkpoint
from blursynth.model.mscnn import MSCNN, MSCNNConfig
from blursynth.model.published import CentredMSCNN, NAFNet, load_any, load_published, reading
from blursynth.model.published.nafnet import NAFNetConfig

State = dict[str, Tensor]


def port_state(num_scales: int = 3, *, num_blocks: int = 2, channels: int = 4, size: int = 5) -> State:
    """Random weights under the port's names, of a network that about keeps the contrast of its images."""
    generator = torch.Generator().manual_seed(num_scales)
    state = {}

    def add(name: str, out_channels: int, in_channels: int, kernel_size: int = size) -> None:
        shape = (out_channels, in_channels, kernel_size, kernel_size)
        spread = (in_channels * kernel_size**2) ** -0.5
        state[f"{name}.weight"] = torch.randn(shape, generator=generator) * spread
        state[f"{name}.bias"] = torch.randn(out_channels, generator=generator) * 9

    for scale in range(num_scales):
        add(f"body_models.{scale}.body.0", channels, 3 if scale == num_scales - 1 else 6)
        for block in range(1, num_blocks + 1):
            add(f"body_models.{scale}.body.{block}.body.0", channels, channels)
            add(f"body_models.{scale}.body.{block}.body.2", channels, channels)
        add(f"body_models.{scale}.body.{num_blocks + 1}", 3, channels)
    for scale in range(1, num_scales):
        add(f"conv_end_models.{scale}.uppath.0", 12, 3, 5)
    return state


def port_pyramid(image: NDArray[Any], num_scales: int) -> list[Tensor]:
    levels: Any = pyramid_gaussian(image, num_scales - 1, channel_axis=2, preserve_range=True)  # type: ignore[no-untyped-call]
    return [torch.from_numpy(level.astype(np.float32)).permute(2, 0, 1)[None] for level in levels]


def port_forward(state: State, pyramid: list[Tensor], rgb_range: float) -> list[Tensor]:
    """The port's network, written out from its description; scale 0 is the finest."""

    def convolve(images: Tensor, name: str) -> Tensor:
        weight = state[f"{name}.weight"].float()
        return F.conv2d(images, weight, state[f"{name}.bias"].float(), padding=weight.shape[3] // 2)

    def body(images: Tensor, name: str) -> Tensor:
        features = convolve(images, f"{name}.body.0")
        block = 1
        while f"{name}.body.{block}.body.0.weight" in state:
            hidden = convolve(features, f"{name}.body.{block}.body.0").relu()
            features = features + convolve(hidden, f"{name}.body.{block}.body.2")
            block += 1
        return convolve(features, f"{name}.body.{block}")

    centred = [level - rgb_range / 2 for level in pyramid]
    images, coarsest_first = centred[-1], []
    for scale in reversed(range(len(pyramid))):
        output = body(images, f"body_models.{scale}")
        coarsest_first.append(output + rgb_range / 2)
        if scale:
            finer = F.pixel_shuffle(convolve(output, f"conv_end_models.{scale}.uppath.0"), 2)
            images = torch.cat((centred[scale - 1], finer), dim=1)
    return coarsest_first[::-1]


def random_image(height: int = 24, width: int = 16) -> NDArray[np.uint8]:
    return np.random.Generator(np.random.Philox(key=[1, 2])).integers(0, 256, (height, width, 3), np.uint8)


def saved(path: Path, content: object, *, is_old: bool = False) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=not is_old)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_published(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()  # and so one line
    return message


@pytest.mark.parametrize("num_scales", [1, 2, 3])
@pytest.mark.parametrize("rgb_range", [255.0, 1.0])
@torch.inference_mode()
def test_it_computes_what_the_port_computes(tmp_path: Path, num_scales: int, rgb_range: float) -> None:
    state = port_state(num_scales)
    if rgb_range == 1:
        state = {name: tensor / (99 if name.endswith("bias") else 1) for name, tensor in state.items()}
    network = load_published(saved(tmp_path / "a.pt", {"G": state}), rgb_range=rgb_range)
    assert isinstance(network, CentredMSCNN)
    assert network.config == MSCNNConfig(num_scales, 2, 4, 5)
    assert not network.training

    unit = random_image().astype(np.float32) / 255
    expected = port_forward(state, port_pyramid(unit * np.float32(rgb_range), num_scales), rgb_range)
    found = network(torch.from_numpy(unit).permute(2, 0, 1)[None])
    assert len(found) == num_scales
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs / rgb_range, atol=1e-5, rtol=0)
    assert found[0].std() > 0.1  # it is no constant that was compared


def test_photographs_come_out_as_the_ports_do(tmp_path: Path) -> None:
    image = random_image(64, 48)
    state = port_state(3)
    path = saved(tmp_path / "a.pt", {"G": state})
    network = load_published(path)
    assert isinstance(network, CentredMSCNN)
    restored = Deblurrer(network, device=torch.device("cpu"), is_guarded=False)(image)
    expected = port_forward(state, port_pyramid(image.astype(np.float32), 3), 255)[0][0].permute(1, 2, 0)
    codes = expected.clamp(0, 255).round().numpy()
    assert np.abs(restored.astype(int) - codes).max() <= 1  # a value half-way between two codes may round either way
    assert (restored == codes).mean() > 0.999
    assert ((codes > 0) & (codes < 255)).mean() > 0.2  # and clipping did not make them alike


def test_deblurring_takes_a_published_file_as_it_takes_a_checkpoint(tmp_path: Path) -> None:
    path, image = saved(tmp_path / "published.pt", {"G": port_state()}), random_image()
    by_name = Deblurrer.load(path, device="cpu")(image)
    assert np.array_equal(by_name, Deblurrer(load_published(path), device=torch.device("cpu"))(image))
    assert not np.array_equal(by_name, image)


@pytest.mark.parametrize(("height", "width"), [(4, 4), (8, 12), (64, 36)])
def test_its_pyramid_is_that_of_scikit_image(height: int, width: int) -> None:
    image = random_image(height, width).astype(np.float32) / 255
    with torch.device("meta"):
        network = CentredMSCNN(MSCNNConfig(3, 1, 1, 1))
    images = torch.from_numpy(image).permute(2, 0, 1)[None]
    for ours, theirs in zip(network.pyramid(images), port_pyramid(image, 3), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match="multiples of 4"):
        network.pyramid(images[:, :, :-2])


ENCODER, MIDDLE, DECODER = (1, 2), 1, (2, 0)  # blocks, of the decoder in the file's order: the coarsest first


def nafnet_block(name: str, c: int) -> dict[str, tuple[int, ...]]:
    shapes = {"conv1": (2 * c, c, 1, 1), "conv2": (2 * c, 1, 3, 3), "conv4": (2 * c, c, 1, 1)}
    shapes |= dict.fromkeys(("conv3", "conv5", "sca.1"), (c, c, 1, 1))
    named: dict[str, tuple[int, ...]] = dict.fromkeys(("beta", "gamma"), (1, c, 1, 1))
    for part, shape in shapes.items():
        named |= {f"{part}.weight": shape, f"{part}.bias": shape[:1]}
    named |= {f"{norm}.{kind}": (c,) for norm in ("norm1", "norm2") for kind in ("weight", "bias")}
    return {f"{name}.{part}": shape for part, shape in named.items()}


def nafnet_state(width: int = 4) -> State:
    """Random weights under NAFNet's names."""
    shapes: dict[str, tuple[int, ...]] = {"intro.weight": (width, 3, 3, 3), "intro.bias": (width,)}
    stages = [(f"encoders.{level}", width << level, count) for level, count in enumerate(ENCODER)]
    stages.append(("middle_blks", width << len(ENCODER), MIDDLE))
    for step, count in enumerate(DECODER):
        channels = width << (len(DECODER) - 1 - step)
        stages.append((f"decoders.{step}", channels, count))
        shapes[f"ups.{step}.0.weight"] = (4 * channels, 2 * channels, 1, 1)
    for level in range(len(ENCODER)):
        channels = width << level
        shapes |= {f"downs.{level}.weight": (2 * channels, channels, 2, 2), f"downs.{level}.bias": (2 * channels,)}
    for name, channels, count in stages:
        for block in range(count):
            shapes |= nafnet_block(f"{name}.{block}", channels)
    shapes |= {"ending.weight": (3, width, 3, 3), "ending.bias": (3,)}
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(shape, generator=generator) * max(1, torch.Size(shape[1:]).numel()) ** -0.5
        for name, shape in shapes.items()
    }


def nafnet_forward(state: State, blurry: Tensor) -> Tensor:
    """NAFNet, written out from its paper."""

    def convolve(x: Tensor, name: str, padding: int = 0, stride: int = 1, groups: int = 1) -> Tensor:
        return F.conv2d(x, state[f"{name}.weight"], state.get(f"{name}.bias"), stride, padding, groups=groups)

    def normalise(x: Tensor, name: str) -> Tensor:
        mean = x.mean(1, keepdim=True)
        unit = (x - mean) / ((x - mean).square().mean(1, keepdim=True) + 1e-6).sqrt()
        return unit * state[f"{name}.weight"].view(1, -1, 1, 1) + state[f"{name}.bias"].view(1, -1, 1, 1)

    def gate(x: Tensor) -> Tensor:
        half = x.shape[1] // 2
        return x[:, :half] * x[:, half:]

    def blocks(x: Tensor, name: str, count: int) -> Tensor:
        for block in (f"{name}.{i}" for i in range(count)):
            hidden = convolve(normalise(x, f"{block}.norm1"), f"{block}.conv1")
            hidden = gate(convolve(hidden, f"{block}.conv2", padding=1, groups=hidden.shape[1]))
            hidden = hidden * convolve(F.adaptive_avg_pool2d(hidden, 1), f"{block}.sca.1")
            x = x + state[f"{block}.beta"] * convolve(hidden, f"{block}.conv3")
            hidden = gate(convolve(normalise(x, f"{block}.norm2"), f"{block}.conv4"))
            x = x + state[f"{block}.gamma"] * convolve(hidden, f"{block}.conv5")
        return x

    x = convolve(blurry, "intro", padding=1)
    skips = []
    for level, count in enumerate(ENCODER):
        x = blocks(x, f"encoders.{level}", count)
        skips.append(x)
        x = convolve(x, f"downs.{level}", stride=2)
    x = blocks(x, "middle_blks", MIDDLE)
    for step, count in enumerate(DECODER):
        x = F.pixel_shuffle(convolve(x, f"ups.{step}.0"), 2) + skips[-1 - step]
        x = blocks(x, f"decoders.{step}", count)
    return blurry + convolve(x, "ending", padding=1)


@torch.inference_mode()
def test_it_computes_what_nafnet_computes(tmp_path: Path) -> None:
    state = nafnet_state()
    network = load_published(saved(tmp_path / "a.pth", {"params": state}))
    assert isinstance(network, NAFNet)
    assert network.size_multiple == 4
    blurry = torch.from_numpy(random_image(24, 16)).permute(2, 0, 1)[None] / 255
    (restored,) = network(blurry)
    expected = nafnet_forward(state, blurry)
    assert (expected - blurry).std() > 0.1
    torch.testing.assert_close(restored, expected, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="multiples of 4"):
        network(blurry[:, :, :-2])


def test_the_published_nafnet_of_width_32_has_its_size() -> None:
    with torch.device("meta"):
        network = NAFNet(NAFNetConfig(32, (1, 1, 1, 28), 1, (1, 1, 1, 1)))
    assert sum(parameter.numel() for parameter in network.parameters()) == pytest.approx(17.11e6, abs=5e3)
    with FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 3, 256, 256, device="meta"))
    assert int(counter.get_total_flops()) / 2e9 == pytest.approx(15.96, abs=0.005)  # billions of multiplications
    assert network.size_multiple == 16


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"ups.0.0.weight": None}, "ups.0.0.weight is missing"),
        ({"middle_blks.0.beta": None}, "middle_blks.0.beta is missing"),
        ({"encoders.1.1.sca.1.weight": torch.zeros(8, 8)}, "expected (8, 8, 1, 1)"),
        ({"zoom": torch.zeros(2)}, "zoom is (2,), which this network does not have"),
        ({"intro.weight": torch.tensor(1.0)}, "weights are missing"),
        ({"intro.weight": torch.zeros(0, 3, 3, 3)}, "weights are missing"),
        ({"encoders.0.99999.beta": torch.zeros(1)}, "weights are missing"),
        ({"downs.90.bias": torch.zeros(2)}, "impossible size"),
        ({"ending.bias": torch.full((3,), torch.inf)}, "not finite"),
    ],
)
def test_weights_that_do_not_fit_nafnet_are_refused(
    tmp_path: Path, changes: dict[str, Tensor | None], why: str
) -> None:
    state = {name: tensor for name, tensor in (nafnet_state() | changes).items() if tensor is not None}
    assert why in refusal(saved(tmp_path / "a.pth", state))


def as_parallel(state: State) -> State:
    return {f"module.{name}": tensor for name, tensor in state.items()}


WRAPPED: dict[str, Callable[[State], object]] = {
    "plain": lambda state: state,
    "ordered": OrderedDict,
    "port": lambda state: {"G": state, "D": {"conv.weight": torch.zeros(1)}},
    "state_dict": lambda state: {"state_dict": state, "epoch": 3},
    "params": lambda state: {"params": state},
    "average": lambda state: {"params": {"old": torch.zeros(1)}, "params_ema": state},
    "nested": lambda state: {"model": {"state_dict": state}, "loss": [1.0, 2.0]},
    "parallel": as_parallel,
    "nested parallel": lambda state: {"model": {"G": as_parallel(state)}},
    "parameters": lambda state: {name: torch.nn.Parameter(tensor) for name, tensor in state.items()},
}


@pytest.mark.parametrize("wrap", WRAPPED)
@pytest.mark.parametrize("is_old", [False, True])
def test_what_programs_wrap_around_weights_is_taken_off(tmp_path: Path, wrap: str, is_old: bool) -> None:
    state = port_state(2)
    weights = load_published(saved(tmp_path / "a.pt", WRAPPED[wrap](state), is_old=is_old)).state_dict()
    assert torch.equal(weights["upconvs.0.0.weight"], state["conv_end_models.1.uppath.0.weight"])
    assert torch.equal(weights["scales.1.2.first.bias"], state["body_models.1.body.2.body.0.bias"] / 255)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_precision_become_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    state = {name: tensor.to(dtype) for name, tensor in port_state(1).items()}
    weights = load_published(saved(tmp_path / "a.pt", state)).state_dict()
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    assert torch.equal(weights["scales.0.0.weight"], state["body_models.0.body.0.weight"].float())


def test_the_network_can_be_trained_on(tmp_path: Path) -> None:
    network = load_published(saved(tmp_path / "a.pt", port_state(2)))
    torch.autograd.backward(network(torch.zeros(1, 3, 8, 8))[0].sum())
    assert all(parameter.is_leaf and parameter.grad is not None for parameter in network.parameters())


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("is_old", [False, True])
def test_code_in_a_file_is_refused_and_does_not_run(tmp_path: Path, is_old: bool) -> None:
    proof = tmp_path / "executed"
    path = saved(tmp_path / "a.pt", {"G": port_state(1), "args": Bomb(proof)}, is_old=is_old)
    assert "code from a file is never run" in refusal(path)
    assert not proof.exists()
    torch.load(path, weights_only=False)
    assert proof.exists()  # so it was a bomb


def test_a_program_of_torchscript_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(torch.nn.ReLU(), torch.zeros(1)), path)  # type: ignore[no-untyped-call]
    assert "TorchScript" in refusal(path)


def test_an_archive_with_the_weights_inside_is_refused_with_their_name(tmp_path: Path) -> None:
    path = tmp_path / "GOPRO_L1.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("GOPRO_L1/models/model-1000.pt", b"weights")
    assert "unpack it and choose a file such as GOPRO_L1/models/model-1000.pt" in refusal(path)


@pytest.mark.parametrize(
    "content",
    [b"weights\n", b"PK", b"PK\x03\x04", pickle.dumps({"a": 1}), reading._BEFORE_ZIP, b"<html>Sign in</html>" * 100],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(content)
    assert "PyTorch weights" in refusal(path)
    path.write_bytes(b"")
    assert "empty file" in refusal(path)
    assert "not a regular file" in refusal(tmp_path)


@pytest.mark.parametrize("is_old", [False, True])
@pytest.mark.parametrize("kept", [0.01, 0.2, 0.5, 0.9, 0.999])
def test_a_file_cut_short_is_refused(tmp_path: Path, is_old: bool, kept: float) -> None:
    path = saved(tmp_path / "a.pt", port_state(1), is_old=is_old)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    refusal(path)


def changed(**changes: Tensor | None) -> State:
    """Weights of one scale with some names changed; ``__`` stands for a dot, ``None`` for what is not there."""
    state = port_state(1)
    for name, tensor in changes.items():
        key = name.replace("__", ".")
        if tensor is None:
            del state[key]
        else:
            state[key] = tensor
    return state


STEM = torch.zeros(4, 3, 5, 5)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({}, "no weights in it"),
        ([port_state(1)], "no weights in it"),
        ({"epoch": 3}, "no weights in it"),
        ({"state_dict": {"model": {"epoch": 3}}}, "no weights in it"),
        ({"conv1.weight": torch.zeros(2)}, "not the weights of DeepDeblur-PyTorch"),
        ({"conv\n.weight": torch.zeros(2)}, r"conv\n.weight"),
        (changed(body_models__0__body__3__bias=None), "body_models.0.body.3.bias is missing"),
        (changed(body_models__0__body__1__body__0__weight=None), "body_models.0.body.1.body.0.weight is missing"),
        (changed(zoom=torch.zeros(1)), "zoom is (1,), which this network does not have"),
        (changed(body_models__0__body__9999__bias=torch.zeros(1)), "are missing"),
        (changed(body_models__999__body__0__bias=torch.zeros(1)), "are missing"),
        (changed(body_models__0__body__3__bias=torch.zeros(4)), "body_models.0.body.3.bias is (4,), expected (3,)"),
        (changed(body_models__0__body__0__weight=STEM[:3]), "body_models.0.body.0.bias is (4,), expected (3,)"),
        (changed(body_models__0__body__0__weight=STEM[..., :4, :4]), "not a network that can be built"),
        (changed(body_models__0__body__0__weight=STEM[:, :, 0]), "not the weights of DeepDeblur-PyTorch"),
        (changed(body_models__0__body__0__weight=STEM[:0]), "not a network that can be built"),
        (changed(body_models__0__body__0__weight=STEM.int()), "floating-point"),
        (changed(body_models__0__body__0__weight=STEM.to_sparse()), "not a dense tensor"),
        (changed(body_models__0__body__0__weight=STEM.to("meta")), "a tensor without values"),
        (changed(body_models__0__body__0__weight=STEM + torch.nan), "not finite"),
        (changed(body_models__0__body__0__weight=STEM.double() + 1e300), "not finite"),
        (changed(body_models__0__body__3__bias=STEM[0, 0, 0, 0].expand(10**12)), "GB"),
        (changed(body_models__0__body__0__weight=STEM[0, 0, 0, 0].expand(1, 1, 1, 10**7 + 1)), "expected"),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, content: object, why: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sparse tensors are unfinished, PyTorch says
        path = saved(tmp_path / "a.pt", content)
        assert why in refusal(path)


def test_what_would_be_too_large_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "a.pt", port_state(1))
    monkeypatch.setattr(reading, "MAX_BYTES", path.stat().st_size - 1)
    monkeypatch.setattr(torch, "load", None)
    assert "more than any network" in refusal(path)
    packed = io.BytesIO()  # small, and large once it is unpacked
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(100_000))
    path.write_bytes(packed.getvalue())
    assert path.stat().st_size < reading.MAX_BYTES
    assert "more than any network" in refusal(path)


@pytest.mark.parametrize("rgb_range", [0.0, -255.0, float("nan"), float("inf"), 1e-30])
def test_ranges_that_make_no_sense_are_refused(tmp_path: Path, rgb_range: float) -> None:
    with pytest.raises(SettingsError, match="rgb_range is"):
        load_published(saved(tmp_path / "a.pt", port_state(1)), rgb_range=rgb_range)


def test_the_content_decides_who_reads_a_file(tmp_path: Path) -> None:
    config = MSCNNConfig(1, 1, 2, 3)
    with torch.random.fork_rng(devices=[]):
        weights: dict[str, Any] = dict(MSCNN(config).state_dict())
    ours, theirs = tmp_path / "ours.pt", tmp_path / "theirs.safetensors"
    save_checkpoint(ours, Checkpoint(config, weights))
    saved(theirs, port_state(1))
    assert type(load_any(ours)) is MSCNN
    assert type(load_any(theirs)) is CentredMSCNN
    with pytest.raises(CheckpointError, match="No such file"):
        load_any(tmp_path / "missing.pt")
