"""What others report, a table with its sources, to stand beside our numbers where it is of the same images."""

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from .results import DataResult

__all__ = ["PublishedRow", "published_of", "published_rows"]


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """One method on one data set; see the head of published.csv for what the words mean.

    Empty text and None mean that the source does not say.
    """

    method: str
    year: str
    data_set: str
    split: str
    track: str
    protocol: str
    images: int | None
    psnr: float
    ssim: float | None
    which_ssim: str
    source: str
    is_verified: bool
    note: str

    def values(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


@cache
def published_rows() -> tuple[PublishedRow, ...]:
    """Return all rows, in the order of the file."""
    text = files(__package__).joinpath("published.csv").read_text(encoding="utf-8")
    reader = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return tuple(
        PublishedRow(
            method=row["method"],
            year=row["year"],
            data_set=row["data_set"],
            split=row["split"],
            track=row["track"],
            protocol=row["protocol"],
            images=int(row["images"]) if row["images"] else None,
            psnr=float(row["psnr"]),
            ssim=float(row["ssim"]) if row["ssim"] else None,
            which_ssim=row["which_ssim"],
            source=row["source"],
            is_verified=row["verified"] == "yes",
            note=row["note"],
        )
        for row in reader
    )


def published_of(data: DataResult, protocol: str) -> tuple[Sequence[PublishedRow], str]:
    """Return the rows of the same data set, split, track and protocol, and why there are none if so.

    They are of whole data sets: of a part of one, or of another number of images, none are returned.
    """
    wanted = (data.layout, data.split, data.track, protocol)
    rows = [row for row in published_rows() if (row.data_set, row.split, row.track, row.protocol) == wanted]
    if not rows:
        return [], f"nothing is known to be published of {data.name}, scored like this"
    count = len(data.images)
    numbers = {row.images for row in rows} - {None}
    if count != data.total or (numbers and count not in numbers):
        whole = f"all {max(filter(None, numbers))}" if numbers else "all"
        return [], f"published numbers of {data.name} are of {whole} images, these of {count}: they are not shown"
    return rows, ""
