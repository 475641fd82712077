"""Scores of networks on pairs, as the literature computes them."""

from .published import published_of, published_rows
from .results import DataResult, MethodResult, Results, read_results
from .session import EvalConfig, Evaluation, Output, run_evaluation

__all__ = [
    "DataResult",
    "EvalConfig",
    "Evaluation",
    "MethodResult",
    "Output",
    "Results",
    "published_of",
    "published_rows",
    "read_results",
    "run_evaluation",
]
