"""Parts of an array job: run twice, at the same time, and with one that is missing."""

from pathlib import Path

from faults.goods import Goods
from faults.kills import digest_of, whole_files
from faults.launcher import Launcher
from faults.runner import Trial, sandbox

__all__ = ["TRIALS", "parts_of_a_job"]

_CLIPS = ("clip.mkv", "other.mkv", "clip.mp4", "fast.mp4")
_MAKE = "make clip.mkv other.mkv clip.mp4 fast.mp4 --window 3 --quiet -o out"
_TRAIN = "train out --network lite-tiny --device cpu --patch 32 --batch 2 --steps 1 --workers 0 -o run"


def parts_of_a_job(launcher: Launcher, goods: Goods, root: Path) -> Trial:
    """Run both parts at the same time and one twice; then only one of them, and look whether that is told."""
    faults: list[str] = []
    with sandbox(root, goods) as place:
        place.take(*_CLIPS)
        launcher.run(_MAKE.split(), place.work)
        expected = {name: text for name, text in digest_of(place.work / "out").items() if name.endswith(".h5")}
    with sandbox(root, goods) as place:
        place.take(*_CLIPS)
        started = [launcher.start([*_MAKE.split(), "--part", f"{part}/2"], place.work) for part in (1, 2)]
        codes = [launcher.wait(*each).code for each in started]
        codes += [launcher.run([*_MAKE.split(), "--part", "2/2"], place.work).code]
        found = {name: text for name, text in digest_of(place.work / "out").items() if name.endswith(".h5")}
        faults += [] if codes == [0, 0, 0] else [f"both at once and one again end with {codes}"]
        faults += [] if found == expected else ["both together make something else than one run alone"]
        faults += whole_files(place.work)
        faults += _told(launcher, place.work, None)
    for part, other in ((1, 2), (2, 1)):
        with sandbox(root, goods) as place:
            place.take(*_CLIPS)
            launcher.run([*_MAKE.split(), "--part", f"{part}/2"], place.work)
            faults += _told(launcher, place.work, f"{other}/2")
    promise = "the same shards; a part that is missing is told, and train goes on"
    return Trial("processes", "parts of an array job", promise, 4, tuple(faults))


def _told(launcher: Launcher, work: Path, missing: str | None) -> list[str]:
    inspected = launcher.run(["inspect", "out"], work)
    is_told = "parts_missing" in inspected.stdout and (missing or "/") in inspected.stdout
    faults = [] if inspected.code == 0 and is_told == bool(missing) else [f"inspect of {missing}: {inspected.stdout}"]
    trained = launcher.run(_TRAIN.split(), work)
    is_told = f"part {missing} is missing" in trained.stderr
    is_empty = "holds no pairs" in trained.stderr  # chance has dealt all clips to the other part
    if trained.code != (4 if is_empty else 0) or is_told != bool(missing):
        faults.append(f"train without {missing}: {trained.code}, {trained.stderr[-300:]}")
    return faults


TRIALS = (parts_of_a_job,)
