"""Stored pixel values → real ones, and whether a float32 can still tell them apart.

A wrong slope or intercept must end in an error: it moves the scar without anybody seeing it.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from scarseg_runtime.errors import StudyError

MAX_MAGNITUDE: Final = 1e9
"""Of a pixel after rescale. MR has no unit: real images reach some millions (vendors' scale
factors); beyond it the slope or intercept is damage."""
MIN_CONTRAST: Final = 1e-6
"""Brightest minus darkest pixel of an image that has any; images scaled to 0–1 have 1. The
network takes contrast that is much smaller for none, and would find no heart."""
LEVELS: Final = 2**16
"""Rounding must leave this many steps between darkest and brightest (as 16 bits have), or as many
as are stored."""


def rescaled(stored: NDArray[Any], slope: float, intercept: float) -> NDArray[np.float32] | None:
    """``stored`` × slope + intercept; None where a value is not finite.

    Raises:
        StudyError: the values are implausible, or stored ones that differ fall together.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        as_stored = (slope, intercept) == (1, 0) and stored.dtype.kind == "f"
        if as_stored and stored.dtype.itemsize <= np.dtype(np.float32).itemsize:
            values = stored  # nothing is lost, and no copy needed
        else:
            values = stored.astype(np.float64) * slope
            values += intercept
        low, high = float(values.min()), float(values.max())
        if not (np.isfinite(low) and np.isfinite(high)):  # not a number passes through min
            return None
    contrast, largest = high - low, max(abs(low), abs(high))
    # What float64 has already rounded away cannot be seen in the values any more.
    flattened = contrast == 0 and stored.min() != stored.max()
    if largest > MAX_MAGNITUDE or flattened or 0 < contrast < MIN_CONTRAST:
        raise _implausible()
    found = values.astype(np.float32)
    if not (as_stored and np.array_equal(found, values)):
        step = abs(slope) if stored.dtype.kind in "iu" else 0.0
        finest = max(step, contrast / LEVELS)
        if contrast and float(np.spacing(np.float32(largest))) > finest:
            raise _implausible()
    return found


def _implausible() -> StudyError:
    return StudyError(
        "the pixel values after rescale are not those of an MR image (slope or intercept is wrong)",
        "Export the study again from its source, or check the slope and intercept in its header",
    )
