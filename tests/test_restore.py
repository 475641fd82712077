import tracemalloc
from collections.abc import Callable
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
from blursynth.model import bundled, published
from blursynth.model import restore as module
from blursynth.model.checkpoint import Checkpoint, save_checkpoint
from blursynth.model.lite import Lite, LiteConfig
from blursynth.model.mscnn import MSCNNConfig
from blursynth.model.networks import Network, build_network
from blursynth.model.restore import Deblurrer
from blursynth.photos import read_photo

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


@settings(max_examples=15, deadline=None)
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
    restored = Deblurrer(Pointwise(lambda unit: 1 - unit), device=CPU, tile=64, is_guarded=False)(pixels)
    assert np.array_equal(restored, peak - pixels)


def test_results_are_clipped_and_rounded_to_the_nearest_code() -> None:
    pixels = random_codes(90, 100)
    restored = Deblurrer(Pointwise(lambda unit: 1.5 * unit - 0.2), device=CPU, tile=64)(pixels)
    expected = np.clip(np.rint(1.5 * pixels.astype(np.float64) - 51), 0, 255)
    assert np.abs(restored - expected).max() <= 1  # halves may go either way
    assert (restored == expected).mean() > 0.49
    assert {0, 255} <= set(restored.ravel().tolist())


UNGUARDED: dict[str, Any] = {"device": CPU, "is_guarded": False}  # random networks do what none should
PAPER = MSCNNConfig(num_scales=2, num_blocks=1, channels=2, kernel_size=3)


@pytest.mark.parametrize("config", [SMALL, PAPER])
@pytest.mark.parametrize(("height", "width"), [(130, 150), (200, 64), (61, 290)])
def test_in_tiles_a_photograph_becomes_what_it_becomes_as_a_whole(
    config: LiteConfig | MSCNNConfig, height: int, width: int
) -> None:
    # Of what two tiles share the middle third is taken: what the network sees of the edge does not matter there. What
    # it sees of the grid on which it halves images does, so tiles have to begin on that.
    network = random_network(config)
    pixels = random_codes(height, width)
    whole, tiled = (Deblurrer(network, **UNGUARDED, tile=tile, overlap=32) for tile in (512, 96))
    assert whole.grid(height, width).num_tiles == 1 < tiled.grid(height, width).num_tiles
    expected = whole(pixels).astype(int)
    assert np.abs(expected - pixels).mean() > 5  # it is no identity
    assert np.abs(tiled(pixels) - expected).max() <= 1


@pytest.mark.shared
def test_a_blurred_photograph_shows_no_tiles_with_the_weights_that_come_along(shared: Path) -> None:
    pixels = read_photo(shared / "pairs" / "gopro_dev" / "blur" / "00.png").pixels[:352].copy()
    network = bundled.load_bundled("tiny")
    tiled, whole = (Deblurrer(network, device=CPU, tile=tile) for tile in (1152, 1280))
    assert tiled.grid(352, 1280).num_tiles == 2
    expected = whole(pixels).astype(int)
    assert np.abs(expected - pixels).max() > 50
    assert np.abs(tiled(pixels) - expected).max() <= 1


def test_networks_that_take_much_memory_for_a_pixel_have_smaller_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "free_bytes", lambda _limit: 1 << 40)
    sides = []
    for bytes_per_pixel in (256, 2048):
        monkeypatch.setattr(module, "bytes_per_pixel", lambda *_arguments, each=bytes_per_pixel: each)
        sides.append(Deblurrer(identity(), device=CPU).grid(5000, 5000).side)
    assert sides[0] == 3584
    assert sides[1] ** 2 * 2048 <= 4 << 30
    assert sides[1] > 1000


@pytest.mark.parametrize("config", [SMALL, PAPER])
def test_tiles_that_share_nothing_would_show_seams(config: LiteConfig | MSCNNConfig) -> None:
    network = random_network(config)
    pixels = random_codes(64, 192)
    expected = Deblurrer(network, **UNGUARDED, tile=192)(pixels).astype(int)
    difference = np.abs(Deblurrer(network, **UNGUARDED, tile=64, overlap=0)(pixels) - expected)
    assert difference[:, 56:72].max() > 3
    assert difference[:, 20:44].max() <= 1
    blended = np.abs(Deblurrer(network, **UNGUARDED, tile=64, overlap=21)(pixels) - expected)
    assert blended.max() < difference.max()


