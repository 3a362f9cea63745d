"""The model that the product ships with, by a word in place of its file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scarseg_export.patients.reader import PatientReader

SHIPPED = Path("shipped")


@contextmanager
def model_files(named: Sequence[Path], reader: PatientReader) -> Iterator[list[Path]]:
    """Model files as named on the command line, with the product's own for :data:`SHIPPED`."""
    if SHIPPED not in named:
        yield list(named)
        return
    with reader.reference_model() as shipped:
        yield [shipped if path == SHIPPED else path for path in named]
