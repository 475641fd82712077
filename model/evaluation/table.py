"""Results as text for a person to read, and as lines of a spreadsheet."""

import csv
import io
from collections.abc import Sequence

from blursynth.files import printable

from .comparing import Difference
from .intervals import INTERVAL_DEFINITION, Estimate, mean_interval
from .memory import MEMORY_DEFINITION
from .published import PublishedRow
from .results import Column, DataResult, MethodResult, Results

__all__ = ["comparison_text", "csv_text", "data_text", "definitions_text", "published_text"]


def data_text(data: DataResult, columns: Sequence[Column]) -> str:
    """Return the table of a data set: a line for each method, the blurry input first."""
    count, sequences = len(data.images), len(set(data.sequences))
    of_all = f" of {data.total}" if count != data.total else ""
    of_sequences = f" of {sequences} sequences" if 1 < sequences < count else ""
    title = f"{printable(data.name)}: {count}{of_all} images{of_sequences}, data {data.sha256[:12]}"
    head = ["", *(_heading(column) for column in columns), "s/image", "peak MB"]
    rows = [_method_cells(method, data.sequences, columns) for method in data.methods]
    kept = [
        f"\n  {printable(method.name)}: {method.kept_tiles} tiles could not be restored and were scored as they were"
        for method in data.methods
        if method.kept_tiles
    ]
    return f"{title}\n{_aligned([head, *rows])}{''.join(kept)}"


def _heading(column: Column) -> str:
    return f"{column.name}{f' {column.unit}' if column.unit else ''} [95 %]"


def _method_cells(method: MethodResult, sequences: Sequence[str], columns: Sequence[Column]) -> list[str]:
    seconds, peak_bytes = method.seconds_per_image, method.peak_bytes
    return [
        printable(method.name),
        *(_shown(mean_interval(method.column(i), sequences), column) for i, column in enumerate(columns)),
        "" if seconds is None else f"{seconds:.3g}",
        "" if peak_bytes is None else f"{peak_bytes / 1e6:.0f}",
    ]


def _shown(estimate: Estimate, column: Column, sign: str = "") -> str:
    mean = f"{estimate.mean:{sign}.{column.decimals}f}"
    if estimate.low is None or estimate.high is None:
        return mean
    return f"{mean} [{estimate.low:{sign}.{column.decimals}f}, {estimate.high:{sign}.{column.decimals}f}]"


def published_text(rows: Sequence[PublishedRow]) -> str:
    """Return what others report of the same data set and track, with which SSIM it is and where it stands."""
    cells = [
        [
            f"{row.method} ({row.year})" if row.year else row.method,
            f"{row.psnr:.2f}",
            "" if row.ssim is None else f"{row.ssim:.4f}".removesuffix("0"),
            row.which_ssim,
            row.source + ("" if row.is_verified else ", not verified") + (f"; {row.note}" if row.note else ""),
        ]
        for row in rows
    ]
    return f"published, same data set and track:\n{_aligned([['', 'psnr dB', 'ssim', 'which', 'source'], *cells])}"


def comparison_text(differences: Sequence[Difference]) -> str:
    """Return two evaluations side by side: both means, and the mean of the paired differences with its interval."""
    cells = [
        [
            printable(each.data),
            printable(each.method),
            printable(each.other),
            each.column.name,
            f"{each.mean:.{each.column.decimals}f}",
            f"{each.other_mean:.{each.column.decimals}f}",
            _shown(each.difference, each.column, sign="+"),
        ]
        for each in differences
    ]
    return _aligned([["data", "here", "there", "metric", "here", "there", "difference [95 %]"], *cells])


def definitions_text(results: Results) -> str:
    """Return how each number is defined."""
    lines = [f"{column.name}: mean over images; {column.definition}" for column in results.columns]
    if any(method.seconds_per_image is not None for data in results.data for method in data.methods):
        lines += [f"s/image: median, on {results.device}", f"peak MB: {MEMORY_DEFINITION}"]
    return "\n".join([*lines, f"[95 %]: {INTERVAL_DEFINITION}"])


def csv_text(results: Results) -> str:
    """Return a line for each data set, method and image."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    names = [column.name for column in results.columns]
    writer.writerow(["data_set", "method", "image", "sequence", *names, "seconds", "peak_bytes", "pair_sha256"])
    for data in results.data:
        for method in data.methods:
            for image in method.images:
                cost = [image.seconds, image.peak_bytes]
                where = [printable(text) for text in (data.name, method.name, image.name, image.sequence)]
                writer.writerow([*where, *image.values, *cost, image.sha256])
    return file.getvalue()


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return cells in columns, the first left and the others by their first character."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(f"  {line}".rstrip() for line in lines)
