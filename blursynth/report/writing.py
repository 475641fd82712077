"""Which report a folder gets, and where it goes."""

from collections.abc import Sequence
from pathlib import Path

from blursynth.errors import RefusedError, SettingsError
from blursynth.files import make_directory, printable, refuse_existing, write_bytes
from blursynth.progress import SILENT, Progress
from blursynth.report.dataset import data_report
from blursynth.report.journal import LOG_NAME
from blursynth.report.measures import Sort
from blursynth.report.training import training_report

__all__ = ["REPORT_NAME", "write_report"]

REPORT_NAME = "report.html"


def write_report(
    path: Path,
    output: Path | None = None,
    *,
    pairs: int = 24,
    sort: Sort = "ghost",
    clips: Sequence[Path] = (),
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Path:
    """Write a page about a folder of shards or a training run; return where it is.

    Parameters
    ----------
    path
        A folder with a manifest, or with ``log.jsonl``.
    output
        The page; None puts ``report.html`` into the folder.
    pairs, sort, clips
        Of data sets, see `data_report`.

    Raises
    ------
    SettingsError
        If the output is there already, or a setting makes no sense.
    RefusedError
        If the folder is neither, or damaged.
    OutputError
        If the disk says no.
    """
    output = path / REPORT_NAME if output is None else output
    if output.is_dir():
        raise SettingsError(f"{printable(output)}: a folder; give the name of a page, such as {REPORT_NAME}")
    refuse_existing(output, overwrite=overwrite)
    text = _report(path, pairs, sort, clips, progress)
    make_directory(output.parent)
    write_bytes(output, text.encode(), overwrite=overwrite)
    return output


def _report(path: Path, pairs: int, sort: Sort, clips: Sequence[Path], progress: Progress) -> str:
    if not path.is_dir():
        raise RefusedError(
            f"{printable(path)}: not a folder; a report is made of a folder of shards or of a training run"
        )
    if (path / LOG_NAME).exists():
        return training_report(path)
    return data_report(path, pairs=pairs, sort=sort, clips=clips, progress=progress)
