import os
import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from blursynth.errors import CheckpointError, DeviceError, MachineError, SettingsError
from blursynth.model import restore as module
from blursynth.model.checkpoint import Checkpoint, save_checkpoint
from blursynth.model.lite import Lite, LiteConfig
from blursynth.model.mscnn import MSCNNConfig
from blursynth.model.networks import Network, build_network
from blursynth.model.restore import Deblurrer

SMALL = LiteConfig(channels=(2, 2), encoder_blocks=(0, 0), decoder_blocks=(1,), num_fused_levels=2)
pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")


class Pointwise(Lite):
    """Does the same to every pixel, and remembers the sizes of what it got."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        with torch.random.fork_rng(devices=[]):
            super().__init__(SMALL)
        self.change = change
        self.seen: list[tuple[int, ...]] = []

    def forward(self, blurry: Tensor) -> list[Tensor]:
        self.seen.append(tuple(blurry.shape))
        return [self.change(blurry)]


def identity() -> Lite:
    with torch.random.fork_rng(devices=[]):
        return Lite(SMALL)  # is one, exactly, as long as it is not trained


def random_network(config: LiteConfig | MSCNNConfig) -> Network:
    with torch.random.fork_rng(devices=[]):
        network = build_network(config).requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2, generator=generator)
    return network


def random_codes(height: int, width: int, dtype: type[np.unsignedinteger[Any]] = np.uint8) -> NDArray[Any]:
    rng = np.random.default_rng(0)
    return rng.integers(0, np.iinfo(dtype).max, (height, width, 3), dtype, endpoint=True)


@st.composite
def cuts(draw: st.DrawFn) -> tuple[int, int, int, int]:
    multiple = draw(st.sampled_from([1, 2, 4, 16, 32]))
    tile = draw(st.integers(max(64, 4 * multiple), 300))
    return draw(st.integers(1, 2000)), tile, draw(st.integers(0, tile // 3)), multiple


@given(cuts())
def test_tiles_cover_a_side_and_share_what_they_should(cut: tuple[int, int, int, int]) -> None:
    length, tile, overlap, multiple = cut
    starts = module._starts(*cut)
    assert starts[0] == 0
    assert length - tile <= starts[-1] < length
    assert all(start % multiple == 0 for start in starts)
    for start, following in pairwise(starts):
        assert start < following <= start + tile - overlap
    longest_step = (tile - overlap) // multiple * multiple
    assert len(starts) == 1 + max(0, -(-(length - tile) // longest_step))  # no more than it takes


@given(cuts())
def test_the_weights_of_all_tiles_add_up_to_one(cut: tuple[int, int, int, int]) -> None:
    length, tile, overlap, _ = cut
    starts = module._starts(*cut)
    total, tiles_at = np.zeros(length, np.float32), np.zeros(length, np.int64)
    for index, start in enumerate(starts):
        stop = min(start + tile, length)
        weights = module._ramp(starts, index, stop - start, tile, overlap)
        assert weights.dtype == np.float32
        assert 0 <= weights.min() <= weights.max() <= 1
        total[start:stop] += weights
        tiles_at[start:stop] += weights > 0
    assert np.abs(total - 1).max() <= 2e-7
    assert tiles_at.max() <= 2
    assert (tiles_at == 2).sum() == overlap * (len(starts) - 1)  # smoothly over all of the overlap, each time


@given(st.integers(1, 200))
def test_a_ramp_rises_smoothly_and_fits_its_mirror_image(length: int) -> None:
    rise = module._rise(length)
    assert np.allclose(rise + rise[::-1], 1, atol=1e-6)
    assert (np.diff(rise) > 0).all()
    assert np.diff(rise, prepend=0, append=1).max() <= 1.6 / length  # the steepest place of half a cosine is pi/2


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 200),
    st.integers(1, 200),
    st.sampled_from([np.uint8, np.uint16]),
    st.integers(64, 90),
    st.integers(0, 21),
)
def test_a_network_that_changes_nothing_gives_back_every_code(
    height: int, width: int, dtype: type[np.unsignedinteger[Any]], tile: int, overlap: int
) -> None:
    pixels = random_codes(height, width, dtype)
    restored = Deblurrer(identity(), device=CPU, tile=tile, overlap=overlap)(pixels)
    assert restored.dtype == pixels.dtype
    assert np.array_equal(restored, pixels)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_code_is_restored_as_the_network_says(dtype: type[np.unsignedinteger[Any]]) -> None:
    peak = int(np.iinfo(dtype).max)
    pixels = np.linspace(0, peak, 150 * 170 * 3).round().astype(dtype).reshape(150, 170, 3)
    restored = Deblurrer(Pointwise(lambda unit: 1 - unit), device=CPU, tile=64)(pixels)
    assert np.array_equal(restored, peak - pixels)


def test_results_are_clipped_and_rounded_to_the_nearest_code() -> None:
    pixels = random_codes(90, 100)
    restored = Deblurrer(Pointwise(lambda unit: 1.5 * unit - 0.2), device=CPU, tile=64)(pixels)
    expected = np.clip(np.rint(1.5 * pixels.astype(np.float64) - 51), 0, 255)
    assert np.abs(restored - expected).max() <= 1  # halves may go either way
    assert (restored == expected).mean() > 0.49
    assert {0, 255} <= set(restored.ravel().tolist())


PAPER = MSCNNConfig(num_scales=2, num_blocks=1, channels=2, kernel_size=3)


@pytest.mark.parametrize("config", [SMALL, PAPER])
@pytest.mark.parametrize(("height", "width"), [(130, 150), (200, 64), (61, 290)])
def test_in_tiles_a_photograph_becomes_what_it_becomes_as_a_whole(
    config: LiteConfig | MSCNNConfig, height: int, width: int
) -> None:
    # Of what two tiles share, here 24 px and more, the middle is taken: what the network sees of the edge, it does not
    # matter. What it sees of the grid on which it halves images does, so tiles have to begin on that.
    network = random_network(config)
    pixels = random_codes(height, width)
    whole, tiled = (Deblurrer(network, device=CPU, tile=tile, overlap=2) for tile in (512, 96))
    assert whole.num_tiles(height, width) == 1 < tiled.num_tiles(height, width)
    expected = whole(pixels).astype(int)
    assert np.abs(expected - pixels).mean() > 5  # it is no identity
    assert np.abs(tiled(pixels) - expected).max() <= 1


@pytest.mark.parametrize("config", [SMALL, PAPER])
def test_tiles_that_share_nothing_would_show_seams(config: LiteConfig | MSCNNConfig) -> None:
    network = random_network(config)
    pixels = random_codes(64, 192)
    expected = Deblurrer(network, device=CPU, tile=192)(pixels).astype(int)
    difference = np.abs(Deblurrer(network, device=CPU, tile=64, overlap=0)(pixels) - expected)
    assert difference[:, 56:72].max() > 3
    assert difference[:, 20:44].max() <= 1
    blended = np.abs(Deblurrer(network, device=CPU, tile=64, overlap=21)(pixels) - expected)
    assert blended.max() < difference.max()


def test_no_tile_is_larger_than_asked_for_and_each_is_told() -> None:
    network = Pointwise(lambda unit: unit)
    deblurrer = Deblurrer(network, device=CPU, tile=80)
    told: list[bool] = []
    deblurrer(random_codes(200, 150), on_tile=told.append)
    assert told == [True] * deblurrer.num_tiles(200, 150) == [True] * len(network.seen)
    assert len(told) == 4 * 3
    assert max(max(shape[2:]) for shape in network.seen) == 80
    assert {shape[:2] for shape in network.seen} == {(1, 3)}


@pytest.mark.parametrize(("height", "width", "expected"), [(1, 1, 1), (512, 512, 1), (513, 512, 2), (3000, 4000, 70)])
def test_the_number_of_tiles_is_known_before(height: int, width: int, expected: int) -> None:
    assert Deblurrer(identity(), device=CPU).num_tiles(height, width) == expected


def test_memory_is_bounded_by_a_row_of_tiles() -> None:
    pixels = random_codes(3000, 128)
    deblurrer = Deblurrer(identity(), device=CPU, tile=64)
    deblurrer(pixels[:70])  # what is only made once is made now
    band_bytes = 64 * 128 * 3 * 4
    tracemalloc.start()
    try:
        deblurrer(pixels)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert pixels.nbytes < peak_bytes < pixels.nbytes + 6 * band_bytes < 2 * pixels.nbytes  # the result and a little


def unfinished(value: float) -> Callable[[Tensor], Tensor]:
    """Inverts tiles, but where one holds the code 255, a value becomes another one."""

    def change(unit: Tensor) -> Tensor:
        return torch.where(unit == 1, value, 1 - unit)

    return change


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_tile_that_cannot_be_computed_stays_as_it_was(value: float, dtype: type[np.unsignedinteger[Any]]) -> None:
    peak = int(np.iinfo(dtype).max)
    pixels = (random_codes(64, 200, dtype) // 2).astype(dtype)
    pixels[10, 5] = peak  # in the first tile only
    told: list[bool] = []
    deblurrer = Deblurrer(Pointwise(unfinished(value)), device=CPU, tile=64, overlap=16)
    restored = deblurrer(pixels, on_tile=told.append)
    if np.isnan(value):
        assert told == [False] + [True] * (deblurrer.num_tiles(64, 200) - 1)
        assert np.array_equal(restored[:, :40], pixels[:, :40])
    else:  # clipped, it is a code like any other
        assert all(told)
        assert np.array_equal(restored[10, 5], [peak if value > 0 else 0] * 3)
    assert np.array_equal(restored[:, 64:], peak - pixels[:, 64:])


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 1), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((3, 8, 8), np.uint8),
        np.zeros((1, 8, 8, 3), np.uint8),
        np.zeros((0, 8, 3), np.uint8),
        np.zeros((8, 0, 3), np.uint8),
        np.zeros((8, 8, 3), np.float32),
        np.zeros((8, 8, 3), np.int16),
        np.zeros((8, 8, 3), bool),
        np.zeros((8, 8, 3), ">u2"),
    ],
    ids=lambda pixels: f"{pixels.dtype.str}{pixels.shape}",
)
def test_what_is_no_photograph_is_refused(pixels: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match=r"expected \(H, W, 3\) uint8 or uint16"):
        Deblurrer(identity(), device=CPU)(pixels)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_input_is_left_as_it_is_and_may_lie_anyhow(dtype: type[np.unsignedinteger[Any]]) -> None:
    deblurrer = Deblurrer(Pointwise(lambda unit: unit.mul_(-1).add_(1)), device=CPU, tile=64)  # in place
    pixels = random_codes(70, 90, dtype)
    before = pixels.copy()
    pixels.flags.writeable = False
    expected = deblurrer(pixels)
    assert np.array_equal(pixels, before)
    assert np.array_equal(expected, np.iinfo(dtype).max - before)
    assert expected.flags.writeable
    for view in (pixels[::-1, ::-1], np.asfortranarray(pixels), np.repeat(pixels, 2, axis=1)[:, ::2]):
        assert np.array_equal(deblurrer(view), np.iinfo(dtype).max - view)


def test_the_network_is_put_into_evaluation_mode() -> None:
    network = random_network(SMALL).train()
    Deblurrer(network, device=CPU)
    assert not network.training


def test_it_can_be_called_again() -> None:
    deblurrer = Deblurrer(random_network(SMALL), device=CPU, tile=64)
    pixels = random_codes(100, 100)
    first = deblurrer(pixels)
    deblurrer(random_codes(30, 170, np.uint16))
    assert np.array_equal(deblurrer(pixels), first)


@pytest.mark.parametrize(("tile", "overlap"), [(63, None), (0, None), (-64, None), (64, 22), (64, -1), (512, 171)])
def test_tiles_that_are_too_small_are_refused(tile: int, overlap: int | None) -> None:
    with pytest.raises(SettingsError, match=f"tile {tile}: 64 px or more, and three times the overlap"):
        Deblurrer(identity(), device=CPU, tile=tile, overlap=overlap)


def test_deep_networks_need_larger_tiles() -> None:
    config = LiteConfig(channels=(1,) * 5, encoder_blocks=(0,) * 5, decoder_blocks=(0,) * 4)
    with pytest.raises(SettingsError, match="tile 127: 128 px or more"):
        Deblurrer(random_network(config), device=CPU, tile=127)
    restored = Deblurrer(random_network(config), device=CPU, tile=128)(random_codes(300, 200))
    assert restored.shape == (300, 200, 3)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "out of GPU memory: choose a --tile smaller than 96"),
        (RuntimeError("can't allocate memory"), "out of memory: choose a --tile smaller than 96"),
        (MemoryError(), "out of memory: choose a --tile smaller than 96"),
    ],
)
def test_when_memory_runs_out_the_error_says_what_to_do(error: Exception, message: str) -> None:
    def fail(_unit: Tensor) -> Tensor:
        raise error

    with pytest.raises(MachineError, match=message):
        Deblurrer(Pointwise(fail), device=CPU, tile=96)(random_codes(8, 8))


def test_a_checkpoint_is_loaded_and_without_one_that_of_the_newest_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pixels = random_codes(40, 40)
    results = {}
    for name, seconds in (("older", 100), ("newer", 200)):
        network = random_network(SMALL)
        if name == "newer":
            nn.init.zeros_(network.get_parameter("heads.0.weight"))
        path = Path("runs") / name / "best.safetensors"
        path.parent.mkdir(parents=True)
        save_checkpoint(path, Checkpoint(SMALL, network.state_dict()))
        os.utime(path, (seconds, seconds))
        results[name] = Deblurrer(network, device=CPU)(pixels)
        assert np.array_equal(Deblurrer.load(path, device="cpu")(pixels), results[name])
    assert not np.array_equal(results["older"], results["newer"])
    assert np.array_equal(Deblurrer.load(device="cpu")(pixels), results["newer"])


def test_loading_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="run 'blursynth train shards/' first, or use --checkpoint"):
        Deblurrer.load()
    with pytest.raises(CheckpointError, match=r"other\.safetensors"):
        Deblurrer.load(Path("other.safetensors"))
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, Checkpoint(SMALL, identity().state_dict()))
    with pytest.raises(DeviceError, match="'abacus' is not there"):
        Deblurrer.load(path, device="abacus")
    with pytest.raises(SettingsError, match="tile 32"):
        Deblurrer.load(path, device="cpu", tile=32)
