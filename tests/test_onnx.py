import copy
import functools
import hashlib
import json
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from torch import Tensor

from blursynth.cli.onnx import command
from blursynth.cli.screen import Screen
from blursynth.errors import BlursynthError, CheckpointError, DeviceError, OutputError, SettingsError
from blursynth.model import onnx_export
from blursynth.model.checkpoint import Checkpoint, save_checkpoint
from blursynth.model.lite import LiteConfig
from blursynth.model.mscnn import MSCNNConfig
from blursynth.model.networks import NetworkConfig, build_network
from blursynth.model.onnx_export import OnnxFile, export_onnx
from blursynth.model.published import AnyNetwork, CentredMSCNN, NAFNet
from blursynth.model.published.nafnet import NAFNetConfig

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

# Every kind of layer, few and narrow.
SMALL: dict[str, NetworkConfig] = {
    "mscnn": MSCNNConfig(num_blocks=1, channels=2, kernel_size=3),
    "lite": LiteConfig((2, 3), (1, 1), (1,), num_fused_levels=1, depthwise_kernel_size=3),
}
pytestmark = pytest.mark.usefixtures("one_thread")


def with_random_weights(network: AnyNetwork) -> AnyNetwork:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return network


def small(name: str = "lite") -> AnyNetwork:
    with torch.random.fork_rng(devices=[]):
        network: AnyNetwork
        match name:
            case "centred":
                network = CentredMSCNN(MSCNNConfig(2, 1, 2, 3))
            case "nafnet":
                network = NAFNet(NAFNetConfig(2, (1,), 1, (1,)))
            case _:
                network = build_network(SMALL[name])
    return with_random_weights(network)


NAMES = {"MSCNN": "mscnn", "Lite": "lite", "CentredMSCNN": "centred", "NAFNet": "nafnet"}
really_exported = onnx_export._exported


@functools.cache
def exported(name: str) -> Any:
    """A small network as a model of ONNX, which takes seconds."""
    return really_exported(small(name).eval())


@pytest.fixture(autouse=True)
def _export_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        onnx_export, "_exported", lambda network: copy.deepcopy(exported(NAMES[type(network).__name__]))
    )


def session_of(path: Path) -> Any:
    return onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])


def computed(session: Any, images: Tensor) -> Tensor:
    return torch.from_numpy(session.run(["sharp"], {"blurry": images.numpy()})[0])


@pytest.mark.parametrize("name", NAMES.values())
@torch.inference_mode()
def test_onnx_runtime_computes_what_torch_computes(tmp_path: Path, name: str) -> None:
    network = small(name)
    path = tmp_path / "a.onnx"
    written = export_onnx(network, path)
    multiple = network.size_multiple
    assert written == OnnxFile(path, path.stat().st_size, 18, multiple, written.max_difference)
    assert 0 <= written.max_difference < 1e-5

    session = session_of(path)
    network.eval()
    generator = torch.Generator().manual_seed(1)
    for shape in ((1, 3, multiple, multiple), (2, 3, 5 * multiple, 2 * multiple), (5, 3, 64, 96)):
        images = torch.rand(shape, generator=generator)
        expected = network(images)[0]
        assert expected.std() > 0.05
        torch.testing.assert_close(computed(session, images), expected, atol=1e-4, rtol=0)


def test_sizes_are_free_and_said_in_the_file(tmp_path: Path) -> None:
    network = small("mscnn")
    export_onnx(network, tmp_path / "a.onnx", licence="CC-BY-4.0", checkpoint_sha256="ab" * 32)
    session = session_of(tmp_path / "a.onnx")
    (blurry,), (sharp,) = session.get_inputs(), session.get_outputs()
    assert (blurry.name, blurry.type, blurry.shape) == ("blurry", "tensor(float)", ["batch", 3, "4*rows", "4*columns"])
    assert (sharp.name, sharp.type, sharp.shape) == ("sharp", "tensor(float)", ["batch", 3, "4*rows", "4*columns"])
    told = session.get_modelmeta().custom_metadata_map
    assert told["size_multiple"] == "4"
    assert told["name"] == "MSCNN"
    assert json.loads(told["network"]) == {
        "num_scales": 3, "num_blocks": 1, "channels": 2, "kernel_size": 3
    }  # fmt: skip
    assert told["licence"] == "CC-BY-4.0"
    assert told["checkpoint_sha256"] == "ab" * 32


