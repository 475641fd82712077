"""What each option of `make` costs, as a ratio to plain `make`."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.side_by_side import rates, real_or_rendered_clip
from blursynth.make import MakeConfig, make_dataset

PLAIN: dict[str, Any] = {"measure": False}
OPTIONS: dict[str, dict[str, Any]] = {
    "plain (--no-measure)": PLAIN,
    "measuring motion, ghosts, sharpness (the default)": {},
    "--exposure 1/30s": {**PLAIN, "exposure": "1/30s"},
    "--exposure 1/30s, leaving out repeated frames": {"exposure": "1/30s"},
    "--store linear": {**PLAIN, "store": "linear"},
    "--output-crf srgb": {**PLAIN, "output_crf": "srgb"},
    "--highlights on": {**PLAIN, "highlights": "on"},
    "--noise match": {**PLAIN, "noise": "match"},
    "--noise iso:100-3200": {**PLAIN, "noise": "iso:100-3200"},
    "--jpeg 60-95": {**PLAIN, "jpeg": "60-95"},
    "--resize 640x360": {**PLAIN, "resize": (640, 360)},
    "--interpolate auto": {**PLAIN, "interpolate": "auto"},
}


def pairs_made(clip: Path, folder: Path, settings: dict[str, Any]) -> float:
    shutil.rmtree(folder, ignore_errors=True)
    stride = 120 if "interpolate" in settings else None
    return make_dataset([clip], folder, MakeConfig(**settings, stride=stride)).pairs


def run(folder: Path) -> None:
    clip = real_or_rendered_clip(folder)
    pairs_made(clip, folder / "shards", {**PLAIN, "store": "linear"})  # compiles the kernels
    ways: dict[str, Callable[[], float]] = {
        name: partial(pairs_made, clip, folder / "shards", settings) for name, settings in OPTIONS.items()
    }
    found = rates(ways, rounds=2)
    plain = next(iter(found.values()))
    print(f"\n{clip.name}, window 7, in one process: time for a pair against plain make")
    for name, rate in found.items():
        print(f"  {name:<52} {plain / rate:>8.3g} x")
