"""Tables that people keep: CSV as spreadsheets of any language write it."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from typing import Final

from scarseg_runtime.edited_text import decoded_text

SEPARATORS: Final = ",;\t|"
_NOTHING: Final = frozenset(("", "na", "n/a", "nan", "none", "null", "-"))
_UTF16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")
_SEPARATOR_LINE: Final = re.compile(r'"?sep=([,;\t|])"?\n', re.IGNORECASE)
"""First line by which Excel is told the separator."""


@dataclass(frozen=True, slots=True)
class CsvTable:
    """Cells of a table as text."""

    head: list[str]
    """As written, without columns at the end that are empty throughout."""
    rows: list[list[str]]
    """Without those in which every cell is empty."""
    decimal_comma: bool
    """Numbers may be written 3,5: the separator is a semicolon."""


def read_csv(data: bytes) -> CsvTable:
    """Read UTF-8, UTF-16 with its mark, or Windows-1252, separated by comma, semicolon, tab or bar.

    Raises ValueError that says what is wrong: no text, or no CSV. An empty table has no head.
    """
    text = _decoded(data)
    told = _SEPARATOR_LINE.match(text)
    text = text[told.end() :] if told else text
    first = text.split("\n", 1)[0]
    separator = told.group(1) if told else max(SEPARATORS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        lines = [line for line in reader if any(cell.strip() for cell in line)]
    except csv.Error as error:
        raise ValueError("is not CSV") from error
    if not lines:
        return CsvTable([], [], decimal_comma=False)
    used = max(len(_without_empty_end(line)) for line in lines)
    head = _without_empty_end(lines[0])
    if used <= len(head):  # else a row has more cells than the head
        lines = [line[: len(head)] if not any(line[len(head) :]) else line for line in lines]
    return CsvTable(head, lines[1:], decimal_comma=separator == ";")


def cell_text(text: str) -> str:
    """Content of a cell; empty where it only says that there is none, as ``NA`` does."""
    text = text.strip()
    return "" if text.casefold() in _NOTHING else text


def _without_empty_end(line: list[str]) -> list[str]:
    count = max((k for k, cell in enumerate(line, start=1) if cell.strip()), default=0)
    return line[:count]


def _decoded(data: bytes) -> str:
    if b"\0" in data and not data.startswith(_UTF16_MARKS):
        raise ValueError("is no text")
    try:
        return decoded_text(data)
    except ValueError:
        if data.startswith(_UTF16_MARKS):
            raise ValueError("is no text") from None
    # What Excel on Windows writes; five bytes are undefined in it, and Latin-1 defines them.
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    return text.replace("\r\n", "\n").replace("\r", "\n")
