"""Size limit of a stack, asked before its pixels are decoded."""

from __future__ import annotations

from typing import Final

from scarseg_runtime.contract import MAX_STACK_PIXELS
from scarseg_runtime.errors import StudyError

MAX_SLICES: Final = 200
"""LGE has 5–13 slices, in 3-D up to some 150; time grows with each, even of a few pixels."""


def check_size(slices: int, rows: int, columns: int, to_do: str) -> None:
    """Raise StudyError, with what to do, where a stack has too many slices or pixels for LGE."""
    if slices > MAX_SLICES or slices * rows * columns > MAX_STACK_PIXELS:
        raise StudyError(
            f"the stack is too large for LGE ({slices} slices of {rows} × {columns})", to_do
        )
