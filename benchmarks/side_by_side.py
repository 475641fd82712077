"""Time several ways of doing the same thing in turn, so that what else the machine does hits them alike."""

import os
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from blursynth.scene import write_clip

SHARED = Path(os.environ.get("BLURSYNTH_SHARED", Path(__file__).parents[2] / "shared" / "data"))


def rates(
    ways: Mapping[str, Callable[[], float]], *, rounds: int = 3, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Run each way ``rounds`` times, in turn; a way returns how many units it did. Median units per second."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            begin = clock()
            units = way()
            found[name].append(units / (clock() - begin))
    return {name: statistics.median(values) for name, values in found.items()}


def show(title: str, found: Mapping[str, float], unit: str, *, against: Mapping[str, float | None]) -> None:
    """Print rates and, for each ``against``, how many times as fast the first way is, with the aim if there is one."""
    print(f"\n{title}")
    ours = next(iter(found))
    for name, rate in found.items():
        print(f"  {name:<58} {rate:>10.4g} {unit}/s")
    for name, aim in against.items():
        ratio = found[ours] / found[name]
        verdict = "" if aim is None else f"   (aim {aim:g}: {'met' if ratio >= aim else 'MISSED'})"
        print(f"  {ours} / {name}: {ratio:.3g}{verdict}")


def real_or_rendered_clip(folder: Path) -> Path:
    """Return the real 240 fps clip if it is there, else one that is rendered."""
    real = SHARED / "video" / "gopro_240fps.mp4"
    if real.exists():
        return real
    write_clip(folder / "clip.mp4", seconds=1.25)
    return folder / "clip.mp4"
