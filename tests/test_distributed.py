import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from blursynth.model.checkpoint import load_checkpoint
from blursynth.model.distributed import World, is_first_process, joined
from blursynth.model.lite import LiteConfig

LITE = LiteConfig(channels=(4, 6, 6), encoder_blocks=(1, 0, 1), decoder_blocks=(1, 0))
SETTINGS = {
    "network": "lite-tiny", "steps": 4, "patch": 48, "batch": 4, "learning_rate": 1e-3, "validation_pairs": 3,
    "validation_patch": 48, "save_minutes": 1000.0, "workers": 0, "optimizer": "adamw", "ema": 0.9, "loss": "psnr",
}  # fmt: skip
SCRIPT = """
import importlib, json, os, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from blursynth.errors import BlursynthError
from blursynth.model.lite import LiteConfig
settings, state, train = (importlib.import_module(f"blursynth.model.{name}") for name in ("settings", "state", "train"))
network, config = (json.loads(argument) for argument in sys.argv[3:])
settings.network_config = state.network_config = lambda name: LiteConfig(**network)
train._LOG_EVERY_SECONDS = 0.0
if config.pop("slowly", False):
    update = train._update
    train._update = lambda *arguments: (time.sleep(0.05), update(*arguments))[1]
class Own(torch.nn.Sequential):
    size_multiple = 1
    def forward(self, blurry): return [super().forward(blurry)]
    def pyramid(self, sharp): return [sharp]
own = None
if config.pop("own", False):
    torch.manual_seed(int(os.environ["RANK"]))  # other weights in each process
    own = Own(torch.nn.Conv2d(3, 3, 1), torch.nn.BatchNorm2d(3))
class Notes:
    def note(self, message): print(message, file=sys.stderr)
    task = train.SILENT.task
try:
    config = settings.TrainConfig(**config)
    result = train.train(Path(sys.argv[1]), Path(sys.argv[2]), config, progress=Notes(), network=own)
except BlursynthError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
learned = [float(tensor.sum()) for tensor in own.state_dict().values()] if own else []
print(json.dumps([result.steps, result.best_psnr, result.stopped_by, *learned]))
"""


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port: int = server.getsockname()[1]
        return port


@contextmanager
def processes(size: int, shards: Path, run: Path, **changes: Any) -> Iterator[Sequence[subprocess.Popen[str]]]:
    """A run of so many processes, as torchrun would start them; without it, for it takes seconds more.

    ``others_shards`` are those of all but the first one.
    """
    others = changes.pop("others_shards", shards)
    arguments = [str(run), json.dumps(asdict(LITE)), json.dumps(SETTINGS | changes)]
    group = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(others if rank else shards), *arguments],
            env=os.environ | group | {"RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]
    yield started
    for process in started:
        process.kill()
        process.communicate()


def losses(run: Path) -> list[float]:
    lines = map(json.loads, (run / "log.jsonl").read_text().splitlines())
    return [line["loss"] for line in lines if "loss" in line]


def test_two_processes_learn_what_one_does(shards: Path, tmp_path: Path) -> None:
    with processes(1, shards, tmp_path / "one") as (alone,), processes(2, shards, tmp_path / "two") as two:
        outputs = [process.communicate(timeout=100) for process in (alone, *two)]
    assert [process.returncode for process in (alone, *two)] == [0, 0, 0], outputs
    one, first, second = (json.loads(output) for output, _ in outputs)
    assert first == second  # the score too: each example was scored once
    assert (first[0], first[1]) == (4, pytest.approx(one[1], abs=0.01))
    assert "lite-tiny on cpu × 2" in outputs[1][1]
    assert outputs[2][1] == ""  # the second one is silent
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-4)
    assert len(losses(tmp_path / "two")) == 4
    expected, found = (load_checkpoint(tmp_path / name / "last.safetensors") for name in ("one", "two"))
    assert found.progress["samples"] == expected.progress["samples"] == 16
    for name, tensor in expected.weights.items():
        torch.testing.assert_close(found.weights[name], tensor, atol=2e-4, rtol=0)
    for name, tensor in expected.average.items():
        torch.testing.assert_close(found.average[name], tensor, atol=2e-4, rtol=0)


def test_a_network_of_ones_own_is_the_same_in_all_processes_whatever_each_of_them_drew(
    shards: Path, tmp_path: Path
) -> None:
    with processes(2, shards, tmp_path / "run", own=True, network="mscnn") as started:
        outputs = [process.communicate(timeout=100) for process in started]
    assert [process.returncode for process in started] == [0, 0], outputs
    first, second = (json.loads(output) for output, _ in outputs)
    assert first == second  # weights, the mean of each channel and its variance
    assert len(first) == 3 + 2 + 5


def test_processes_that_find_other_pairs_do_not_train_together(shards: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for path in shards.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    lines = (shards / "manifest.jsonl").read_text().splitlines(keepends=True)
    (other / "manifest.jsonl").write_text(lines[0])  # one clip of two
    with processes(2, shards, tmp_path / "run", others_shards=other) as started:
        errors = [process.communicate(timeout=100)[1] for process in started]
    assert [process.returncode for process in started] == [5, 5], errors
    assert "process 1 found step 0 of pairs " in errors[1]
    assert "each needs the same shards and, to resume, the same folder of the run" in errors[1]
    assert not (tmp_path / "run" / "last.safetensors").exists()


def test_when_one_process_is_killed_the_other_ends_soon_and_says_so(shards: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with processes(2, shards, run, steps=10**6, save_minutes=1e-9, slowly=True) as (first, second):
        begin = time.monotonic()
        while not (run / "last.safetensors").exists() and time.monotonic() < begin + 60:
            time.sleep(0.05)
        second.kill()
        _, errors = first.communicate(timeout=60)
    assert first.returncode == 5
    assert "another process of this run has ended or is stuck" in errors.splitlines()[-1]
    assert load_checkpoint(run / "last.safetensors").progress["step"] >= 1


def test_a_signal_to_one_process_saves_and_ends_all(shards: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with processes(2, shards, run, steps=10**6, save_minutes=1e-9, slowly=True) as (first, second):
        begin = time.monotonic()
        while not (run / "last.safetensors").exists() and time.monotonic() < begin + 60:
            time.sleep(0.05)
        second.send_signal(signal.SIGTERM)
        outputs = [process.communicate(timeout=60) for process in (first, second)]
    assert [process.returncode for process in (first, second)] == [0, 0], outputs
    steps, _, stopped_by, *_ = json.loads(outputs[0][0])
    assert stopped_by is None  # it is the second one that was told
    assert load_checkpoint(run / "last.safetensors").progress["step"] == steps


def test_alone_nothing_is_exchanged() -> None:
    world = World()
    now = world.agree(is_stopped=False, is_save_due=True, seconds=3.0)
    assert (now.is_stopped, now.is_save_due, now.seconds) == (False, True, 3.0)
    gradients: list[Tensor] = [torch.ones(2)]
    world.average(gradients)
    assert torch.equal(gradients[0], torch.ones(2))
    assert world.share([1, 2, 3]) == [1, 2, 3]
    assert world.collect([4.0, 5.0], 2) == [4.0, 5.0]


@pytest.mark.parametrize(("count", "size"), [(0, 2), (1, 2), (5, 2), (7, 3), (3, 4)])
def test_every_item_is_in_exactly_one_share(count: int, size: int) -> None:
    items = list(range(count))
    assert sorted(item for rank in range(size) for item in World(rank, size).share(items)) == items


def test_without_torchrun_there_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RANK", "3")  # of something else
    assert is_first_process()
    with joined() as world:
        assert world == World(0, 1)
