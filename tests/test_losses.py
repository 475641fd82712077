import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from blursynth.model.losses import (
    ADVERSARIAL_WEIGHT,
    adversarial_loss,
    charbonnier_loss,
    discriminator_loss,
    fft_loss,
    multiscale_content_loss,
    psnr_loss,
)

ImageLoss = Callable[[Tensor, Tensor], Tensor]
IMAGE_LOSSES: list[ImageLoss] = [psnr_loss, charbonnier_loss, fft_loss]


def random_images(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_content_loss_by_hand() -> None:
    restored = [torch.full((2, 3, 8, 8), 0.5), torch.full((2, 3, 4, 4), 0.5), torch.full((2, 3, 2, 2), 0.5)]
    sharp = [torch.full((2, 3, 8, 8), 0.4), torch.full((2, 3, 4, 4), 0.3), torch.full((2, 3, 2, 2), 0.5)]
    sharp[0][1] = 0.5  # the second image is right at the finest scale
    # 1/(2K) times the mean errors of the scales: half of the pixels are off by 0.1, then all by 0.2, then none
    assert multiscale_content_loss(restored, sharp).item() == pytest.approx((0.5 * 0.01 + 0.04) / 6, rel=1e-5)
    assert multiscale_content_loss(restored, sharp, norm="l1").item() == pytest.approx((0.5 * 0.1 + 0.2) / 6, rel=1e-5)
    by_weight = multiscale_content_loss(restored, sharp, coarse_weight=0.25).item()
    assert by_weight == pytest.approx((0.5 * 0.01 + 0.25 * 0.04) / 6, rel=1e-5)
    by_scale = [charbonnier_loss(*pair).item() for pair in zip(restored, sharp, strict=True)]
    charbonnier = multiscale_content_loss(restored, sharp, norm="charbonnier").item()
    assert charbonnier == pytest.approx(sum(by_scale) / 6, rel=1e-5)


def test_content_loss_is_equation_4_and_has_its_gradient() -> None:
    restored = [random_images(1, 3, 8, 4).requires_grad_(), random_images(1, 3, 4, 2, seed=1).requires_grad_()]
    sharp = [random_images(1, 3, 8, 4, seed=2), random_images(1, 3, 4, 2, seed=3)]
    loss = multiscale_content_loss(restored, sharp)
    pairs = [(r.detach(), s) for r, s in zip(restored, sharp, strict=True)]
    by_equation = sum(((r - s) ** 2).sum().item() / r[0].numel() for r, s in pairs) / (2 * 2)
    assert loss.item() == pytest.approx(by_equation, rel=1e-5)
    torch.autograd.backward(loss)
    for r, s in zip(restored, sharp, strict=True):
        torch.testing.assert_close(r.grad, (r - s).detach() / (2 * r.numel()))


def test_content_loss_refuses_other_pyramids() -> None:
    fine, coarse = torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 2, 2)
    with pytest.raises(ValueError, match="restored has 2 scales and sharp has 1"):
        multiscale_content_loss([fine, coarse], [fine])
    with pytest.raises(ValueError, match="at least 1"):
        multiscale_content_loss([], [])
    with pytest.raises(ValueError, match=r"\(1, 3, 2, 2\)"):
        multiscale_content_loss([fine, coarse], [fine, coarse[:, :1]])
    with pytest.raises(ValueError, match="'l3'"):
        multiscale_content_loss([fine], [fine], norm="l3")  # type: ignore[arg-type]


def test_adversarial_losses_are_equation_5() -> None:
    sharp_logits, restored_logits = torch.tensor([2.0, -1.0]), torch.tensor([0.5, -3.0])
    judged_sharp, judged_restored = torch.sigmoid(sharp_logits), torch.sigmoid(restored_logits)
    expected = -judged_sharp.log().mean() - (1 - judged_restored).log().mean()
    torch.testing.assert_close(discriminator_loss(sharp_logits, restored_logits), expected)
    torch.testing.assert_close(adversarial_loss(restored_logits), -judged_restored.log().mean())
    undecided = torch.zeros(4)
    assert adversarial_loss(undecided).item() == pytest.approx(math.log(2))
    assert discriminator_loss(undecided, undecided).item() == pytest.approx(2 * math.log(2))
    assert ADVERSARIAL_WEIGHT == 1e-4


def test_adversarial_losses_keep_their_gradient_where_the_discriminator_is_sure() -> None:
    logits = torch.tensor([-200.0], requires_grad=True)
    loss = adversarial_loss(logits)
    torch.autograd.backward(loss)
    assert loss.item() == 200
    assert logits.grad is not None
    assert logits.grad.item() == pytest.approx(-1)
    assert discriminator_loss(torch.tensor([-200.0]), torch.tensor([200.0])).item() == 400


