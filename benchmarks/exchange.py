"""Bringing pairs in and out, and scoring them: processor time against the plain ways of doing the same.

Processor time, of one process: it says what the work costs also on a machine that does other things meanwhile.
"""

import itertools
import time
from pathlib import Path

import cv2
import numpy as np
from skimage.metrics import structural_similarity

from benchmarks.loader import write_png
from benchmarks.side_by_side import rates, real_or_rendered_clip, show
from blursynth.engine import Engine
from blursynth.layouts import export_shards, import_tree, open_data_set
from blursynth.make import MakeConfig, make_dataset
from blursynth.model.metrics import ssim
from blursynth.photos import read_photo

IMPORT, EXPORT, SSIM = "blursynth import, PNG to shards", "blursynth export, shards to PNG", "SSIM of blursynth"
IMPORT_PLAIN, EXPORT_PLAIN = "cv2.imread and the pixels to a file", "the pixels from a file and cv2.imwrite"
SSIM_PLAIN = "SSIM of scikit-image"


def plain_import(tree: Path, output: Path) -> float:
    """Decode every picture and write its pixels, nothing checked, hashed or noted."""
    paths = sorted(tree.glob("*/*.png"))
    for number, path in enumerate(paths):
        np.save(output / f"{number}.npy", np.asarray(cv2.imread(str(path))))
    return len(paths) / 2


def plain_export(output: Path) -> float:
    """Write every picture as OpenCV does unless told otherwise."""
    paths = sorted(output.glob("*.npy"))
    for path in paths:
        cv2.imwrite(str(path.with_suffix(".png")), np.load(path))
    return len(paths) / 2


def run(folder: Path) -> None:
    cv2.setNumThreads(1)
    one, made, tree, plain = Engine(jobs=1), folder / "made", folder / "tree", folder / "plain"
    plain.mkdir()
    make_dataset([real_or_rendered_clip(folder)], made, MakeConfig(window="7", stride=21, measure=False))
    write_png(made, tree)
    sharp, blurry = (read_photo(tree / kind / "000000.png").pixels.astype(np.uint8) for kind in ("sharp", "blur"))
    turn = itertools.count()

    def import_() -> float:
        found = open_data_set(tree, layout="folders", splits=None, track=None)
        return import_tree(found, folder / f"in-{next(turn)}", engine=one).pairs

    def export() -> float:
        return export_shards(made, folder / f"out-{next(turn)}", layout="folders", engine=one).pairs

    def reference_ssim() -> float:
        options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
        structural_similarity(sharp, blurry, channel_axis=2, **options)  # type: ignore[no-untyped-call]
        return 1

    def our_ssim() -> float:
        ssim(blurry, sharp)
        return 1

    for title, unit, ways, aim in (
        ("import, processor time", "pairs", {IMPORT: import_, IMPORT_PLAIN: lambda: plain_import(tree, plain)}, 0.8),
        ("export, processor time", "pairs", {EXPORT: export, EXPORT_PLAIN: lambda: plain_export(plain)}, 0.8),
        ("SSIM of 1280x720, processor time", "images", {SSIM: our_ssim, SSIM_PLAIN: reference_ssim}, 5.0),
    ):
        show(title, rates(ways, clock=time.process_time), unit, against={list(ways)[1]: aim})
