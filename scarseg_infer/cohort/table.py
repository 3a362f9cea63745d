"""The table of a cohort: which study goes with which ECG."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scarseg_runtime.errors import UsageError

COLUMNS: Final = ("id", "study", "ecg", "gap_days", "series")
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
    """Read a table: CSV in UTF-8 with a head of column names; tabs in a ``.tsv``.

    ``study`` is required. ``id`` names the folder of the results, by default the number of the
    row; ``ecg``, ``gap_days`` and ``series`` are as for ``scarseg-infer``. Relative paths are
    taken from the folder of the table. Whether files exist is found out when they are read.

    Raises:
        UsageError: the table cannot be read, has other columns, or a cell makes no sense.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
            reader = csv.DictReader(file, delimiter=delimiter, strict=True)
            reader.fieldnames = _columns(reader.fieldnames or ())
            rows = list(_rows(reader, path.parent.resolve()))
    except OSError as error:
        raise UsageError(
            f"the table cannot be read ({error.strerror})", "Check its path"
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError("the table is not UTF-8 text", "Save it as CSV in UTF-8") from error
    except csv.Error as error:
        raise UsageError("the table is not CSV", "Save it as CSV in UTF-8") from error
    if not rows:
        raise UsageError("the table lists no studies", _HELP)
    seen: set[str] = set()
    for number, row in enumerate(rows, start=1):
        if row.id.casefold() in seen:  # file systems may not tell upper from lower case
            raise UsageError(f"row {number} of the table repeats an id", "Give each row its own")
        seen.add(row.id.casefold())
    return rows


def _columns(names: Sequence[str]) -> list[str]:
    """Names of the columns; spaces and case do not count."""
    found = [name.strip().casefold() for name in names]
    if "study" not in found:  # maybe no head at all, so its cells are not quoted
        separated = any(";" in name for name in found)
        raise UsageError(
            "the table has no column study",
            "Separate its columns by commas, not semicolons" if separated else _HELP,
        )
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


def _rows(cells: csv.DictReader[str], folder: Path) -> Iterator[Row]:
    for number, found in enumerate(cells, start=1):
        if None in found or None in found.values():
            raise UsageError(f"row {number} of the table has too many or too few cells", _HELP)
        cell = {name: (text or "").strip() for name, text in found.items()}
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
            study=str(folder / cell["study"]),
            ecg=str(folder / cell["ecg"]) if cell.get("ecg") else None,
            gap_days=_days(cell.get("gap_days", ""), number),
            series=cell.get("series") or None,
        )


def _days(text: str, number: int) -> float | None:
    try:
        days = float(text) if text else None
    except ValueError:
        days = math.nan
    if days is not None and not math.isfinite(days):
        raise UsageError(f"gap_days in row {number} of the table is not a number", _HELP)
    return days
