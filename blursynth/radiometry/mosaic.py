"""The raw path: from linear sRGB to a camera's colour mosaic and back.

The colours are those of RSBlur (Rim et al., ECCV 2022), which calibrated a Sony A7R III. The first matrix is the
product of its two (linear sRGB to XYZ to camera), with rows made to add up to 1, so that grey stays grey; the second is
its inverse. No entry of the first is negative: light in [0, 1] stays there.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["CAMERA_OF_SRGB", "SRGB_OF_CAMERA", "demosaic", "mosaic", "srgb_of_camera"]

CAMERA_OF_SRGB = (
    (0.596497, 0.253668, 0.149835),
    (0.060998, 0.720371, 0.218631),
    (0.009239, 0.206654, 0.784107),
)
SRGB_OF_CAMERA = (
    (1.736558, -0.561197, -0.175361),
    (-0.153079, 1.558334, -0.405255),
    (0.019883, -0.404092, 1.384209),
)
_RED_SITES = ((0, 0), (1, 1), (0, 1), (1, 0))  # row and column of red in RGGB, BGGR, GRBG, GBRG

Plane = NDArray[np.float32]
Site = tuple[slice, slice]


def mosaic(linear: NDArray[np.float32], bayer: int) -> Plane:
    """Sample linear sRGB through a Bayer pattern, in the camera's colours.

    Parameters
    ----------
    linear
        (H, W, 3) float32 in [0, 1].
    bayer
        0 to 3: RGGB, BGGR, GRBG, GBRG.

    Returns
    -------
    (H, W) float32 in [0, 1], without white-balance gains.
    """
    raw = np.empty(linear.shape[:2], np.float32)
    for channel, sites in zip(range(3), colour_sites(bayer), strict=True):
        for site in sites:
            raw[site] = _weighted(CAMERA_OF_SRGB[channel], linear[site])
    return raw


def colour_sites(bayer: int) -> tuple[tuple[Site, ...], tuple[Site, ...], tuple[Site, ...]]:
    """Return where a pattern has red, green and blue, as slices; green in red's rows comes first."""
    y, x = _RED_SITES[bayer]
    return (_site(y, x),), (_site(y, 1 - x), _site(1 - y, x)), (_site(1 - y, 1 - x),)


def demosaic(raw: Plane, bayer: int) -> NDArray[np.float32]:
    """Interpolate a Bayer mosaic by the linear 5x5 filters of Malvar, He and Cutler, ICASSP 2004, fig. 2.

    Borders are mirrored about the outermost pixels, which keeps the pattern's phase, so that nothing is cut off.

    Parameters
    ----------
    raw
        (H, W) float32, white-balanced.
    bayer
        0 to 3: RGGB, BGGR, GRBG, GBRG.

    Returns
    -------
    (3, H, W) float32, which may leave [0, 1] beside edges.
    """
    (red,), (green_by_red, green_by_blue), (blue,) = colour_sites(bayer)
    at_green_of_row, at_green_of_column, at_opposite, green = _malvar(raw)
    planes = np.empty((3, *raw.shape), np.float32)
    for plane, own, other, in_row, in_column in (
        (planes[0], red, blue, green_by_red, green_by_blue),
        (planes[2], blue, red, green_by_blue, green_by_red),
    ):
        plane[own] = raw[own]
        plane[other] = at_opposite[other]
        plane[in_row] = at_green_of_row[in_row]
        plane[in_column] = at_green_of_column[in_column]
    planes[1] = raw
    for site in (red, blue):
        planes[1][site] = green[site]
    return planes


def srgb_of_camera(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn (3, H, W) float32 in the camera's colours into linear sRGB, (H, W, 3) float32, not clipped."""
    linear = np.empty((*planes.shape[1:], 3), np.float32)
    pixels = np.moveaxis(planes, 0, -1)
    for channel in range(3):
        linear[..., channel] = _weighted(SRGB_OF_CAMERA[channel], pixels)
    return linear


def _weighted(weights: tuple[float, float, float], pixels: NDArray[np.float32]) -> Plane:
    # Written out: a matrix product's last bits depend on the BLAS and its threads.
    total = weights[0] * pixels[..., 0]
    total += weights[1] * pixels[..., 1]
    total += weights[2] * pixels[..., 2]
    return total


def _site(y: int, x: int) -> Site:
    return slice(y, None, 2), slice(x, None, 2)


def _malvar(raw: Plane) -> tuple[Plane, Plane, Plane, Plane]:
    """Return the four estimates at every pixel, of which demosaicking picks.

    A colour at green pixels whose row has it, whose column has it; red at blue or blue at red; green at both.
    """
    padded = np.pad(raw, 2, mode="reflect")
    height, width = raw.shape

    def shifted(dy: int, dx: int) -> Plane:
        return padded[2 + dy : 2 + dy + height, 2 + dx : 2 + dx + width]

    row = shifted(0, -1) + shifted(0, 1)
    column = shifted(-1, 0) + shifted(1, 0)
    far_row = shifted(0, -2) + shifted(0, 2)
    far_column = shifted(-2, 0) + shifted(2, 0)
    diagonal = shifted(-1, -1) + shifted(-1, 1) + shifted(1, -1) + shifted(1, 1)
    at_green_of_row = (10 * raw + 8 * row - 2 * (diagonal + far_row) + far_column) / 16
    at_green_of_column = (10 * raw + 8 * column - 2 * (diagonal + far_column) + far_row) / 16
    at_opposite = (12 * raw + 4 * diagonal - 3 * (far_row + far_column)) / 16
    green = (4 * raw + 2 * (row + column) - far_row - far_column) / 8
    return at_green_of_row, at_green_of_column, at_opposite, green
