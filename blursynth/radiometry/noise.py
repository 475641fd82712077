"""Noise on linear light: by channel, and in a colour mosaic."""

import numpy as np
from numpy.typing import NDArray

from blursynth.radiometry.light import Light
from blursynth.radiometry.mosaic import colour_sites, demosaic, mosaic, srgb_of_camera

__all__ = ["add_noise", "poisson_gauss"]

_GAUSSIAN_FROM = 32  # counts from which a Poisson distribution is drawn as a Gaussian of the same variance


def add_noise(linear: NDArray[np.float32], light: Light) -> NDArray[np.float32]:
    """Add the noise that was drawn for a pair.

    Parameters
    ----------
    linear
        (H, W, 3) float32 in [0, 1].
    light
        What was drawn.

    Returns
    -------
    (H, W, 3) float32, not clipped. With a mosaic it is also softer, as pictures from a sensor with a mosaic are.
    """
    rng = np.random.Generator(np.random.Philox(key=light.key))
    if light.bayer < 0:
        return _gauss(linear, light.shot_noise, light.read_noise, rng)
    raw = mosaic(linear, light.bayer)
    red, _, blue = colour_sites(light.bayer)
    gains = ((red[0], light.red_gain), (blue[0], light.blue_gain))
    for site, gain in gains:  # red and blue collect fewer electrons than green: their noise is amplified
        raw[site] /= gain
    raw = poisson_gauss(raw, light.shot_noise, light.read_noise, rng)
    for site, gain in gains:
        raw[site] *= gain
    return srgb_of_camera(demosaic(raw, light.bayer))


def poisson_gauss(
    signal: NDArray[np.float32], shot: float, read: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Draw Poisson(x / shot) * shot + N(0, read ** 2) for every x of the signal.

    From 32 counts on, a Gaussian of the same mean and variance stands for the Poisson distribution.

    Parameters
    ----------
    signal
        float32 of any shape, not negative.
    shot, read
        As in `NoiseLevel`.
    rng
        Moved on.

    Returns
    -------
    float32, the same shape, not clipped.
    """
    noise = rng.standard_normal(signal.shape, dtype=np.float32)
    noisy = _scaled(noise, signal, shot, read)
    noisy += signal
    dim = signal < _GAUSSIAN_FROM * shot
    if dim.any():
        noisy[dim] = rng.poisson(signal[dim] / np.float64(shot)) * shot + read * noise[dim]
    return noisy


def _gauss(signal: NDArray[np.float32], shot: float, read: float, rng: np.random.Generator) -> NDArray[np.float32]:
    noisy = _scaled(rng.standard_normal(signal.shape, dtype=np.float32), signal, shot, read)
    noisy += signal
    return noisy


def _scaled(noise: NDArray[np.float32], signal: NDArray[np.float32], shot: float, read: float) -> NDArray[np.float32]:
    """Give noise of variance 1 the variance of the signal."""
    deviation = shot * signal  # the variance so far: it, not the deviation, is proportional to light
    deviation += read**2
    np.sqrt(deviation, out=deviation)
    deviation *= noise
    return deviation
