"""Making the camera-shake benchmark of `blursynth.shake.benchmark`: resumable, and the same bytes every time."""

import json
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

import blursynth
from blursynth.crf import ResponseCurve, response_curve
from blursynth.engine import Engine, Failure, run_tasks
from blursynth.errors import PhotoError, SettingsError
from blursynth.files import (
    as_output_error,
    check_regular_file,
    make_directory,
    printable,
    sha256_of,
    write_bytes,
)
from blursynth.locks import locked
from blursynth.make.shared import check_seed
from blursynth.photos import read_photo
from blursynth.progress import SILENT, Progress
from blursynth.shake import ShakeRule, Trajectory, draw_trajectory
from blursynth.shake.benchmark import (
    BENCHMARK_NAME,
    INDEX_NAME,
    NUM_FRAMES,
    NUM_TRAJECTORIES,
    SCHEMA,
    trial_files,
    trial_name,
)
from blursynth.shake.playback import Playback
from blursynth.sweeping import swept
from blursynth.windows import pair_key

__all__ = ["KohlerConfig", "make_kohler_set"]

_PLAN_NAME = "plan.json"
_TRIAL_NAME = "trajectory.json"
_SHORTEST_PX, _LONGEST_PX = 6.0, 60.0
_EXPOSURE_SECONDS = "0.2-1"
_MIN_SIDE = 176  # what the five scales of Köhler's MSSIM need
_ROOM_PX = 90  # that a trajectory takes from a photograph's width or height; 80 is the most that was seen
_MAX_PICTURES = 99
_PNG_OPTIONS = (cv2.IMWRITE_PNG_COMPRESSION, 3)


@dataclass(frozen=True, slots=True)
class KohlerConfig:
    """What decides a set, beside its photographs.

    Parameters
    ----------
    size
        (width, height) of the pictures, cut out of the middle of each photograph, which must be up to 90 px larger.
    crf
        Response curve of the photographs, and of the camera that shakes.
    seed
        Of the twelve trajectories.

    Raises
    ------
    SettingsError
        If a side is below 176 px, or the curve or the seed makes no sense.
    """

    size: tuple[int, int] = (512, 512)
    crf: str = "srgb"
    seed: int = 0

    def __post_init__(self) -> None:
        if not _MIN_SIDE <= min(self.size) <= max(self.size) <= 8192:
            raise SettingsError(f"size {self.size[0]}x{self.size[1]}: each side must have {_MIN_SIDE} to 8192 px")
        response_curve(self.crf)
        check_seed(self.seed)

    def rule(self, trajectory: int) -> ShakeRule:
        """Return what a trajectory, 0 to 11, is drawn from: tremor in six degrees of freedom, longer and longer."""
        path_px = _SHORTEST_PX * (_LONGEST_PX / _SHORTEST_PX) ** (trajectory / (NUM_TRAJECTORIES - 1))
        return ShakeRule(f"{path_px:.3f}", "tremor", _EXPOSURE_SECONDS, readout="0", layers="1")

    def settings(self) -> dict[str, Any]:
        """Return the settings as plain values, for JSON."""
        return {
            "size": list(self.size),
            "crf": self.crf,
            "seed": self.seed,
            "path_px": [self.rule(trajectory).blur_px for trajectory in range(NUM_TRAJECTORIES)],
            "exposure_seconds": _EXPOSURE_SECONDS,
            "num_frames": NUM_FRAMES,
        }


@dataclass(frozen=True, slots=True)
class _Task:
    photo: Path
    config: KohlerConfig
    trajectory: int
    folder: Path


