"""Clips and shards for the tests, all made here; nothing is downloaded."""

import os
import signal
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from blursynth.make import MakeConfig, make_dataset
from samples import ClipMaker, moving_texture
from training import MODULE as TRAIN
from training import faded, let_networks_be_small, pairs_folder

SHARED = Path(os.environ.get("BLURSYNTH_SHARED", Path(__file__).parents[2] / "shared" / "data"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("shared") and not SHARED.is_dir() and not os.environ.get("FAIL_WITHOUT_SHARED"):
            item.add_marker(pytest.mark.skip(reason=f"no {SHARED}"))
        if item.get_closest_marker("gpu") and not torch.cuda.is_available() and not os.environ.get("FAIL_WITHOUT_GPU"):
            item.add_marker(pytest.mark.skip(reason="no CUDA"))


@pytest.fixture(autouse=True)
def _same_random_state_after() -> Iterator[None]:
    before = torch.random.get_rng_state()
    yield
    assert torch.equal(before, torch.random.get_rng_state()), "a test or the code changed torch's global random state"


@pytest.fixture
def signals_as_in_a_terminal() -> Iterator[None]:
    """A shell lets the processes that it starts in the background ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """On a busy machine, threads would wait for each other for longer than small networks take."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def shared() -> Path:
    """The folder of real clips and photographs."""
    return SHARED


@pytest.fixture
def make_clip(tmp_path: Path) -> ClipMaker:
    """Encode frames with PyAV: lossless FFV1 in Matroska unless told otherwise, so that pixels are known."""

    def make(
        name: str = "clip.mkv",
        frames: NDArray[Any] | None = None,
        *,
        num_frames: int = 24,
        size: tuple[int, int] = (48, 64),
        rate: int = 240,
        codec: str = "ffv1",
        pixel_format: str = "yuv420p",
        options: dict[str, str] | None = None,
        pts: list[int] | None = None,
        tags: dict[str, int] | None = None,
        container_options: dict[str, str] | None = None,
    ) -> Path:
        path = tmp_path / name
        if frames is None:
            frames = moving_texture(num_frames, *size)
        with av.open(str(path), "w", options=container_options or {}) as container:
            stream: Any = container.add_stream(codec, rate=rate, options=options or {})
            stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], pixel_format
            stream.time_base = stream.codec_context.time_base = Fraction(1, rate)
            for key, value in (tags or {}).items():
                setattr(stream.codec_context, key, value)
            for index, pixels in enumerate(frames):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
                frame = frame.reformat(format=pixel_format)
                frame.pts = index if pts is None else pts[index]
                frame.time_base = Fraction(1, rate)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path

    return make


@pytest.fixture
def small_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the names of networks stand for small ones."""
    let_networks_be_small(monkeypatch)


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of shards of two clips, six pairs of 24x24 px each, that are quickly learned; to be left as it is."""
    return pairs_folder(tmp_path_factory.mktemp("train") / "pairs", one=faded(6, 24, 1), two=faded(6, 24, 2))


@pytest.fixture
def scores(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What validation finds while training, to be filled."""
    values: list[float] = []
    monkeypatch.setattr(TRAIN, "validate", lambda *_arguments, **_settings: values.pop(0))
    return values


@pytest.fixture
def shards(make_clip: ClipMaker, tmp_path: Path) -> Path:
    """A folder of shards of two small clips, eight pairs of 64x48 px each."""
    clips = [make_clip(f"{name}.mkv", moving_texture(24, 48, 64, seed=i)) for i, name in enumerate(("one", "two"))]
    make_dataset(clips, tmp_path / "shards", MakeConfig(window="3"))
    return tmp_path / "shards"
