"""The whole job on a clip of our own making: render, make, train, deblur, score, and a picture to look at."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import imageio.v3 as iio
import numpy as np
from numpy.typing import NDArray

from blursynth.errors import SettingsError
from blursynth.files import make_directory, printable, replacing, write_bytes
from blursynth.make import MakeConfig, make_dataset
from blursynth.make.shared import check_seed
from blursynth.model.data import PairSet, read_pairs, split_pairs
from blursynth.model.metrics import psnr, ssim
from blursynth.model.photographs import deblur_files, output_paths
from blursynth.model.restore import Deblurrer
from blursynth.model.train import TrainConfig, train
from blursynth.photos import read_photo
from blursynth.progress import SILENT, Progress
from blursynth.scene import write_clip
from blursynth.shards import Shard

__all__ = ["DemoResult", "run_demo"]

SCORE_DEFINITION = (
    "means over whole held-out images of the same scene; "
    "PSNR: RGB, uint8, peak 255; SSIM: RGB, Gaussian 11x11, sigma 1.5"
)
_WINDOW = "11"
_MARKER = ".blursynth-demo"
_MAX_MINUTES = 10_000
_LEAST_SECONDS, _MAX_SECONDS = 0.2, 600.0  # of the clip
_PANEL = (300, 400)  # height and width of a crop in the picture
_MARGIN, _TITLE = 8, 34

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class DemoResult:
    """Where everything is, and the scores of the held-out pairs before and after."""

    output: Path
    clip: Path
    pairs: int
    held_out: int
    checkpoint: Path
    picture: Path
    psnr_before: float
    psnr_after: float
    ssim_before: float
    ssim_after: float
    definition: str = SCORE_DEFINITION

    def text(self) -> str:
        """Return the result for a person to read."""
        return (
            f"clip         {self.clip}\n"
            f"shards       {self.output / 'shards'}: {self.pairs} pairs, {self.held_out} of them held out\n"
            f"network      {self.checkpoint}\n"
            f"deblurred    {self.output / 'held-out'}\n"
            f"picture      {self.picture}\n"
            f"PSNR         {self.psnr_before:.2f} dB blurry, {self.psnr_after:.2f} dB deblurred\n"
            f"SSIM         {self.ssim_before:.4f} blurry, {self.ssim_after:.4f} deblurred\n"
            f"             ({self.definition})"
        )


def run_demo(
    output: Path,
    *,
    minutes: float = 1.8,
    seconds: float = 2.5,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> DemoResult:
    """Do the whole job.

    Parameters
    ----------
    output
        Folder for everything; made if it is not there.
    minutes
        How long to train.
    seconds
        How long a clip to render, at 240 frames/s.
    seed
        Of the scene and the network.
    overwrite
        Replace an earlier demo.

    Raises
    ------
    SettingsError
        If a number is out of range, if the folder holds something else, or an earlier demo and ``overwrite`` is false.
    MachineError
        If disk or memory say no.
    """
    _check_numbers(minutes, seconds, seed)
    _prepare(output, overwrite=overwrite)
    clip, shards = output / "clip.mp4", output / "shards"
    with progress.task("render", round(240 * seconds), "frames") as advance:
        write_clip(clip, seconds=seconds, seed=seed, progress=lambda _count: advance(1, ""))
    summary = make_dataset([clip], shards, MakeConfig(window=_WINDOW, seed=seed), progress=progress)
    config = _training(minutes, seed)
    result = train(shards, output / "runs" / "demo", config, progress=progress)
    if result.stopped_by:
        raise SystemExit(128 + result.stopped_by)
    _, held_out = split_pairs(read_pairs(shards), config.validation_fraction)
    blurry, sharp = _images(held_out)
    restored = _deblurred(blurry, output / "held-out", result.best, progress)
    picture = output / "before-after.png"
    _write_png(picture, before_after(blurry, restored, sharp))
    return DemoResult(
        output=output,
        clip=clip,
        pairs=summary.pairs,
        held_out=len(held_out),
        checkpoint=result.best,
        picture=picture,
        psnr_before=_mean(psnr, blurry, sharp),
        psnr_after=_mean(psnr, restored, sharp),
        ssim_before=_mean(ssim, blurry, sharp),
        ssim_after=_mean(ssim, restored, sharp),
    )


def _check_numbers(minutes: float, seconds: float, seed: int) -> None:
    if not 0 < minutes <= _MAX_MINUTES:
        raise SettingsError(f"minutes {minutes}: choose more than 0 and at most {_MAX_MINUTES}")
    if not _LEAST_SECONDS <= seconds <= _MAX_SECONDS:
        raise SettingsError(f"seconds {seconds}: choose from {_LEAST_SECONDS} to {_MAX_SECONDS}")
    check_seed(seed)


def _prepare(output: Path, *, overwrite: bool) -> None:
    """Make the folder; clear it if it is an earlier demo and that is wanted, refuse it if it is anything else."""
    make_directory(output)
    marker = output / _MARKER
    if any(output.iterdir()):
        if not marker.exists():
            raise SettingsError(f"{printable(output)}: holds other files; choose an empty or new folder with -o")
        if not overwrite:
            raise SettingsError(f"{printable(output)}: holds a demo already; add --overwrite, or choose another -o")
        for entry in output.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
    write_bytes(marker, b"made by blursynth demo; everything here may be deleted\n")


def _training(minutes: float, seed: int) -> TrainConfig:
    """Return settings that learn as much as two CPU cores can in two minutes."""
    return TrainConfig(
        network="lite-tiny",
        minutes=minutes,
        patch=64,  # in so short a time many small steps teach more than few large ones
        batch=8,
        learning_rate=2e-3,
        schedule="cosine",
        loss="content-l1",
        augmentation="turns",
        save_minutes=max(minutes / 2.5, 0.05),
        seed=seed,
    )


def _images(pairs: PairSet) -> tuple[list[Image], list[Image]]:
    blurry, sharp = [], []
    for shard_number, row in zip(pairs.shard_of, pairs.row_of, strict=True):
        with Shard(pairs.entries[shard_number].path(pairs.directory)) as shard:
            images = shard.pair(int(row))
        blurry.append(images[0])
        sharp.append(images[1])
    return blurry, sharp


def _deblurred(blurry: Sequence[Image], directory: Path, checkpoint: Path, progress: Progress) -> list[Image]:
    """Write photographs and deblur them as a user would."""
    sources = [directory / f"{number:02}.png" for number in range(len(blurry))]
    make_directory(directory)
    for path, image in zip(sources, blurry, strict=True):
        _write_png(path, image)
    outputs = output_paths(sources, None)
    deblur_files(sources, outputs, Deblurrer.load(checkpoint), progress=progress)
    return [np.asarray(read_photo(path).pixels, np.uint8) for path in outputs]


def _write_png(path: Path, pixels: Image) -> None:
    with replacing(path) as temporary:
        iio.imwrite(temporary, pixels, extension=".png")


def _mean(metric: Callable[[Image, Image], float], images: Sequence[Image], sharp: Sequence[Image]) -> float:
    return float(np.mean([metric(*pair) for pair in zip(images, sharp, strict=True)]))


def before_after(blurry: Sequence[Image], restored: Sequence[Image], sharp: Sequence[Image]) -> Image:
    """Lay out crops of where most was gained: blurry, deblurred and sharp side by side, at 1:1, from two images.

    Returns
    -------
    (H, W, 3) uint8.
    """
    gains = [_error(b, s).sum() - _error(r, s).sum() for b, r, s in zip(blurry, restored, sharp, strict=True)]
    best = int(np.argmax(gains))
    rows = [_titles(("blurry", "deblurred", "sharp"))]
    for y, x in _most_gained(blurry[best], restored[best], sharp[best]):
        rows.append(_side_by_side([im[best][y : y + _PANEL[0], x : x + _PANEL[1]] for im in (blurry, restored, sharp)]))
    return np.concatenate(rows)


def _most_gained(blurry: Image, restored: Image, sharp: Image, count: int = 2) -> list[tuple[int, int]]:
    """Return the corners of the panels, apart from each other, where the squared error fell most."""
    errors = [_error(image, sharp) for image in (blurry, restored)]
    height, width = min(_PANEL[0], sharp.shape[0]), min(_PANEL[1], sharp.shape[1])
    gain = cv2.boxFilter(errors[0] - errors[1], -1, (width, height), anchor=(0, 0), normalize=False)
    gain = gain[: sharp.shape[0] - height + 1, : sharp.shape[1] - width + 1].copy()
    corners = []
    for _ in range(count):
        y, x = np.unravel_index(int(np.argmax(gain)), gain.shape)
        corners.append((int(y), int(x)))
        gain[max(0, y - height // 2) : y + height // 2, max(0, x - width) : x + width] = -np.inf
    return corners


def _error(image: Image, sharp: Image) -> NDArray[np.float32]:
    """Return the squared error of each pixel, (H, W) float32."""
    return np.square(image.astype(np.float32) - sharp).sum(2)  # type: ignore[no-any-return]


def _titles(words: Sequence[str]) -> Image:
    strips = []
    for word in words:
        strip = np.full((_TITLE, _PANEL[1], 3), 255, np.uint8)
        cv2.putText(strip, word, (2, _TITLE - 10), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (40, 40, 40), 1, cv2.LINE_AA)
        strips.append(strip)
    return _side_by_side(strips)


def _side_by_side(images: Sequence[Image]) -> Image:
    edge = [(0, _MARGIN), (0, _MARGIN), (0, 0)]
    return np.concatenate([np.pad(image, edge, constant_values=255) for image in images], axis=1)
