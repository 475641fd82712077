"""The layouts of the community's data sets: GOPRO_Large, REDS, HIDE, RealBlur, plain folders, BasicSR, WebDataset."""

from blursynth.layouts.exporting import WRITTEN_LAYOUTS, ExportSummary, export_shards
from blursynth.layouts.importing import ImportSummary, import_tree
from blursynth.layouts.tree import READ_LAYOUTS, DataSet, PairTree, open_data_set, open_pairs
from blursynth.layouts.writing import Crop

__all__ = [
    "READ_LAYOUTS",
    "WRITTEN_LAYOUTS",
    "Crop",
    "DataSet",
    "ExportSummary",
    "ImportSummary",
    "PairTree",
    "export_shards",
    "import_tree",
    "open_data_set",
    "open_pairs",
]