def make_kohler_set(
    photos: Sequence[Path],
    output: Path,
    config: KohlerConfig | None = None,
    *,
    overwrite: bool = False,
    engine: Engine | None = None,
    progress: Progress = SILENT,
) -> Path:
    """Shake every photograph along twelve trajectories, keep the sharp frames on the way, and write an index.

    A killed run goes on when it is called again. The same photographs, in the same order, and settings give the same
    bytes with any number of workers.

    Returns
    -------
    The index, which `blursynth.shake.benchmark.open_kohler` reads.

    Raises
    ------
    SettingsError
        If the folder holds a set of other photographs or settings and ``overwrite`` is false.
    PhotoError
        If a photograph cannot be read or is too small. A set is made of all of them or not at all.
    OutputError
        If the disk says no.
    """
    config, engine = config or KohlerConfig(), engine or Engine()
    sources = _sources(photos, progress)
    pictures: list[dict[str, Any]] = [
        {"source": printable(path.name), "source_sha256": sha256} for path, sha256 in sources
    ]
    plan = {"schema": SCHEMA, "benchmark": BENCHMARK_NAME, "settings": config.settings(), "pictures": pictures}
    _check_room([path for path, _ in sources], config)
    make_directory(output)
    tasks = [
        _Task(path, config, trajectory, output / trial_name(number, trajectory))
        for number, (path, _) in enumerate(sources)
        for trajectory in range(NUM_TRAJECTORIES)
    ]
    folders = [output, *(task.folder for task in tasks), *(task.folder / "frames" for task in tasks)]
    with locked(output, "another blursynth shake"), swept(folders):
        _settle(output, plan, overwrite=overwrite)
        trials = _run(tasks, engine, progress)
        with_trials = [
            picture | {"trajectories": trials[number * NUM_TRAJECTORIES : (number + 1) * NUM_TRAJECTORIES]}
            for number, picture in enumerate(pictures)
        ]
        write_bytes(output / INDEX_NAME, _json(plan | {"pictures": with_trials}), overwrite=True)
    return output / INDEX_NAME


def _sources(photos: Sequence[Path], progress: Progress) -> list[tuple[Path, str]]:
    """Return photographs with their SHA-256, none twice."""
    sources: dict[str, Path] = {}
    for path in photos:
        check_regular_file(path, PhotoError)
        sha256 = sha256_of(path)
        if sha256 in sources:
            progress.note(f"{printable(path)}: the same photograph as {printable(sources[sha256])}: left out")
        sources.setdefault(sha256, path)
    if not 1 <= len(sources) <= _MAX_PICTURES:
        raise SettingsError(f"{len(sources)} photographs: a benchmark takes 1 to {_MAX_PICTURES}")
    return [(path, sha256) for sha256, path in sources.items()]


def _check_room(photos: Sequence[Path], config: KohlerConfig) -> None:
    """Refuse photographs that a trajectory would look beyond the edge of, before hours go into the others."""
    for path in photos:
        photo_size = read_photo(path).pixels.shape[:2]
        without_memory = np.broadcast_to(np.float32(0), (*photo_size, 3))
        for number in reversed(range(NUM_TRAJECTORIES)):  # the longest needs the most room
            try:
                _played(config, number, without_memory)
            except PhotoError as error:
                raise PhotoError(
                    f"{printable(path)}: {error} (the trajectories take up to {_ROOM_PX} px beside the size, both ways)"
                ) from error


def _played(config: KohlerConfig, trajectory: int, photo_linear: NDArray[np.float32]) -> tuple[Trajectory, Playback]:
    key = pair_key(config.seed, BENCHMARK_NAME, trajectory)
    drawn = draw_trajectory(config.rule(trajectory), key, photo_linear.shape[:2])
    width, height = config.size
    return drawn, Playback.along(drawn, photo_linear, (height, width))


