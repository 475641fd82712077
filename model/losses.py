"""What training minimises: equations 4 to 6 of Nah et al., CVPR 2017, and three losses that came later.

Every loss is computed in float32 at least, whatever precision the network ran in, and is a scalar tensor. Images are
(N, 3, H, W) float in [0, 1]; sizes that differ are refused, because broadcasting would average them silently.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "ADVERSARIAL_WEIGHT",
    "adversarial_loss",
    "charbonnier_loss",
    "discriminator_loss",
    "fft_loss",
    "multiscale_content_loss",
    "psnr_loss",
]

ADVERSARIAL_WEIGHT = 1e-4
"""The paper's lambda (eq. 6): total = multiscale_content_loss + ADVERSARIAL_WEIGHT * adversarial_loss.

The released code adds the scales without the factor 1/(2K) and counts the adversarial term in bits, so its lambda is
worth about 2.4e-5 of the content loss here.
"""

# 40 dB, about where a restored photograph looks like the sharp one. The logarithm of a perfect image would be infinite,
# and with a lower floor those pairs in a batch that are sharp already would hold the network at the identity: at 1e-8
# an error of a quarter of a code costs 20 dB.
_MSE_FLOOR = 1e-4
_DECIBEL = 10 / math.log(10)


def multiscale_content_loss(
    restored: Sequence[Tensor],
    sharp: Sequence[Tensor],
    *,
    norm: Literal["l2", "l1", "charbonnier"] = "l2",
    coarse_weight: float = 1.0,
) -> Tensor:
    """Compare two pyramids, each scale with the same weight unless told otherwise.

    Parameters
    ----------
    restored, sharp
        K tensors each, (N, 3, H, W) float in [0, 1], (N, 3, H/2, W/2), …, in the same order.
    norm
        ``"l2"``: squared error, as in the paper. ``"l1"``: absolute error, as in its authors' later code.
        ``"charbonnier"``: `charbonnier_loss` with its epsilon.
    coarse_weight
        Weight of every scale but the first; the sum is divided by 2K whatever it is.

    Returns
    -------
    1/(2K) times the sum over the scales of the mean error per value; that is, half the mean squared (or absolute)
    error where all scales have the same one.

    Raises
    ------
    ValueError
        If the pyramids are empty or differ in their sizes, or the norm is another.

    Notes
    -----
    Nah et al., CVPR 2017, eq. 4: 1/(2K) sum_k 1/(c_k w_k h_k) ‖L_k − S_k‖², averaged over the batch. The released
    code leaves 1/(2K) out.
    """
    if not restored or len(restored) != len(sharp):
        msg = f"restored has {len(restored)} scales and sharp has {len(sharp)}: expected the same number, at least 1"
        raise ValueError(msg)
    pairs = list(zip(restored, sharp, strict=True))
    match norm:
        case "l2":
            errors = [_difference(*pair).square().mean() for pair in pairs]
        case "l1":
            errors = [_difference(*pair).abs().mean() for pair in pairs]
        case "charbonnier":
            errors = [charbonnier_loss(*pair) for pair in pairs]
        case _:
            msg = f"norm is {norm!r}: expected 'l2', 'l1' or 'charbonnier'"
            raise ValueError(msg)
    weighted = [error if k == 0 else coarse_weight * error for k, error in enumerate(errors)]
    return torch.stack(weighted).mean() / 2


def adversarial_loss(restored_logits: Tensor) -> Tensor:
    """Punish the network whose images the discriminator takes for restored ones.

    Parameters
    ----------
    restored_logits
        Any shape; the discriminator's logits of restored images.

    Returns
    -------
    Mean of −log D(G(B)) in nats: log 2 where the discriminator is undecided, 0 where it is deceived.

    Notes
    -----
    Nah et al., CVPR 2017, eq. 5, in the non-saturating form of the released code: log(1 − D(G(B))) would lose its
    gradient where the discriminator is sure.
    """
    return F.softplus(-_precise(restored_logits)).mean()


def discriminator_loss(sharp_logits: Tensor, restored_logits: Tensor) -> Tensor:
    """Punish the discriminator for what it takes for the other kind.

    Parameters
    ----------
    sharp_logits, restored_logits
        Any shapes; its logits of sharp and of restored images. Detach the images first.

    Returns
    -------
    Mean of −log D(S) plus mean of −log(1 − D(G(B))) in nats: 2 log 2 where it is undecided, 0 where it is right.

    Notes
    -----
    Nah et al., CVPR 2017, eq. 5, with its sign changed, because it is minimised.
    """
    return F.softplus(-_precise(sharp_logits)).mean() + F.softplus(_precise(restored_logits)).mean()


def psnr_loss(restored: Tensor, sharp: Tensor) -> Tensor:
    """Return the negative PSNR: each image counts by the ratio of its error, not by its amount.

    Parameters
    ----------
    restored, sharp
        (N, 3, H, W) float in [0, 1].

    Returns
    -------
    Mean over the batch of 10 log10(MSE + 1e-4) in dB: −29.6 at a PSNR of 30 dB, −40 for equal images.

    Raises
    ------
    ValueError
        If the sizes differ.

    Notes
    -----
    After HINet (Chen et al., CVPRW 2021) and NAFNet (Chen et al., ECCV 2022), which add 1e-8. Its gradient grows as the
    error shrinks, so it needs a bound on the norm of the gradient.
    """
    mse = _difference(restored, sharp).square().mean(dim=(1, 2, 3))  # (N,)
    return _DECIBEL * torch.log(mse + _MSE_FLOOR).mean()


def charbonnier_loss(restored: Tensor, sharp: Tensor, *, epsilon: float = 1e-3) -> Tensor:
    """Return the absolute error, rounded off where it is below epsilon.

    Parameters
    ----------
    restored, sharp
        (N, 3, H, W) float in [0, 1].
    epsilon
        Where the error turns from squared to absolute, in the unit of the images.

    Returns
    -------
    Mean of sqrt(difference² + epsilon²): epsilon for equal images, the mean absolute error for large ones.

    Raises
    ------
    ValueError
        If the sizes differ.

    Notes
    -----
    Charbonnier et al., ICIP 1994.
    """
    return torch.sqrt(_difference(restored, sharp).square() + epsilon**2).mean()


def fft_loss(restored: Tensor, sharp: Tensor) -> Tensor:
    """Return the mean absolute error of the spectrum, in which fine structure counts as much as coarse.

    Parameters
    ----------
    restored, sharp
        (N, 3, H, W) float in [0, 1].

    Returns
    -------
    Mean modulus of the difference of the orthonormal two-dimensional spectra. It does not grow with the size of
    the image: white noise of standard deviation s gives 0.89 s (and 0.80 s of mean absolute error).

    Raises
    ------
    ValueError
        If the sizes differ.

    Notes
    -----
    After MIMO-UNet (Cho et al., ICCV 2021), which splits real and imaginary parts and leaves the transform
    unnormalised: at 256 × 256 px, its weight 0.1 is worth about 16 here.
    """
    spectrum: Tensor = torch.fft.rfft2(_difference(restored, sharp), norm="ortho")  # (N, 3, H, W/2 + 1) complex
    return spectrum.abs().mean()


def _precise(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _difference(restored: Tensor, sharp: Tensor) -> Tensor:
    if restored.shape != sharp.shape:
        msg = f"restored has shape {tuple(restored.shape)} and sharp {tuple(sharp.shape)}: they must be the same"
        raise ValueError(msg)
    return _precise(restored) - _precise(sharp)
