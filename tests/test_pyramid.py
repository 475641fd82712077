from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from blursynth.model.pyramid import average_pyramid, check_images, gaussian_pyramid

Pyramid = Callable[[Tensor, int], list[Tensor]]


def random_images(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def blurred_every_second(image: NDArray[np.float64], mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """One (3, H, W) image, pixel by pixel, as image.gaussianpyramid of Torch 7 describes it."""
    kernel = np.array([[np.exp(-(x * x + y * y) / (2 * 0.75**2)) for x in (-1, 0, 1)] for y in (-1, 0, 1)])
    kernel /= kernel.sum()
    height, width = image.shape[1:]
    padded = np.zeros((3, height + 2, width + 2))
    padded[:, 1:-1, 1:-1] = image - mean[:, None, None]
    result = np.empty((3, height // 2, width // 2))
    for i in range(height // 2):
        for j in range(width // 2):
            result[:, i, j] = (padded[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3] * kernel).sum(axis=(1, 2))
    return result + mean[:, None, None]


def test_gaussian_pyramid_is_the_one_of_the_released_code() -> None:
    images = random_images(2, 3, 16, 24)
    pyramid = gaussian_pyramid(images, 3)
    assert [tuple(level.shape) for level in pyramid] == [(2, 3, 16, 24), (2, 3, 8, 12), (2, 3, 4, 6)]
    for n in range(2):
        expected = images[n].double().numpy()
        mean = expected.mean(axis=(1, 2))
        for level in pyramid[1:]:
            expected = blurred_every_second(expected, mean)
            np.testing.assert_allclose(level[n].numpy(), expected, atol=2e-6)


def test_gaussian_pyramid_of_a_crop_is_the_crop_of_the_pyramid() -> None:
    images = random_images(1, 3, 64, 64)
    top, left, size = 12, 20, 32
    whole = gaussian_pyramid(images, 3)
    crop = gaussian_pyramid(images[:, :, top : top + size, left : left + size], 3)
    for k in range(3):
        y, x, n = top >> k, left >> k, size >> k
        expected = whole[k][:, :, y : y + n, x : x + n]
        # One pixel on each level sees what was cut away: two on level 2, of which only the upper and left ones do.
        torch.testing.assert_close(crop[k][:, :, 2:, 2:], expected[:, :, 2:, 2:], atol=2e-6, rtol=0)
    shifted = gaussian_pyramid(images[:, :, top + 1 : top + 1 + size, left : left + size], 3)
    assert (shifted[2] - whole[2][:, :, top >> 2 : (top + size) >> 2, left >> 2 : (left + size) >> 2]).abs().max() > 0.1


def test_gaussian_pyramid_continues_an_image_with_its_mean() -> None:
    constant = torch.tensor([0.1, 0.5, 1.0]).view(1, 3, 1, 1).expand(2, 3, 8, 8)
    for level in gaussian_pyramid(constant, 3):
        torch.testing.assert_close(level, constant[:, :, : level.shape[2], : level.shape[3]])


@pytest.mark.parametrize("pyramid", [gaussian_pyramid, average_pyramid])
def test_layout_precision_and_input_are_kept(pyramid: Pyramid) -> None:
    images = random_images(2, 3, 16, 16)
    before = images.clone()
    expected = pyramid(images, 3)
    assert expected[0] is images
    assert torch.equal(images, before)
    last = pyramid(images.contiguous(memory_format=torch.channels_last), 3)
    half = pyramid(images.bfloat16(), 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = pyramid(images, 3)
    for k in range(1, 3):
        torch.testing.assert_close(last[k], expected[k])
        torch.testing.assert_close(under_autocast[k], expected[k], atol=1e-6, rtol=0)
        assert half[k].dtype == torch.bfloat16
        torch.testing.assert_close(half[k].float(), expected[k], atol=6e-3, rtol=0)


def test_average_pyramid_is_the_mean_of_squares() -> None:
    images = random_images(2, 3, 16, 24)
    for k, level in enumerate(average_pyramid(images, 4)):
        side = 1 << k
        squares = images.double().numpy().reshape(2, 3, 16 // side, side, 24 // side, side)
        np.testing.assert_allclose(level.numpy(), squares.mean(axis=(3, 5)), atol=1e-6)


@pytest.mark.parametrize("pyramid", [gaussian_pyramid, average_pyramid])
@pytest.mark.parametrize(
    ("shape", "named"),
    [
        ((1, 3, 10, 8), "10 × 8"),
        ((1, 3, 8, 10), "8 × 10"),
        ((1, 3, 0, 8), "0 × 8"),
        ((1, 1, 8, 8), "1, 1, 8, 8"),
        ((3, 8, 8), "3, 8, 8"),
    ],
)
def test_other_sizes_are_refused(pyramid: Pyramid, shape: tuple[int, ...], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        pyramid(torch.zeros(shape), 3)


def test_codes_and_empty_pyramids_are_refused() -> None:
    with pytest.raises(ValueError, match="uint8"):
        check_images(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), 1)
    for pyramid in (gaussian_pyramid, average_pyramid):
        with pytest.raises(ValueError, match="num_scales is 0"):
            pyramid(torch.zeros(1, 3, 8, 8), 0)
