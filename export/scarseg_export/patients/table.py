"""The table of patients: which study, mask and ECG belong together, and which rows to one group."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from scarseg_runtime.errors import UsageError

COLUMNS: Final = (
    "id", "study", "mask", "ecg", "gap_days", "group", "split", "weight", "series",
)  # fmt: skip
SPLITS: Final = ("", "train", "validation", "test")
SEPARATORS: Final = ",;\t|"
MAX_BYTES: Final = 64 << 20
_HELP: Final = "See scarseg-export data check --help for its columns"
_SEPARATOR_LINE: Final = re.compile(r'\A"?sep=.?"?(?:\r\n?|\n)', re.IGNORECASE)
"""Which some programs put above the head, for Excel."""
_NOTHING: Final = frozenset(("", "na", "n/a", "nan", "none", "null", "-"))


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
    text = _SEPARATOR_LINE.sub("", _decoded(_bytes(path)))
    head = text.split("\n", 1)[0]
    separator = max(SEPARATORS, key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        lines = [line for line in reader if any(cell.strip() for cell in line)]
    except csv.Error as error:
        raise UsageError("the table is not CSV", "Save it as CSV, or as Parquet") from error
    if not lines:
        raise UsageError("the table is empty", _HELP)
    return lines[0], lines[1:], separator == ";"


def _decoded(data: bytes) -> str:
    if b"\0" in data and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UsageError("the table is no text", "Save it as CSV, or as Parquet")
    for encoding in ("utf-16",) if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig",):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            break
    # What Excel on Windows writes; five bytes are undefined in it, and Latin-1 defines them.
    try:
        return data.decode("cp1252")
    except UnicodeDecodeError:
        return data.decode("latin-1")


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
    for name in found:
        if name not in COLUMNS:
            known = ", ".join(COLUMNS)
            raise UsageError("the table has a column of another name", f"Known: {known}")
        if found.count(name) > 1:
            raise UsageError(f"the table has two columns {name}", _HELP)
    return found


def _row(number: int, cells: Mapping[str, str], folder: Path, comma: bool) -> Row:
    """Raises ValueError with what is wrong."""
    cell = {name: _value(text) for name, text in cells.items()}
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
        text = cell.get(name, "")
        return folder / Path(text.replace("\\", "/")) if text else None

    study = path("study")
    assert study is not None
    return Row(
        number, id_, study, path("mask"), path("ecg"),
        _number(cell.get("gap_days", ""), "gap_days", comma),
        cell.get("group") or f"row {number}", split,
        1.0 if weight is None else weight, cell.get("series") or None,
    )  # fmt: skip


def _value(text: str) -> str:
    text = text.strip()
    return "" if text.casefold() in _NOTHING else text


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
