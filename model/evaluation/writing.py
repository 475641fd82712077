"""Results in a folder: results.json, images.csv, and pictures of the worst images."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import cv2

from blursynth.files import as_output_error, make_directory, refuse_existing, write_bytes

from .results import Results
from .run import WorstView
from .table import csv_text

__all__ = ["RESULTS_NAME", "write_results"]

RESULTS_NAME = "results.json"
_IMAGES_NAME, _WORST_NAME = "images.csv", "worst"
_OURS = "[0-9][0-9][0-9]_*.png"
_MAX_NAME = 80


def write_results(results: Results, views: Sequence[WorstView], directory: Path, *, overwrite: bool) -> None:
    """Write all files of an evaluation; results.json comes last and says that the others are whole.

    Raises
    ------
    SettingsError
        If one exists and ``overwrite`` is false.
    OutputError
        If the disk says no.
    """
    refuse_existing(directory / _IMAGES_NAME, overwrite=overwrite)
    folders = {view: directory / _WORST_NAME / _file_name(view.data) / _file_name(view.method) for view in views}
    for folder in set(folders.values()):
        make_directory(folder)
        with as_output_error(folder):
            for old in folder.glob(_OURS) if overwrite else ():
                old.unlink()
    for view, folder in folders.items():
        name = f"{view.rank:03d}_{_file_name(view.score.name)}.png"
        _, data = cv2.imencode(".png", cv2.cvtColor(view.pixels, cv2.COLOR_RGB2BGR))
        write_bytes(folder / name, data.data, overwrite=overwrite)
    write_bytes(directory / _IMAGES_NAME, csv_text(results).encode(), overwrite=overwrite)
    text = json.dumps(results.values(), indent=1, allow_nan=False)
    write_bytes(directory / RESULTS_NAME, f"{text}\n".encode(), overwrite=overwrite)


def _file_name(text: str) -> str:
    """Return a text as a part of a path."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("._")[:_MAX_NAME] or "_"
