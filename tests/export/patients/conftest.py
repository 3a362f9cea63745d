"""Cohorts of simulated patients on disk, small enough to be read again and again."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from scarseg_export.cli import main

CASES = 6


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of ``scarseg-export twin``: patients, table.csv, classes.toml. Not to be changed."""
    folder = tmp_path_factory.mktemp("cohort") / "patients"
    size = ["--size", "112", "--spacing-mm", "2.0"]
    assert main(["twin", "--cases", str(CASES), "--out", str(folder), *size]) == 0
    return folder


@pytest.fixture
def copied(cohort: Path, tmp_path: Path) -> Path:
    """A copy of the cohort, to be spoiled."""
    shutil.copytree(cohort, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture
def rows_of() -> Callable[[Path], list[dict[str, str]]]:
    """Reads a table as its cells."""

    def read(table: Path) -> list[dict[str, str]]:
        with table.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    return read


@pytest.fixture
def write_rows() -> Callable[..., Path]:
    """Writes cells as a table, by default as CSV in UTF-8."""

    def write(
        table: Path, rows: list[dict[str, str]], encoding: str = "utf-8", separator: str = ","
    ) -> Path:
        names = list(dict.fromkeys(name for row in rows for name in row))
        with table.open("w", encoding=encoding, newline="") as file:
            writer = csv.DictWriter(file, names, restval="", delimiter=separator)
            writer.writeheader()
            writer.writerows(rows)
        return table

    return write
