"""Where tiles lie, and that joining them shows no seam."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from blursynth.model import tiles as module
from blursynth.model.tiles import TileGrid, join_tiles


@st.composite
def grids(draw: st.DrawFn) -> TileGrid:
    multiple = draw(st.sampled_from([1, 2, 4, 16, 32]))
    side = draw(st.integers(max(64, 4 * multiple), 300))
    return TileGrid(draw(st.integers(1, 2000)), 1, side, draw(st.integers(0, side // 3)), multiple)


@given(grids())
def test_tiles_cover_a_side_and_share_what_they_should(grid: TileGrid) -> None:
    spans = grid.rows
    assert (spans[0][0], spans[-1][1]) == (0, grid.height)
    assert all(start % grid.multiple == 0 for start, _ in spans)
    assert all(0 < stop - start <= grid.side for start, stop in spans)
    for (start, stop), (following, _) in pairwise(spans):
        assert start < following == stop - grid.overlap
    step = (grid.side - grid.overlap) // grid.multiple * grid.multiple
    assert len(spans) == 1 or len(spans) == -(-(grid.height - grid.overlap) // step)  # no more than it takes


@given(grids())
def test_the_weights_of_all_tiles_add_up_to_one(grid: TileGrid) -> None:
    total, tiles_at = np.zeros(grid.height), np.zeros(grid.height, np.int64)
    for index, (start, stop) in enumerate(grid.rows):
        weights = module._weights(grid.rows, index, grid.overlap).numpy()
        assert weights.dtype == np.float32
        assert 0 <= weights.min() <= weights.max() <= 1
        total[start:stop] += weights
        tiles_at[start:stop] += weights > 0
    assert np.abs(total - 1).max() <= 2e-7
    middle = grid.overlap - 2 * (grid.overlap // 3)
    assert (tiles_at == 2).sum() == middle * (len(grid.rows) - 1)  # what is near a tile's border does not count


@given(st.integers(0, 200))
def test_a_ramp_rises_smoothly_and_fits_its_mirror_image(overlap: int) -> None:
    rise = module._rise(overlap).numpy()
    assert rise.shape == (overlap,)
    assert np.allclose(rise + rise[::-1], 1, atol=1e-6)
    assert (np.diff(rise) >= 0).all()
    steepest = np.diff(rise, prepend=0, append=1).max()
    assert steepest <= max(4.8 / max(1, overlap), 1 if overlap < 3 else 0)  # pi/2 over a third, in the middle


def test_tiles_are_as_small_as_their_number_allows() -> None:
    grid = TileGrid(3000, 4000, 1152, 96, 16)
    assert grid.num_tiles == 12
    computed = sum((b - a) * (d - c) for a, b in grid.rows for c, d in grid.columns)
    assert computed < 1.16 * 3000 * 4000


@pytest.mark.parametrize("shape", [(300, 70), (64, 64), (1, 500), (129, 131)])
def test_tiles_left_alone_give_back_the_photograph_band_by_band(shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).random((*shape, 3)).astype(np.float32)
    before = pixels.copy()
    seen = 0
    for band in join_tiles(pixels, TileGrid(*shape, 64, 21, 4), lambda tile: torch.from_numpy(tile.copy())):
        assert band.top == seen
        assert np.abs(band.unit.numpy() - before[seen : seen + len(band.unit)]).max() <= 1e-6
        pixels[seen : seen + len(band.unit)] = np.nan  # nobody looks at these again
        seen += len(band.unit)
    assert seen == shape[0]


def test_the_middle_of_what_two_tiles_share_leads_from_one_to_the_other() -> None:
    values = iter([0.0, 1.0])
    grid = TileGrid(64, 100, 64, 21, 1)
    (band,) = join_tiles(np.zeros((64, 100, 3)), grid, lambda tile: torch.full(tile.shape, next(values)))
    row = band.unit[30, :, 0].numpy()
    shared, stop = grid.columns[1][0], grid.columns[0][1]
    assert stop - shared == 21
    assert (row[: shared + 7] == 0).all()
    assert (row[stop - 7 :] == 1).all()
    assert (np.diff(row[shared + 6 : stop - 6]) > 0).all()
