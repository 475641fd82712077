"""Scores of networks on pairs, as the literature computes them."""

from .comparing import Difference
from .published import published_of, published_rows
from .results import DataResult, MethodResult, Results, read_results
from .session import EvalConfig, Evaluation, Output, run_evaluation
from .table import comparison_text, data_text, definitions_text, published_text

__all__ = [
    "DataResult",
    "Difference",
    "EvalConfig",
    "Evaluation",
    "MethodResult",
    "Output",
    "Results",
    "comparison_text",
    "data_text",
    "definitions_text",
    "published_of",
    "published_rows",
    "published_text",
    "read_results",
    "run_evaluation",
]
