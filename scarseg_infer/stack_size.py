"""How large a stack may be, asked before its pixels are decoded."""

from __future__ import annotations

from typing import Final

from scarseg_runtime.errors import StudyError

MAX_SLICES: Final = 200
"""LGE has 5–13 slices, in 3-D up to some 150; time grows with each, even of a few pixels."""

MAX_PIXELS: Final = 2**26
"""A quarter of a gigabyte as we hold them, and several times that while they are worked on; 3-D LGE
of 150 slices of 512 x 512 has half of it. The model itself takes twice as many."""


def check_size(slices: int, rows: int, columns: int, to_do: str) -> None:
    """Raise StudyError, with what to do, where a stack has too many slices or pixels for LGE."""
    if slices > MAX_SLICES or slices * rows * columns > MAX_PIXELS:
        raise StudyError(
            f"the stack is too large for LGE ({slices} slices of {rows} × {columns})", to_do
        )