def _settle(output: Path, plan: Mapping[str, Any], *, overwrite: bool) -> None:
    """Write the plan, or find that it is there already; a set of another plan is removed first or refused."""
    path = output / _PLAN_NAME
    found = _read_json(path)
    if found == plan:
        return
    if path.exists() and not any(output.glob(f"*/*/{_TRIAL_NAME}")):
        write_bytes(path, _json(plan), overwrite=True)  # of a run that ended before it made anything
        return
    if found is not None or path.exists() or (output / INDEX_NAME).exists():
        if not overwrite:
            raise SettingsError(
                f"{printable(output)}: holds a benchmark of other photographs or settings; "
                "use another -o, or --overwrite to replace it"
            )
        _discard(output)
    elif any(not entry.name.startswith(".blursynth") for entry in output.iterdir()):
        raise SettingsError(f"{printable(output)}: holds other files; choose an empty or new folder with -o")
    write_bytes(path, _json(plan), overwrite=overwrite)


def _discard(output: Path) -> None:
    """Remove the files of a set, the index first; folders stay, and so does what is not ours."""
    names = [INDEX_NAME, _PLAN_NAME]
    for folder in sorted(output.glob("picture_[0-9][0-9]/trajectory_[0-9][0-9]")):
        names += [f"{folder.relative_to(output)}/{name}" for name in (_TRIAL_NAME, *trial_files())]
    for name in names:
        with as_output_error(output / name), suppress(FileNotFoundError):
            (output / name).unlink()


def _run(tasks: Sequence[_Task], engine: Engine, progress: Progress) -> list[dict[str, Any]]:
    """Return what is known of each trial; those that are whole already are not made again."""
    trials = {position: trial for position, task in enumerate(tasks) if (trial := _finished(task.folder))}
    missing = [position for position in range(len(tasks)) if position not in trials]
    with (
        progress.task("trajectories", len(missing), "trajectories") as advance,
        closing(run_tasks(_make_trial, [tasks[position] for position in missing], engine)) as outcomes,
    ):
        for number, outcome in outcomes:
            task = tasks[missing[number]]
            if isinstance(outcome, Failure):
                raise outcome.as_error(printable(task.photo))
            trials[missing[number]] = outcome
            advance(1, task.folder.name)
    return [trials[position] for position in range(len(tasks))]


def _finished(folder: Path) -> dict[str, Any] | None:
    """Return a trial that is whole on the disk, with the bytes that were written."""
    trial = _read_json(folder / _TRIAL_NAME)
    if trial is None:
        return None
    try:
        is_whole = all(sha256_of(folder / name) == trial["sha256"][name] for name in trial_files())
    except (OSError, KeyError, TypeError):
        return None
    return trial if is_whole else None


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _make_trial(task: _Task) -> dict[str, Any]:
    curve = response_curve(task.config.crf)
    pixels = read_photo(task.photo).pixels
    photo_linear = curve.linear_of_codes(np.iinfo(pixels.dtype).max).astype(np.float32)[pixels]
    try:
        trajectory, playback = _played(task.config, task.trajectory, photo_linear)
    except PhotoError as error:  # another file than the one that was looked at before
        raise PhotoError(f"{printable(task.photo)}: {error}") from error
    make_directory(task.folder / "frames")
    images = [playback.blurry_linear(), *playback.frames_linear(NUM_FRAMES)]
    sha256 = {}
    for name, linear in zip(trial_files(), images, strict=True):
        write_bytes(task.folder / name, _png(linear, curve), overwrite=True)
        sha256[name] = sha256_of(task.folder / name)
    trial = {
        "path_px": trajectory.path_px,
        "exposure_seconds": trajectory.exposure_seconds,
        "focal_px": trajectory.focal_px,
        "num_poses": playback.weights.size,
        "blursynth_version": blursynth.__version__,
        "sha256": sha256,
    }
    write_bytes(task.folder / _TRIAL_NAME, _json(trial), overwrite=True)
    return trial


def _png(linear: NDArray[np.float32], curve: ResponseCurve) -> bytes:
    codes = curve.from_linear(linear)
    _, data = cv2.imencode(".png", cv2.cvtColor(codes, cv2.COLOR_RGB2BGR), _PNG_OPTIONS)
    return data.tobytes()


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()
