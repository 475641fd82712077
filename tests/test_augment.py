import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from blursynth.model.augment import augment, to_unit
from blursynth.model.data import Batch

pytestmark = pytest.mark.usefixtures("one_thread")


def numbered(size: int = 4) -> Tensor:
    """(3, H, W) uint8 in which every value is another one, so that a change can be told from any other."""
    return torch.arange(3 * size * size, dtype=torch.uint8).reshape(3, size, size)


def batch_of(count: int, *, first: int = 0, size: int = 4) -> Batch:
    blurry = numbered(size).repeat(count, 1, 1, 1).contiguous(memory_format=torch.channels_last)
    return Batch(blurry, 255 - blurry, first)


def outcomes(size: int = 4) -> dict[bytes, tuple[int, bool, tuple[int, ...]]]:
    """What may become of `numbered`, made with NumPy instead."""
    image = numbered(size).numpy()
    found = {}
    for turns, is_mirrored, order in itertools.product(range(4), (False, True), itertools.permutations(range(3))):
        turned = np.rot90(image, turns, axes=(1, 2))
        turned = turned[:, :, ::-1] if is_mirrored else turned
        found[turned[list(order)].tobytes()] = (turns, is_mirrored, order)
    return found


def test_all_48_outcomes_and_no_others_are_reached_about_equally_often() -> None:
    known = outcomes()
    assert len(known) == 48
    count = 2400
    augmented = augment(batch_of(count), seed=0)
    counts = dict.fromkeys(known, 0)
    for image in augmented.blurry:
        counts[image.contiguous().numpy().tobytes()] += 1
    assert min(counts.values()) > 20  # 50 are expected, with a standard deviation of 7
    assert max(counts.values()) < 80


def test_blurry_and_sharp_are_changed_alike() -> None:
    augmented = augment(batch_of(100), seed=1)
    assert torch.equal(augmented.sharp, 255 - augmented.blurry)
    assert not torch.equal(augmented.blurry, batch_of(100).blurry)


def test_what_is_done_to_a_sample_follows_from_its_number_alone() -> None:
    whole = augment(batch_of(24), seed=5)
    parts = [augment(batch_of(count, first=first), seed=5) for first, count in ((0, 1), (1, 7), (8, 16))]
    assert [part.first_sample for part in parts] == [0, 1, 8]
    assert torch.equal(torch.cat([part.blurry for part in parts]), whole.blurry)
    assert torch.equal(torch.cat([part.sharp for part in parts]), whole.sharp)


def test_another_seed_does_something_else() -> None:
    assert not torch.equal(augment(batch_of(24), seed=5).blurry, augment(batch_of(24), seed=6).blurry)


def test_the_input_is_left_as_it_is_and_shares_no_memory() -> None:
    batch = batch_of(60)
    augmented = augment(batch, seed=0)
    augmented.blurry.fill_(7)
    augmented.sharp.fill_(7)
    assert torch.equal(batch.blurry, batch_of(60).blurry)
    assert torch.equal(batch.sharp, batch_of(60).sharp)


def test_kind_and_layout_stay() -> None:
    augmented = augment(batch_of(3, size=8), seed=0)
    for crops in (augmented.blurry, augmented.sharp):
        assert crops.shape == (3, 3, 8, 8)
        assert crops.dtype == torch.uint8
        assert crops.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_codes_become_units(layout: torch.memory_format) -> None:
    codes = torch.arange(256, dtype=torch.uint8).reshape(1, 4, 8, 8).contiguous(memory_format=layout)
    unit = to_unit(codes)
    assert unit.dtype == torch.float32
    assert unit.is_contiguous(memory_format=layout)
    assert torch.equal(unit, codes.float() / 255)
    assert torch.equal((unit * 255).round().to(torch.uint8), codes)
    assert codes.flatten().sort().values.tolist() == list(range(256))  # left as they were