def test_no_tile_is_larger_than_asked_for_and_each_is_told() -> None:
    network = Pointwise(lambda unit: unit)
    deblurrer = Deblurrer(network, device=CPU, tile=80)
    told: list[bool] = []
    deblurrer(random_codes(200, 150), on_tile=told.append)
    assert told == [True] * deblurrer.grid(200, 150).num_tiles == [True] * len(network.seen)
    assert len(told) == 4 * 3
    assert max(max(shape[2:]) for shape in network.seen) <= 80
    assert {shape[:2] for shape in network.seen} == {(1, 3)}


@pytest.mark.parametrize(
    ("height", "width", "expected"), [(1, 1, 1), (4096, 900, 1), (4097, 512, 2), (3000, 4000, 1), (4000, 6000, 2)]
)
def test_the_number_of_tiles_is_known_before(height: int, width: int, expected: int) -> None:
    assert Deblurrer(identity(), device=CPU).grid(height, width).num_tiles == expected


def test_memory_is_bounded_by_a_row_of_tiles() -> None:
    pixels = random_codes(1500, 128)
    deblurrer = Deblurrer(identity(), device=CPU, tile=64)
    deblurrer(pixels[:70])  # what is only made once is made now
    band_bytes = 64 * 128 * 3 * 4
    tracemalloc.start()
    try:
        deblurrer(pixels)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert pixels.nbytes < peak_bytes < pixels.nbytes + 5 * band_bytes < 2 * pixels.nbytes  # the result and a little


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
    deblurrer = Deblurrer(Pointwise(unfinished(value)), **UNGUARDED, tile=64, overlap=16)
    restored = deblurrer(pixels, on_tile=told.append)
    assert told == [False] + [True] * (deblurrer.grid(64, 200).num_tiles - 1)
    assert np.array_equal(restored[:, :40], pixels[:, :40])
    assert np.array_equal(restored[:, 64:], peak - pixels[:, 64:])


CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "black": torch.zeros_like,
    "white": torch.ones_like,
    "inverted": lambda unit: 1 - unit,
    "another colour": lambda unit: unit + torch.tensor([0.3, 0, 0])[:, None, None],
    "stripes": lambda unit: (unit + torch.tensor([-0.9, 0.9]).repeat(unit.shape[3] // 2)).clamp(0, 1),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_tile_that_is_changed_wildly_stays_as_it_was(name: str) -> None:
    pixels = np.random.default_rng(0).integers(60, 120, (128, 300, 3)).astype(np.uint8)
    pixels[:, 250] = 7  # where the network has its fit

    def change(unit: Tensor) -> Tensor:
        return CHANGES[name](unit) if bool((unit < 0.1).any()) else unit + 0.1

    told: list[bool] = []
    network = Pointwise(change)
    restored = Deblurrer(network, device=CPU, tile=128, overlap=24)(pixels, on_tile=told.append)
    assert told.count(False) >= 1
    assert told[0]
    assert np.array_equal(restored[:, 220:], pixels[:, 220:])
    assert (restored[:, :80] > pixels[:, :80]).all()


def test_what_real_deblurring_changes_is_no_wild_change() -> None:
    # A white bar that has moved by 50 px becomes sharp: hardly any photograph changes by more in one place.
    ramp = np.clip(np.arange(-75, 75) / 50 + 0.5, 0, 1)
    blurry = np.concatenate([ramp, ramp[::-1]]).astype(np.float32)
    shown = torch.from_numpy(blurry).expand(1, 3, 200, 300)
    assert module._is_plausible(shown, shown.round())
    assert not module._is_plausible(shown, 1 - shown)


def test_what_fails_in_half_precision_is_done_again_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "computes_bfloat16", lambda _device: True)

    def change(unit: Tensor) -> Tensor:
        return unit * torch.nan if torch.is_autocast_enabled("cpu") else (unit + 0.1).clamp(0, 1)

    network = Pointwise(change)
    pixels, told = random_codes(60, 60), list[bool]()
    restored = Deblurrer(network, device=CPU)(pixels, on_tile=told.append)
    assert told == [True]
    assert len(network.seen) == 2
    assert np.abs(restored - np.minimum(255, pixels + 25.5)).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_only_eight_bits_and_our_own_network_are_computed_in_half_precision(
    dtype: type[np.unsignedinteger[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "computes_bfloat16", lambda _device: True)
    seen: list[bool] = []

    def note(unit: Tensor) -> Tensor:
        seen.append(torch.is_autocast_enabled("cpu"))
        return unit

    Deblurrer(Pointwise(note), device=CPU)(random_codes(30, 30, dtype))
    assert seen == [dtype == np.uint8]
    paper = Deblurrer(random_network(PAPER), device=CPU)
    assert not isinstance(paper._fast(), torch.autocast)


@pytest.mark.parametrize("strength", [0.0, 0.25, 1.0])
def test_strength_goes_from_the_photograph_to_all_that_the_network_says(strength: float) -> None:
    pixels = random_codes(90, 70)
    restored = Deblurrer(Pointwise(lambda unit: 0.8 * unit + 0.1), device=CPU, strength=strength)(pixels)
    expected = pixels + strength * (25.5 - 0.2 * pixels)
    assert np.abs(restored - expected).max() <= 0.5 + 1e-3


@pytest.mark.parametrize(("height", "width"), [(90, 110), (64, 64), (37, 5)])
def test_the_mean_of_eight_positions_turns_with_the_photograph(height: int, width: int) -> None:
    deblurrer = Deblurrer(random_network(SMALL), **UNGUARDED, self_ensemble=True)
    pixels = np.pad(random_codes(height, width), ((0, -height % 4), (0, -width % 4), (0, 0)))
    turned = deblurrer(np.rot90(pixels)).astype(int)
    mirrored = deblurrer(pixels[:, ::-1]).astype(int)
    restored = deblurrer(pixels).astype(int)
    assert np.abs(np.rot90(restored) - turned).max() <= 1
    assert np.abs(restored[:, ::-1] - mirrored).max() <= 1
    assert np.abs(Deblurrer(random_network(SMALL), **UNGUARDED)(pixels) - restored).max() > 3  # one position is not it


def test_the_mean_of_eight_positions_is_the_same_in_tiles() -> None:
    pixels = random_codes(150, 133)
    whole, tiled = (
        Deblurrer(random_network(SMALL), **UNGUARDED, self_ensemble=True, tile=tile)(pixels) for tile in (512, 96)
    )
    assert np.abs(whole.astype(int) - tiled).max() <= 1


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory")])
@pytest.mark.parametrize("most", [70, 100])
def test_when_memory_runs_out_tiles_are_computed_in_pieces(error: Exception, most: int) -> None:
    network = random_network(SMALL)
    pixels = random_codes(150, 210)
    expected = Deblurrer(network, **UNGUARDED, tile=256)(pixels).astype(int)
    told: list[bool] = []
    sizes: list[tuple[int, int]] = []

    class Hungry(Lite):
        def forward(self, blurry: Tensor) -> list[Tensor]:
            if max(blurry.shape[2:]) > most:
                raise error
            sizes.append((blurry.shape[2], blurry.shape[3]))
            return [network(blurry)[0]]

    with torch.random.fork_rng(devices=[]):
        deblurrer = Deblurrer(Hungry(SMALL), **UNGUARDED, tile=160)
    for _ in range(2):
        restored = deblurrer(pixels, on_tile=told.append)
        assert np.abs(restored - expected).max() <= 1
    assert len(told) == 2 * deblurrer.grid(150, 210).num_tiles  # as many as was said before
    assert max(map(max, sizes)) <= most


def test_a_result_may_take_the_place_of_the_photograph() -> None:
    pixels = random_codes(200, 150)
    deblurrer = Deblurrer(random_network(SMALL), **UNGUARDED, tile=64)
    expected = deblurrer(pixels)
    assert not np.array_equal(expected, pixels)
    assert deblurrer(pixels, out=pixels) is pixels
    assert np.array_equal(pixels, expected)
    with pytest.raises(ValueError, match=r"out is uint8 \(2, 2, 3\)"):
        deblurrer(pixels, out=np.zeros((2, 2, 3), np.uint8))


def test_less_memory_makes_smaller_tiles_and_the_same_picture() -> None:
    network = random_network(SMALL)
    pixels = random_codes(200, 230)
    roomy = Deblurrer(network, **UNGUARDED)
    tight = Deblurrer(network, **UNGUARDED, memory_bytes=1)  # there is less than nothing: as small as can be
    assert roomy.grid(200, 230).num_tiles == 1
    assert tight.grid(200, 230).side == 64
    assert np.abs(roomy(pixels).astype(int) - tight(pixels)).max() <= 1


def test_tiles_follow_the_memory_that_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    deblurrer = Deblurrer(identity(), device=CPU)
    sides = []
    for free in (10**11, 10**8, 3 * 10**7, 10**6):
        monkeypatch.setattr(module, "free_bytes", lambda _limit, free=free: free)
        sides.append(deblurrer.grid(3000, 4000).side)
        row = 24 * 4000 * sides[-1]
        if sides[-1] > 64:
            assert sides[-1] ** 2 * deblurrer._bytes_per_pixel + row <= 0.8 * free
    assert sides == sorted(sides, reverse=True)
    assert (sides[0], sides[-1]) == (4096, 64)


def test_a_limit_of_memory_goes_before_the_side_of_the_tiles() -> None:
    told = Deblurrer(identity(), device=CPU, tile=512)
    limited = Deblurrer(identity(), device=CPU, tile=512, memory_bytes=1)
    assert (told.grid(900, 900).side, limited.grid(900, 900).side) == (512, 64)


def test_a_flat_sky_stays_flat() -> None:
    sky = np.full((150, 170, 3), (120, 160, 220), np.uint8)
    restored = Deblurrer(random_network(SMALL), **UNGUARDED, tile=64)(sky).astype(int)
    inner = restored[16:-16, 16:-16]
    period = 4  # the network's own squares
    assert np.abs(inner[period:] - inner[:-period]).max() <= 1  # no trace of where tiles meet
    assert np.abs(inner[:, period:] - inner[:, :-period]).max() <= 1


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
    deblurrer = Deblurrer(Pointwise(lambda unit: unit.mul_(-1).add_(1)), **UNGUARDED, tile=64)  # in place
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
        (torch.OutOfMemoryError("CUDA out of memory"), "out of GPU memory: give more with --memory"),
        (RuntimeError("can't allocate memory"), "out of memory: give more with --memory"),
        (MemoryError(), "out of memory: give more with --memory"),
    ],
)
def test_when_memory_runs_out_the_error_says_what_to_do(error: Exception, message: str) -> None:
    def fail(_unit: Tensor) -> Tensor:
        raise error

    with pytest.raises(MachineError, match=message):
        Deblurrer(Pointwise(fail), device=CPU, tile=96)(random_codes(8, 8))


def saved(path: Path, network: Network) -> Path:
    save_checkpoint(path, Checkpoint(SMALL, network.state_dict()))
    return path


def test_a_checkpoint_is_loaded_by_its_path(tmp_path: Path) -> None:
    network = random_network(SMALL)
    pixels = random_codes(40, 40)
    expected = Deblurrer(network, device=CPU)(pixels)
    path = saved(tmp_path / "best.safetensors", network)
    for model in (path, str(path)):
        assert np.array_equal(Deblurrer.load(model, device="cpu")(pixels), expected)


def test_names_are_those_of_the_weights_that_come_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    loaded: list[str] = []

    def load(name: str) -> Network:
        loaded.append(name)
        return identity()

    for each in (bundled, published):
        monkeypatch.setattr(each, "bundled_names", lambda _folder=None: ("tiny", "base"))
    monkeypatch.setattr(published, "load_bundled", load)
    Deblurrer.default(device="cpu")
    Deblurrer.load(device="cpu")
    (tmp_path / "base").write_text("a file of this name changes nothing")
    Deblurrer.load("base", device="cpu")
    assert loaded == ["tiny", "tiny", "base"]
    deblurrer = Deblurrer.default(device="cpu")
    for _ in range(3):
        deblurrer(random_codes(8, 8))
    assert loaded == ["tiny", "tiny", "base", "tiny"]  # not again for each photograph


def test_loading_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="huge: no weights of this name"):
        Deblurrer.load("huge")
    with pytest.raises(CheckpointError, match=r"other\.safetensors"):
        Deblurrer.load(Path("other.safetensors"))
    path = saved(tmp_path / "a.safetensors", identity())
    with pytest.raises(DeviceError, match="'abacus' is not there"):
        Deblurrer.load(path, device="abacus")
    with pytest.raises(SettingsError, match="tile 32"):
        Deblurrer.load(path, device="cpu", tile=32)


@pytest.mark.parametrize(
    "setting", [{"strength": -0.1}, {"strength": 1.5}, {"strength": float("nan")}, {"memory_bytes": 0}]
)
def test_settings_that_make_no_sense_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=next(iter(setting)).split("_")[0]):
        Deblurrer(identity(), device=CPU, **setting)
