"""The table of a cohort: which study goes with which ECG."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scarseg_runtime.csv_table import CsvTable, cell_text, read_csv
from scarseg_runtime.errors import UsageError

OPTIONAL: Final = ("ecg", "gap_days", "series")
COLUMNS: Final = ("id", "study", *OPTIONAL)
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_RESERVED: Final = re.compile(
    r"(results\.parquet|failures\.csv|cohort\.jsonl)"  # what OUT holds itself
    r"|(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?"  # devices of Windows, in any folder
)
_HELP: Final = "See scarseg-cohort --help for its columns"


@dataclass(frozen=True, slots=True)
class Row:
    """One study of the cohort; paths are absolute."""

    id: str
    """Name of its folder below OUT."""
    study: str
    ecg: str | None = None
    gap_days: float | None = None
    series: str | None = None


def read_table(path: Path) -> list[Row]:
    """Read a table: CSV with a head of column names.

    UTF-8, UTF-16 with its mark, or Windows-1252; separated by comma, semicolon, tab or bar. With
    semicolons a decimal comma is read as one. Lines without any content do not count.

    ``study`` is required. ``id`` names the folder of the results, by default the number of the
    row; ``ecg``, ``gap_days`` and ``series`` are as for ``scarseg-infer``. Relative paths are
    taken from the folder of the table. Whether files exist is found out when they are read.

    Raises:
        UsageError: the table cannot be read, has other columns, or a cell makes no sense.
    """
    try:
        table = read_csv(path.read_bytes())
    except OSError as error:
        raise UsageError(
            f"the table cannot be read ({error.strerror})", "Check its path"
        ) from error
    except ValueError as error:
        raise UsageError(f"the table {error}", "Save it as CSV in UTF-8") from error
    rows = list(_rows(_columns(table.head), table, path.parent.resolve()))
    if not rows:
        raise UsageError("the table lists no studies", _HELP)
    seen: set[str] = set()
    for number, row in enumerate(rows, start=1):
        if row.id.casefold() in seen:  # file systems may not tell upper from lower case
            raise UsageError(f"row {number} of the table repeats an id", "Give each row its own")
        seen.add(row.id.casefold())
    return rows


def repeated_studies(rows: Sequence[Row]) -> Iterator[str]:
    """Warnings of rows that read the same series of the same study, and so count it twice."""
    seen: dict[tuple[str, str | None], int] = {}
    for number, row in enumerate(rows, start=1):
        first = seen.setdefault((os.path.normcase(row.study), row.series), number)
        if first != number:
            yield f"row {number} of the table names the same study as row {first}: it counts twice."


def _columns(names: Sequence[str]) -> list[str]:
    """Names of the columns; spaces and case do not count."""
    found = [name.strip().casefold() for name in names]
    if "study" not in found:  # maybe no head at all, so its cells are not quoted
        raise UsageError("the table has no column study", _HELP)
    for name in found:
        if name not in COLUMNS:
            raise UsageError(f"the table has an unknown column {name!r}", _HELP)
        if found.count(name) > 1:
            raise UsageError(f"the table has two columns {name}", _HELP)
    return found


def _check_id(name: str, number: int) -> None:
    if not _ID.fullmatch(name) or name.endswith("."):
        raise UsageError(
            f"the id in row {number} of the table cannot name a folder",
            "Use letters, digits, dots, hyphens and underscores, at most 100",
        )
    if _RESERVED.fullmatch(name.casefold()):
        raise UsageError(
            f"the id in row {number} of the table is a name that is taken",
            "Choose another: OUT holds a file of that name, or Windows a device",
        )


def _rows(columns: list[str], table: CsvTable, folder: Path) -> Iterator[Row]:
    for number, found in enumerate(table.rows, start=1):
        if len(found) != len(columns):
            raise UsageError(f"row {number} of the table has too many or too few cells", _HELP)
        cell = {name: text.strip() for name, text in zip(columns, found, strict=True)}
        # A study or id may well be called "na".
        cell |= {name: cell_text(cell[name]) for name in OPTIONAL if name in cell}
        name = cell.get("id") or f"{number:05}"
        _check_id(name, number)
        if any("\0" in text for text in cell.values()):
            raise UsageError(
                f"row {number} of the table has a NUL character", "Save it again as CSV"
            )
        if not cell["study"]:
            raise UsageError(f"row {number} of the table names no study", _HELP)
        yield Row(
            id=name,
            study=_path(folder, cell["study"]),
            ecg=_path(folder, cell["ecg"]) if cell.get("ecg") else None,
            gap_days=_days(cell.get("gap_days", ""), number, comma=table.decimal_comma),
            series=cell.get("series") or None,
        )


def _path(folder: Path, text: str) -> str:
    """Path in a cell. One written on Windows is read on other systems, too."""
    path = folder / text
    if "\\" in text and not os.path.lexists(path):
        path = folder / text.replace("\\", "/")
    return str(path)


def _days(text: str, number: int, *, comma: bool) -> float | None:
    try:
        days = float(text.replace(",", ".") if comma else text) if text else None
    except ValueError:
        days = math.nan
    if days is not None and not math.isfinite(days):
        raise UsageError(
            f"gap_days in row {number} of the table is not a number",
            "Write days between ECG and MRI, as 12 or 3.5, not a date",
        )
    return days
