"""A table and its TOML, found, read, and refused as a whole where rows make no sense."""

from __future__ import annotations

from pathlib import Path

from scarseg_export.patients.classes import FILE_NAME, Classes, read_classes
from scarseg_export.patients.table import Problem, Row, read_table


def open_table(path: Path, classes: Path | None = None) -> tuple[list[Row], list[Problem], Classes]:
    """Rows, problems of other rows, and classes.

    Args:
        classes: the TOML; by default ``classes.toml`` beside the table.

    Raises:
        UsageError: table or TOML cannot be read.
    """
    rows, problems = read_table(path)
    return rows, problems, read_classes(classes or path.parent / FILE_NAME)
