import colorsys
import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from blursynth.model.augment import augment, degrade, to_unit
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


def crops(count: int, size: int = 16, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two times (N, 3, H, W) in [0.3, 0.7], so that neither noise nor saturation is cut off."""
    generator = torch.Generator().manual_seed(seed)
    blurry, sharp = 0.3 + 0.4 * torch.rand(2, count, 3, size, size, generator=generator)
    return blurry, sharp


def test_saturation_is_scaled_as_hsv_does_it_and_hue_and_value_stay() -> None:
    _, sharp = crops(40, 4)
    _, changed = degrade(sharp, sharp, first_sample=0, seed=3)
    factors = []
    for before, after in zip(sharp, changed, strict=True):
        colours = [
            (colorsys.rgb_to_hsv(*old), colorsys.rgb_to_hsv(*new))
            for old, new in zip(
                before.flatten(1).T.double().tolist(), after.flatten(1).T.double().tolist(), strict=True
            )
        ]
        ratios = [new[1] / old[1] for old, new in colours]
        assert max(ratios) - min(ratios) < 1e-3  # one factor for all pixels
        assert max(abs(old[2] - new[2]) for old, new in colours) < 1e-6
        assert max(abs((old[0] - new[0] + 0.5) % 1 - 0.5) for old, new in colours) < 1e-3
        factors.append(ratios[0])
    assert 0.5 <= min(factors) < 0.6
    assert 1.4 < max(factors) <= 1.5


def test_a_saturation_beyond_pure_colours_is_cut_off() -> None:
    red = torch.tensor([1.0, 0.0, 0.1])[:, None, None].expand(1, 3, 8, 8).repeat(50, 1, 1, 1)
    _, changed = degrade(red, red, first_sample=0, seed=0)
    assert changed.min() == 0
    assert changed.max() == 1


def test_noise_is_on_the_blurry_crop_and_its_deviation_is_drawn_itself() -> None:
    blurry, _ = crops(400, 32)
    grey = blurry.mean(1, keepdim=True).expand_as(blurry)  # which saturation does not change
    changed, sharp = degrade(grey, grey, first_sample=0, seed=1)
    torch.testing.assert_close(sharp, grey)
    noise = changed - sharp
    assert noise.flatten(1).mean(1).abs().max() < 1e-3
    deviations = noise.flatten(1).std(1) * 255
    assert deviations.square().mean().sqrt().item() == pytest.approx(2.0, rel=0.1)
    assert (deviations < 1.349).float().mean().item() == pytest.approx(0.5, abs=0.07)  # median of |N(0, 2²)|
    channels = noise[:, :2].flatten(2)
    assert (channels[:, 0] * channels[:, 1]).mean().abs() < 0.05 * noise.var()  # each channel its own


def test_a_tenth_of_the_blurry_crops_is_sharp() -> None:
    sharp = torch.full((2000, 3, 2, 2), 0.5)
    changed, _ = degrade(torch.full_like(sharp, 0.1), sharp, first_sample=0, seed=2)
    share = (changed.flatten(1).mean(1) > 0.3).float().mean().item()
    assert share == pytest.approx(0.1, abs=0.025)


def test_how_a_sample_is_degraded_follows_from_its_number_alone() -> None:
    blurry, sharp = crops(24)
    whole = degrade(blurry, sharp, first_sample=100, seed=5)
    parts = [degrade(blurry[a:b], sharp[a:b], first_sample=100 + a, seed=5) for a, b in ((0, 1), (1, 8), (8, 24))]
    for k in range(2):
        assert torch.equal(torch.cat([part[k] for part in parts]), whole[k])
    other = degrade(blurry, sharp, first_sample=100, seed=6)
    assert not torch.equal(other[0], whole[0])


def test_degrading_leaves_its_input_and_the_range() -> None:
    generator = torch.Generator().manual_seed(0)
    blurry, sharp = (torch.rand(2, 30, 3, 8, 8, generator=generator) > 0.5).float()
    before = blurry.clone(), sharp.clone()
    for image in degrade(blurry, sharp, first_sample=0, seed=0):
        assert image.shape == (30, 3, 8, 8)
        assert [image.min().item(), image.max().item()] == [0, 1]
        assert image.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(blurry, before[0])
    assert torch.equal(sharp, before[1])
