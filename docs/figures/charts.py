"""Charts: response curves, and what RSBlur's authors measured."""

from collections.abc import Callable

import numpy as np

from blursynth.crf import response_curve

from .drawing import COLOURS, FAINT, INK, Drawing

# Tested on RSBlur's real photographs with SRN-Deblur, PSNR in dB; from the README of rimchang/RSBlur.
RSBLUR_DB = {
    "mean of codes": 30.12,
    "+ response curve (sRGB)": 30.90,
    "+ interpolated sub-frames": 30.20,
    "+ Gaussian noise": 31.77,
    "+ clipped highlights": 31.83,
    "+ sensor noise and ISP": 32.06,
    "trained on real pairs": 32.53,
}


def response_curves() -> str:
    """Codes over light for the named curves."""
    left, top, width, height = 60, 20, 560, 300
    drawing = Drawing(700, 380, "Display code over linear light for linear, sRGB, BT.709 and gamma 2.2")
    for k in range(6):
        x, y = left + width * k / 5, top + height * (1 - k / 5)
        drawing.line([(x, top), (x, top + height)], FAINT, 1)
        drawing.line([(left, y), (left + width, y)], FAINT, 1)
        drawing.text(x, top + height + 18, f"{k / 5:g}", anchor="middle", size=12)
        drawing.text(left - 8, y + 4, f"{51 * k}", anchor="end", size=12)
    for row, (name, colour) in enumerate(zip(("gamma:2.2", "srgb", "bt709", "linear"), COLOURS, strict=False)):
        light = response_curve(name).linear_of_codes()
        points = [(left + width * float(x), top + height * (1 - code / 255)) for code, x in enumerate(light)]
        drawing.line(points, colour, 2, "6 3" if name == "gamma:2.2" else "")
        drawing.line(
            [(left + width - 150, top + 180 + 24 * row), (left + width - 120, top + 180 + 24 * row)], colour, 3
        )
        drawing.text(left + width - 112, top + 184 + 24 * row, name, colour)
    drawing.text(left + width / 2, top + height + 42, "light (1 = the light that clips)", anchor="middle")
    drawing.text(12, top - 6, "code")
    return drawing.svg()


def rsblur_steps() -> str:
    """What each step of realism was worth to RSBlur's authors."""
    drawing = Drawing(700, 300, "PSNR on real photographs after each step, as published in RSBlur's README")
    low, scale, left = 29.5, 130.0, 215
    before = None
    for row, (name, value) in enumerate(RSBLUR_DB.items()):
        y = 16 + 38 * row
        is_real = name.startswith("trained")
        colour = "#78909c" if is_real else COLOURS[0] if "noise" in name and "Gauss" in name else COLOURS[1]
        drawing.text(left - 10, y + 17, name, anchor="end")
        drawing.box(left, y, (value - low) * scale, 25, colour, 0.85)
        change = "" if before is None or is_real else f"  ({value - before:+.2f})"
        drawing.text(left + (value - low) * scale + 8, y + 17, f"{value:.2f}{change}")
        before = value
    drawing.text(left, 292, "dB; bars begin at 29.5", INK, size=12)
    return drawing.svg()


def sampled_noise() -> str:
    """Standard deviation of what is left of noise after a mean of N frames."""
    left, top, width, height = 60, 20, 560, 230
    drawing = Drawing(700, 310, "Noise of a mean of N frames, against that of one frame")
    for k in range(6):
        y = top + height * (1 - k / 5)
        drawing.line([(left, y), (left + width, y)], FAINT, 1)
        drawing.text(left - 8, y + 4, f"{20 * k} %", anchor="end", size=12)
    counts = np.arange(1, 16)
    place = [(left + width * (n - 1) / 14, top + height * (1 - n**-0.5)) for n in counts.tolist()]
    drawing.line([(left, top), (left + width, top)], COLOURS[2], 3)
    drawing.line(place, COLOURS[0], 2)
    for n, (x, y) in zip(counts.tolist(), place, strict=True):
        drawing.box(x - 3, y - 3, 6, 6, COLOURS[0])
        drawing.text(x, top + height + 18, str(n), anchor="middle", size=12)
    drawing.text(left + width, top + 18, "a real photograph, and --noise match", COLOURS[2], "end")
    drawing.text(left + width, place[-1][1] - 34, "mean of N frames: 1 / sqrt(N)", COLOURS[0], "end")
    drawing.text(left + width / 2, top + height + 42, "N, frames in the mean", anchor="middle")
    return drawing.svg()


FIGURES: dict[str, Callable[[], str]] = {
    "chart-response-curves.svg": response_curves,
    "chart-rsblur.svg": rsblur_steps,
    "chart-noise-of-means.svg": sampled_noise,
}
