"""The table of patients: which study, mask and ECG belong together, and which rows to one group."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from scarseg_runtime.csv_table import cell_text, read_csv
from scarseg_runtime.errors import UsageError

COLUMNS: Final = (
    "id", "study", "mask", "ecg", "gap_days", "group", "split", "weight", "series",
)  # fmt: skip
SPLITS: Final = ("", "train", "validation", "test")
MAX_BYTES: Final = 64 << 20
_HELP: Final = "See scarseg-export data check --help for its columns"


@dataclass(frozen=True, slots=True)
class Row:
    """One patient of the table; paths are absolute."""

    number: int
    """From 1, the line below the head: what messages name it by."""
    id: str
    study: Path
    mask: Path | None
    ecg: Path | None
    gap_days: float | None
    group: str
    """Rows of one group never fall into different folds; by default a row is a group."""
    split: str
    weight: float
    series: str | None


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with a row, or worth a look."""

    row: int
    """0: with the table as a whole."""
    text: str
    """One sentence without a full stop, without any name from the files."""
    advice: str = ""
    fatal: bool = True
    """False: a warning, the row can be used."""

    def line(self) -> str:
        """As it is printed."""
        where = f"row {self.row}" if self.row else "table"
        what = "error" if self.fatal else "warning"
        return f"{where}: {what}: {self.text}." + (f" {self.advice}." if self.advice else "")


def read_table(path: Path) -> tuple[list[Row], list[Problem]]:
    """Read a table of patients.

    CSV in UTF-8, UTF-16 with its mark, or Windows-1252, separated by comma, semicolon, tab or bar;
    or Parquet. With semicolons a decimal comma is read as one. Relative paths are taken from the
    table's folder.

    Returns: all rows that make sense, and what is wrong with the others.

    Raises:
        UsageError: it cannot be read, lacks a column or has an unknown one, or lists nobody.
    """
    is_parquet = path.suffix.lower() in (".parquet", ".pq")
    names, cells, comma = _parquet(path) if is_parquet else _csv(path)
    names = _columns(names)
    rows, problems = [], []
    for number, values in enumerate(cells, start=1):
        if len(values) != len(names):
            problems.append(
                Problem(number, f"it has {len(values)} cells, the head has {len(names)}",
                        "Quote cells that hold the separator")
            )  # fmt: skip
            continue
        try:
            named = dict(zip(names, values, strict=True))
            rows.append(_row(number, named, path.parent.resolve(), comma))
        except ValueError as error:
            problems.append(Problem(number, str(error), _HELP))
    if not rows and not problems:
        raise UsageError("the table lists no patients", _HELP)
    problems += _repeated(rows)
    return rows, problems


def write_table(path: Path, rows: Iterable[Mapping[str, object]], columns: Iterable[str]) -> None:
    """Write a table as CSV in UTF-8. Raises OSError."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageError("the table is larger than 64 MB", "Pass a table of patients")
        return path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"the table cannot be read ({error.strerror})", "Check its path"
        ) from error


def _csv(path: Path) -> tuple[list[str], list[list[str]], bool]:
    content = _bytes(path)
    try:
        found = read_csv(content)
    except ValueError as error:
        raise UsageError(f"the table {error}", "Save it as CSV, or as Parquet") from error
    if not found.head:
        raise UsageError("the table is empty", _HELP)
    return found.head, found.rows, found.decimal_comma


def _parquet(path: Path) -> tuple[list[str], list[list[str]], bool]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(pyarrow.BufferReader(_bytes(path)))
    except pyarrow.ArrowException as error:
        raise UsageError("the table is not Parquet, or damaged", "Write it again") from error
    columns = [[_cell(value) for value in column.to_pylist()] for column in table.columns]
    return list(table.column_names), [list(row) for row in zip(*columns, strict=True)], False


def _cell(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # a column of numbers with gaps becomes one of floats
    return "" if value is None else str(value)


def _columns(names: list[str]) -> list[str]:
    found = [name.strip().casefold() for name in names]
    for needed in ("study", "mask"):
        if needed not in found:
            raise UsageError(f"the table has no column {needed}", _HELP)
    # By number: where the head is missing, its cells are a patient's.
    other = [number for number, name in enumerate(found, start=1) if name not in COLUMNS]
    if other:
        numbers = ", ".join(map(str, other[:10])) + (" …" if len(other) > 10 else "")
        raise UsageError(
            f"the table has columns of other names (by number: {numbers})",
            f"Take them out, or name them as they are meant: {', '.join(COLUMNS)}",
        )
    for name in found:
        if found.count(name) > 1:
            raise UsageError(f"the table has two columns {name}", _HELP)
    return found


def _row(number: int, cells: Mapping[str, str], folder: Path, comma: bool) -> Row:
    """Raises ValueError with what is wrong."""
    cell = {name: cell_text(text) for name, text in cells.items()}
    if any("\0" in text for text in cell.values()):
        raise ValueError("it holds a NUL character")
    if not cell["study"]:
        raise ValueError("it names no study")
    split = cell.get("split", "").casefold()
    if split not in SPLITS:
        raise ValueError("split is none of train, validation, test")
    weight = _number(cell.get("weight", ""), "weight", comma)
    if weight is not None and not 0.0 < weight <= 1000.0:
        raise ValueError("weight does not lie above 0 and up to 1000")
    id_ = cell.get("id") or f"{number:03}"

    def path(name: str) -> Path | None:
        text = cell.get(name, "").strip('"')  # as Windows copies paths
        return folder / Path(text.replace("\\", "/")) if text else None

    study = path("study")
    assert study is not None
    return Row(
        number, id_, study, path("mask"), path("ecg"),
        _number(cell.get("gap_days", ""), "gap_days", comma),
        cell.get("group") or f"row {number}", split,
        1.0 if weight is None else weight, cell.get("series") or None,
    )  # fmt: skip


def _number(text: str, name: str, comma: bool) -> float | None:
    if not text:
        return None
    try:
        value = float(text.replace(",", ".") if comma else text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{name} is not a number")
    return value


def _repeated(rows: list[Row]) -> list[Problem]:
    """Ids that stand twice, and files that two rows name."""
    found = []
    for what, key in (
        ("id", lambda row: row.id.casefold()),
        ("mask", lambda row: row.mask),
        ("ECG", lambda row: row.ecg),
    ):
        seen: dict[Any, Row] = {}
        for row in rows:
            value = key(row)
            if value is None:
                continue
            first = seen.setdefault(value, row)
            if first is not row:
                text = f"it has the same {what} as row {first.number}"
                found.append(Problem(row.number, text, "Give each patient its own"))
    return found
