"""Arrays that a host gives: plain numbers, or nothing that could be computed with."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_KINDS: Final = "uif"
"""Kinds of numpy types: no truth values, no complex numbers, no text, no objects."""


def is_plain(values: object, shape: tuple[int, ...] | None = None) -> bool:
    """True where it is an array of plain numbers, without a mask, of this shape."""
    return (
        isinstance(values, np.ndarray)
        and not isinstance(values, np.ma.MaskedArray)
        and values.dtype.kind in _KINDS
        and shape in (None, values.shape)
    )


def as_plain(given: object) -> NDArray[Any] | None:
    """The array that numpy makes of it, without a copy where it is one; None where it is not of
    plain numbers."""
    try:
        values: NDArray[Any] = np.asanyarray(given)
    except (TypeError, ValueError):  # ragged
        return None
    return values if is_plain(values) else None
