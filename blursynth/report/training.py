"""The page of a training run."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import blursynth
from blursynth.errors import PhotoError
from blursynth.files import check_regular_file, printable
from blursynth.pages import Picture, curves, escape, headline_numbers, page, slider
from blursynth.pages.images import data_uri, encode, reduced
from blursynth.pages.scales import number_text
from blursynth.photos import read_photo
from blursynth.report.card import card_html
from blursynth.report.journal import RunLog, read_log

__all__ = ["training_report"]

_CARD, _SAMPLES = "card.md", "samples"
_SAMPLE = re.compile(r"step-(\d{1,15})\.(?:png|jpg)")
_MAX_SAMPLES = 12
_SAMPLE_PX = 1280
_MAX_CARD_BYTES = 1 << 20


def training_report(run: Path) -> str:
    """Return a page about a training run: its curves, sample pictures over time, its card.

    Sample pictures are ``samples/step-000100.png`` and the like, RGB, all of one size: rows of blurry, restored, sharp.

    Raises
    ------
    CheckpointError
        If the folder has no log of a run.
    PhotoError
        If a sample picture cannot be read.
    """
    log = read_log(run)
    card = _card(run / _CARD)
    sections = {
        "curves": ("Curves", _curves(log)),
        "samples": ("Samples over time", _samples(run / _SAMPLES)),
        "card": ("Model card", card or "<p>The run has no card yet; it is written with the first checkpoint.</p>\n"),
    }
    title = f"Training run {run.resolve().name}"
    return page(title, _headline(log), sections, footer=f"Made by blursynth {blursynth.__version__}.")


def _headline(log: RunLog) -> str:
    lines = [*log.steps, *log.validations]
    psnr, seconds = log.scores("psnr", "psnr").known(), log.series("seconds", "seconds").known()
    best = int(np.argmax(psnr.y)) if psnr.y.size else 0
    values = {
        "steps": f"{max((line['step'] for line in lines), default=0):,}",
        "of training": _duration(float(seconds.y.max())) if seconds.y.size else "–",
        "best validation PSNR": f"{psnr.y[best]:.2f} dB" if psnr.y.size else "–",
        "best step": f"{psnr.x[best]:,.0f}" if psnr.y.size else "–",
    }
    return headline_numbers(values)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _curves(log: RunLog) -> str:
    parts = sorted({name for line in log.steps for name in _losses(line)})
    loss = [log.series("loss", "loss")]
    if len(parts) > 1:
        loss += [log.series(name, "losses", name) for name in parts[:4]]
    psnr = [log.scores("restored", "psnr"), log.scores("blurry, as it came", "blurry")]
    rate = log.series("learning rate", "learning_rate")
    charts = [
        curves("Loss", loss, x_label="step", y_label="loss", what="Mean since the line before; lower is better."),
        curves(
            "Validation PSNR",
            psnr,
            x_label="step",
            y_label="dB",
            what="Of the validation pairs; the gap to the blurry images is what the network gains.",
        ),
        curves("Validation SSIM", [log.scores("restored", "ssim")], x_label="step", y_label="SSIM"),
        curves("Learning rate", [rate], x_label="step", y_label="rate", is_noisy=False),
        curves("Gradient norm", [log.series("norm", "gradient_norm")], x_label="step", y_label="norm"),
        curves("Speed", [log.series("speed", "samples_per_second")], x_label="step", y_label="samples/s"),
    ]
    drawn = [chart for chart in charts if "<svg" in chart]
    if not drawn:
        return "<p>The run has written no numbers yet.</p>\n"
    return f'<div class="charts">\n{"".join(drawn)}</div>\n{_skipped(log)}'


def _losses(line: object) -> Sequence[str]:
    losses = line.get("losses") if isinstance(line, dict) else None
    return list(losses) if isinstance(losses, dict) else []


def _skipped(log: RunLog) -> str:
    skipped, waits = log.series("skipped", "skipped").known(), log.series("wait", "data_wait").known()
    told = []
    if skipped.y.size and skipped.y[-1]:
        told.append(f"{number_text(float(skipped.y[-1]))} steps were skipped for values that are no numbers.")
    if waits.y.size:
        told.append(f"The network waited for data for {waits.y[-1]:.0%} of the time.")
    return f'<p class="small muted">{escape(" ".join(told))}</p>\n' if told else ""


def _samples(folder: Path) -> str:
    found = sorted((int(match[1]), path) for path in _inside(folder) if (match := _SAMPLE.fullmatch(path.name)))
    if not found:
        return "<p>The run kept no sample pictures (<code>samples/step-000100.png</code>).</p>\n"
    places = np.unique(np.linspace(0, len(found) - 1, min(len(found), _MAX_SAMPLES)).round().astype(int))
    chosen = [(found[k][0], _picture(found[k][1])) for k in places.tolist()]
    (first, early), (last, late) = chosen[0], chosen[-1]
    compared = ""
    if len(chosen) > 1 and early.shape == late.shape:
        picture = Picture("From the first to the last", early, late, "", f"step {first:,}", f"step {last:,}")
        compared = f'<ol class="gallery large"><li>{slider(picture, max_bytes=3_000_000)}</li></ol>\n'
    strips = "".join(_strip(step, image) for step, image in reversed(chosen))
    return (
        "<p>The same examples after more and more steps; in each row blurry, restored, sharp. The latest comes "
        "first.</p>\n"
        f'{compared}<div class="charts wide">\n{strips}</div>\n'
    )


def _inside(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _picture(path: Path) -> NDArray[np.uint8]:
    pixels = read_photo(path).pixels
    if pixels.dtype != np.uint8:
        raise PhotoError(f"{printable(path)}: an 8-bit picture is needed")
    return pixels.astype(np.uint8, copy=False)


def _strip(step: int, image: NDArray[np.uint8]) -> str:
    source = data_uri(encode(reduced(image, _SAMPLE_PX), quality=88))
    return (
        f'<figure class="chart"><h3>Step {step:,}</h3>'
        f'<img class="strip" src="{source}" alt="Examples after step {step:,}: blurry, restored, sharp"></figure>\n'
    )


def _card(path: Path) -> str:
    if not path.is_file() or check_regular_file(path, PhotoError).st_size > _MAX_CARD_BYTES:
        return ""
    return card_html(path.read_text(encoding="utf-8", errors="replace"))
