"""The table in the documentation, written by the run itself."""

import platform
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

from blursynth.files import printable
from faults.runner import Result, Trial

__all__ = ["counts", "table_of", "write_table"]

_BEGIN, _END = "<!-- written by python -m faults -->\n", "<!-- end of what was written -->\n"
_WIDTH = 110


def counts(results: Sequence[Result], trials: Sequence[Trial]) -> dict[str, int]:
    """Return how many faults were tried, how many came out as promised or are known not to, and bytes lost."""
    known = sum(bool(result.faults and result.case.unmended) for result in results)
    survived = sum(not result.faults for result in results) + sum(trial.survived for trial in trials)
    return {
        "cases tried": len(results) + sum(trial.tried for trial in trials),
        "survived": survived,
        "known and not mended yet": known,
        "bytes lost": sum(result.bytes_lost for result in results) + sum(trial.bytes_lost for trial in trials),
    }


def table_of(results: Sequence[Result], trials: Sequence[Trial], how: str = "") -> str:
    """Return Markdown: the counts, the faults injected while it works, and the bad inputs with what is said.

    ``how`` says what ran.
    """
    numbers = counts(results, trials)
    parts = [", ".join(f"{name} {number}" for name, number in numbers.items()) + f" ({platform.system()}).\n"]
    parts += [f"\n{how}\n"] if how else []
    rows = [f"| {_cell(t.fault)} | {_cell(t.promise)} | {t.tried} | {t.survived} | {_remark(t)} |" for t in trials]
    parts += ["\n| fault | what must come out | tried | survived | |\n|---|---|---|---|---|\n", *_lines(rows)]
    for family, found in groupby(results, key=lambda result: result.case.family):
        parts += [f"\n### Bad input: {family}\n\n| what | code | what it says |\n|---|---|---|\n"]
        parts += _lines(_row(result) for result in found)
    return "".join(parts)


def _remark(trial: Trial) -> str:
    """Say what came out otherwise, or what was measured."""
    return _cell("; ".join([*([trial.remark] if trial.remark else []), *trial.faults[:1]]))


def _lines(rows: Iterable[str]) -> list[str]:
    return [f"{row}\n" for row in rows]


def _row(result: Result) -> str:
    said = result.outcome.stderr.strip().splitlines()
    last = said[-1].removeprefix("error: ") if said else ""
    unmended = f" (not mended yet: {result.case.unmended})" if result.faults else ""
    return f"| {_cell(result.case.fault)} | {result.outcome.code} | {_cell(last)}{_cell(unmended)} |"


def _cell(text: str) -> str:
    text = printable(text)
    text = text if len(text) <= _WIDTH else f"{text[: _WIDTH - 30]} … {text[-27:]}"
    for letter, replacement in {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;", "*": "\\*", "_": "\\_"}.items():
        text = text.replace(letter, replacement)
    return text


def write_table(path: Path, table: str) -> None:
    """Put a table between the two marks of a file."""
    text = path.read_text(encoding="utf-8")
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    path.write_text(f"{before}{_BEGIN}\n{table}\n{_END}{after}", encoding="utf-8")