def test_psnr_loss_by_hand() -> None:
    sharp = torch.full((2, 3, 4, 4), 0.5)
    restored = sharp.clone()
    restored[0] += 0.1  # 20 dB
    restored[1] += 0.01  # 40 dB
    # the mean of the numbers, not the number of the mean error; 1e-4 is added to the squares
    assert psnr_loss(restored, sharp).item() == pytest.approx(5 * (math.log10(0.0101) + math.log10(0.0002)), abs=1e-3)
    assert psnr_loss(sharp, sharp).item() == pytest.approx(-40, abs=1e-3)


def test_psnr_loss_does_not_hold_what_is_sharp_already_for_more_than_it_is_worth() -> None:
    sharp = torch.full((1, 3, 4, 4), 0.5)
    assert psnr_loss(sharp + 0.25 / 255, sharp) - psnr_loss(sharp, sharp) < 0.05  # a quarter of a code
    assert psnr_loss(sharp + 0.01, sharp) - psnr_loss(sharp, sharp) > 3


def test_charbonnier_loss_by_hand() -> None:
    sharp = torch.zeros(1, 3, 2, 2)
    restored = torch.full_like(sharp, 0.3)
    restored[0, 0] = 0
    expected = (math.hypot(0.3, 0.4) * 2 + 0.4) / 3
    assert charbonnier_loss(restored, sharp, epsilon=0.4).item() == pytest.approx(expected, rel=1e-5)
    assert charbonnier_loss(sharp, sharp).item() == pytest.approx(1e-3, rel=1e-4)


def test_fft_loss_is_the_modulus_of_the_orthonormal_spectrum() -> None:
    restored, sharp = random_images(2, 3, 6, 10), random_images(2, 3, 6, 10, seed=1)
    difference = (restored - sharp).double().numpy()
    rows = np.exp(-2j * np.pi * np.outer(np.arange(6), np.arange(6)) / 6) / math.sqrt(6)
    columns = np.exp(-2j * np.pi * np.outer(np.arange(10), np.arange(6)) / 10) / math.sqrt(10)  # half, and Nyquist's
    expected = np.abs(rows @ difference @ columns).mean()
    assert fft_loss(restored, sharp).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("size", [32, 96])
def test_fft_loss_of_white_noise_does_not_depend_on_the_size(size: int) -> None:
    noise = 0.1 * torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(0))
    assert fft_loss(noise, torch.zeros_like(noise)).item() == pytest.approx(0.1 * math.sqrt(math.pi) / 2, rel=0.02)


def test_the_weight_of_mimo_unet_is_worth_what_its_description_says() -> None:
    noise = torch.randn(2, 3, 256, 256, generator=torch.Generator().manual_seed(0)) / 100
    spectrum = torch.fft.rfft2(noise)
    theirs = 0.1 * torch.stack((spectrum.real, spectrum.imag)).abs().mean()
    assert float(theirs / fft_loss(noise, torch.zeros_like(noise))) == pytest.approx(16, rel=0.03)


@pytest.mark.parametrize("loss", IMAGE_LOSSES)
def test_gradients_are_finite_where_the_images_agree(loss: ImageLoss) -> None:
    sharp = random_images(1, 3, 8, 8)
    restored = sharp.clone().requires_grad_()
    torch.autograd.backward(loss(restored, sharp))
    assert restored.grad is not None
    assert torch.equal(restored.grad, torch.zeros_like(sharp))


@pytest.mark.parametrize("loss", IMAGE_LOSSES)
def test_gradients_are_right(loss: ImageLoss) -> None:
    restored = random_images(2, 3, 4, 6).double().requires_grad_()
    sharp = random_images(2, 3, 4, 6, seed=1).double()
    assert torch.autograd.gradcheck(lambda images: loss(images, sharp), [restored])


@pytest.mark.parametrize("loss", IMAGE_LOSSES)
def test_bfloat16_is_compared_in_float32(loss: ImageLoss) -> None:
    sharp = random_images(1, 3, 16, 16)
    restored = (sharp + 0.01).bfloat16()
    expected = loss(restored.float(), sharp)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = loss(restored, sharp)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, expected)
    content = multiscale_content_loss([restored], [sharp.bfloat16()])
    torch.testing.assert_close(content, (restored.float() - sharp.bfloat16().float()).square().mean() / 2)


@pytest.mark.parametrize("loss", IMAGE_LOSSES)
def test_sizes_that_would_broadcast_are_refused(loss: ImageLoss) -> None:
    with pytest.raises(ValueError, match=r"\(2, 3, 4, 4\).*\(1, 3, 4, 4\)"):
        loss(torch.zeros(2, 3, 4, 4), torch.zeros(1, 3, 4, 4))
