"""One page to look at: a folder of pairs, or a training run."""

from blursynth.report.dataset import MAX_PAIRS_SHOWN, data_report
from blursynth.report.measures import SORTS, Sort
from blursynth.report.training import training_report
from blursynth.report.writing import REPORT_NAME, write_report

__all__ = [
    "MAX_PAIRS_SHOWN",
    "REPORT_NAME",
    "SORTS",
    "Sort",
    "data_report",
    "training_report",
    "write_report",
]