def test_the_file_tells_nothing_of_this_machine() -> None:
    for name in NAMES.values():
        model = copy.deepcopy(exported(name))
        for tensor in model.graph.initializer:
            tensor.ClearField("raw_data")
        for trace in ("/", ".py", "stack_trace", "blursynth"):
            assert trace not in str(model)


def test_exporting_again_gives_the_same_bytes_and_leaves_all_else_alone(capfd: pytest.CaptureFixture[str]) -> None:
    network = small().eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    expected = exported("lite").SerializeToString(deterministic=True)
    levels = [logging.getLogger(name).level for name in onnx_export._TALKATIVE]
    capfd.readouterr()
    assert really_exported(network).SerializeToString(deterministic=True) == expected
    assert capfd.readouterr() == ("", "")
    assert [logging.getLogger(name).level for name in onnx_export._TALKATIVE] == levels
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_a_network_in_training_stays_so(tmp_path: Path) -> None:
    network = small().train()
    export_onnx(network, tmp_path / "a.onnx")
    assert network.training


def test_a_file_that_computes_something_else_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class WrongSession:
        def __init__(self, *arguments: object, **_options: object) -> None:
            self.real = session(*arguments, **_options)

        def run(self, names: list[str], inputs: dict[str, Any]) -> list[Any]:
            return [output + np.float32(0.001) for output in self.real.run(names, inputs)]

    session = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "InferenceSession", WrongSession)
    with pytest.raises(BlursynthError, match=r"a\.onnx: not written, as .* differ by 0\.0"):
        export_onnx(small(), tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_library_is_named_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(DeviceError, match=r"pip install 'blursynth\[onnx\]'"):
        export_onnx(small(), tmp_path / "a.onnx")


def test_what_is_there_is_not_replaced_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(b"mine")
    monkeypatch.setattr(onnx_export, "_exported", None)  # it is refused before the work
    with pytest.raises(SettingsError, match="exists already"):
        export_onnx(small(), path)
    with pytest.raises(SettingsError, match=r"ends in \.onnx"):
        export_onnx(small(), tmp_path / "best.safetensors", overwrite=True)
    assert path.read_bytes() == b"mine"


def test_a_folder_that_is_not_there_is_the_disks_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="missing"):
        export_onnx(small(), tmp_path / "missing" / "a.onnx")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "best.safetensors"
    save_checkpoint(path, Checkpoint(SMALL["lite"], small().state_dict()))
    return path


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments], obj=Screen())


def test_the_command_writes_a_file_and_tells_of_it(tmp_path: Path, checkpoint: Path) -> None:
    path = tmp_path / "new" / "deblur.onnx"
    result = invoke(checkpoint, "-o", path, "--licence", "MIT", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["path"], told["num_bytes"], told["size_multiple"]) == (str(path), path.stat().st_size, 4)
    metadata = session_of(path).get_modelmeta().custom_metadata_map
    assert metadata["checkpoint_sha256"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert metadata["licence"] == "MIT"
    assert isinstance(invoke(checkpoint, "-o", path).exception, SettingsError)


def test_without_an_output_the_file_is_put_beside_the_checkpoint(checkpoint: Path) -> None:
    result = invoke(checkpoint)
    assert result.stdout.strip() == str(checkpoint.with_suffix(".onnx"))
    assert "multiples of 4 px" in result.stderr
    assert invoke(checkpoint, "--overwrite").exit_code == 0


@pytest.mark.parametrize("name", ["missing.safetensors", "text.pt", ""])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "text.pt").write_text("weights")
    result = invoke(tmp_path / name if name else "", "-o", tmp_path / "new" / "a.onnx")
    assert isinstance(result.exception, CheckpointError)
    assert not (tmp_path / "new").exists()


def test_the_help_shows_an_example() -> None:
    assert "blursynth onnx runs/mine/best.safetensors -o deblur.onnx" in invoke("--help").stdout
