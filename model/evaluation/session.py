"""A whole evaluation: data sets and checkpoints by their paths -> results, in memory and in a folder."""

import platform
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from blursynth.errors import RefusedError, SettingsError
from blursynth.files import make_directory, printable, refuse_existing
from blursynth.locks import locked
from blursynth.progress import SILENT, Progress
from blursynth.sweeping import sweep

from ..device import choose_device
from .comparing import Difference, check_comparable, compare
from .datasets import DataSet, check_tracks, limited, open_benchmark, open_data_set, open_folders
from .methods import Method, load_methods
from .results import Results, read_results
from .resuming import ScoreLog
from .run import WorstView, evaluate, score_key
from .scoring import Scoring, choose_scoring
from .writing import RESULTS_NAME, write_results

__all__ = ["EvalConfig", "Evaluation", "Output", "run_evaluation"]

_CPU_INFO = Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True)
class EvalConfig:
    """What decides the numbers of an evaluation, beside data and checkpoints.

    Parameters
    ----------
    metrics
        Names out of `METRICS`; of no account with another protocol than ``plain``.
    protocol
        ``plain``, pixel against pixel, or as the benchmarks RealBlur and Köhler score.
    layout, split, track
        See `open_data_set`.
    limit
        Score this many pairs, spread evenly over the data set.
    device, tile, self_ensemble
        See `Deblurrer`. Images up to the size of a tile are restored whole, as the literature does.
    """

    metrics: tuple[str, ...] = ("psnr", "ssim")
    protocol: Literal["plain", "realblur", "kohler"] = "plain"
    layout: str = "auto"
    split: str | None = None
    track: str | None = None
    limit: int | None = None
    device: str = "auto"
    tile: int = 2048
    self_ensemble: bool = False


@dataclass(frozen=True, slots=True)
class Output:
    """Folder for results.json, images.csv and pictures of the ``num_worst`` worst images of each network and data set.

    A run that was killed goes on there.
    """

    directory: Path
    overwrite: bool = False
    num_worst: int = 10


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What an evaluation found: scores, differences from an earlier one, and why which data sets have no scores."""

    results: Results
    differences: tuple[Difference, ...] = ()
    refused: tuple[str, ...] = ()

    @property
    def failures(self) -> list[str]:
        """What was not scored and why: one line for each pair, or data set of which no pair could be."""
        return [failure.error for data in self.results.data for failure in data.failures] + list(self.refused)


def run_evaluation(
    paths: Sequence[Path],
    checkpoints: Sequence[str] = (),
    config: EvalConfig | None = None,
    *,
    folders: tuple[Path, Path] | None = None,
    output: Output | None = None,
    against: Path | None = None,
    progress: Progress = SILENT,
) -> Evaluation:
    """Score checkpoints, and the blurry input, on data sets.

    Parameters
    ----------
    paths
        Data sets: see `open_data_set`.
    checkpoints
        See `load_methods`; without any, only the blurry input is scored.
    folders
        A folder of blurry images and one of sharp ones, as one more data set.
    against
        The results.json of an earlier evaluation to compare with.

    Raises
    ------
    SettingsError
        If nothing is to be evaluated, tracks are mixed, what is compared differs, or results exist already.
    RefusedError
        If data or checkpoints cannot be used, or no pair can be scored.
    MachineError
        If device, disk or memory say no.
    """
    config = config or EvalConfig()
    scoring = choose_scoring(config.protocol, config.metrics)
    data = _open_all(paths, folders, config)
    earlier = read_results(against) if against else None
    if earlier:
        for each in data:
            check_comparable(each.name, each.track, scoring.columns, earlier)
        _check_limit(config, earlier)
    if output:
        refuse_existing(output.directory / RESULTS_NAME, overwrite=output.overwrite)
    methods = load_methods(checkpoints, device=config.device, tile=config.tile, self_ensemble=config.self_ensemble)
    with _writing_to(output):
        evaluation = _evaluate_all(data, methods, scoring, config, output, progress)
    return replace(evaluation, differences=tuple(compare(evaluation.results, earlier))) if earlier else evaluation


def _check_limit(config: EvalConfig, earlier: Results) -> None:
    """Refuse what could only fail after hours of work: other numbers of images are other images."""
    there = earlier.settings.get("limit")
    if there != config.limit:
        wanted = f"--limit {there}" if there else "no --limit"
        raise SettingsError(f"limit {config.limit or 'none'}: the earlier evaluation has {wanted}; use the same")


def _open_all(paths: Sequence[Path], folders: tuple[Path, Path] | None, config: EvalConfig) -> list[DataSet]:
    if config.protocol == "kohler":
        if folders or config.split or config.track:
            raise SettingsError("protocol kohler scores what 'blursynth shake --preset kohler' made, and no other data")
        opened = [open_benchmark(path) for path in paths]
    else:
        opened = [open_data_set(path, layout=config.layout, split=config.split, track=config.track) for path in paths]
    if folders:
        opened.append(open_folders(*folders, track=config.track))
    if not opened:
        raise SettingsError("nothing to evaluate: give data sets, or --blur and --sharp")
    check_tracks(opened)
    return [limited(each, config.limit) for each in opened]


def _writing_to(output: Output | None) -> AbstractContextManager[None]:
    if output is None:
        return nullcontext()
    make_directory(output.directory)
    sweep(output.directory)
    return locked(output.directory, "blursynth eval")


def _evaluate_all(
    data: Sequence[DataSet],
    methods: Sequence[Method],
    scoring: Scoring,
    config: EvalConfig,
    output: Output | None,
    progress: Progress,
) -> Evaluation:
    device = choose_device(config.device)
    settings = _settings(config, device)
    keys = {score_key(method, scoring, settings): len(scoring.columns) for method in methods}
    log = ScoreLog(output.directory if output else None, keys)
    if output and len(log):
        progress.note(f"{printable(output.directory)}: {len(log)} scores are there from a run that was stopped")
    found, refused = [], []
    views: list[WorstView] = []
    for each in data:
        try:
            result, pictures = evaluate(
                each,
                methods,
                scoring,
                device=device,
                log=log,
                settings=settings,
                num_worst=output.num_worst if output else 0,
                progress=progress,
            )
        except RefusedError as error:  # nothing of it can be scored; perhaps of the others
            if len(data) == 1:
                raise
            refused.append(str(error))
            continue
        found.append(result)
        views += pictures
    if not found:
        raise RefusedError(refused[0])
    results = Results(scoring.columns, tuple(found), settings | {"limit": config.limit}, device_in_words(device))
    if output:
        write_results(results, views, output.directory, overwrite=output.overwrite or log.was_there)
        log.remove()
    return Evaluation(results, refused=tuple(refused))


def _settings(config: EvalConfig, device: torch.device) -> dict[str, Any]:
    """Return what decides the scores of one image by one network; numbers are rounded otherwise on other devices."""
    return {
        "protocol": config.protocol,
        "tile": config.tile,
        "self_ensemble": config.self_ensemble,
        "device": device.type,
    }


def device_in_words(device: torch.device) -> str:
    """Return what a device is called by who made it."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, PyTorch {torch.__version__}"
    name = platform.processor() or platform.machine()
    if device.type == "cpu" and _CPU_INFO.is_file():
        lines = _CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return f"{device.type} ({name}), {torch.get_num_threads()} threads, PyTorch {torch.__version__}"
