"""Slices whose signal does not fit the others of their stack: filled with nothing, scaled otherwise
or inverted. The network looks at all slices in one scale, so that scar is missed in such a one."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from scarseg_infer.study.geometry.orientation import counted_from
from scarseg_infer.study.geometry.slice_plane import slices_named
from scarseg_infer.study.stack import LgeStack

MOST_RATIO: Final = 3.0
"""Ranges of signal (2 to 98 %) may differ by this factor between slices. In 22 real stacks the
ratio to the usual one lies between 0.44 and 1.8 (a design choice beyond that)."""
MOST_SHIFT: Final = 0.4
"""The middle of a slice's signal may differ from the usual one by this share of the usual range.
In the same stacks it differs by 0.12 at most; an inverted slice by more."""
_STEP: Final = 2
"""Every other row and column tell enough."""


def signal_warnings(stack: LgeStack) -> tuple[str, ...]:
    """Warnings that name such slices."""
    pixels = stack.pixels[:, ::_STEP, ::_STEP].reshape(len(stack.pixels), -1).astype(np.float64)
    low, middle, high = np.percentile(pixels, (2.0, 50.0, 98.0), axis=1)
    blank = stack.pixels.min((1, 2)) == stack.pixels.max((1, 2))
    shown = ~blank
    if shown.sum() < 2:
        return ()  # that no ventricle is found says more
    # Of slices that are there: half of a stack on another scale would move the mean of two.
    usual, usual_middle = (
        float(np.percentile(values[shown], 50.0, method="higher"))
        for values in (high - low, middle)
    )
    ratio = (high - low) / usual if usual > 0 else np.ones(len(blank))
    shift = np.abs(middle - usual_middle) / usual if usual > 0 else np.zeros(len(blank))
    other = shown & ((ratio > MOST_RATIO) | (ratio < 1.0 / MOST_RATIO) | (shift > MOST_SHIFT))
    counted = counted_from(stack.normal) if stack.orientation_known else "in the file's order"
    found = []
    if blank.any():
        found.append(
            f"{_named(blank, counted)} of one value throughout: nothing can be found there, and "
            "volumes lack what lies there."
        )
    if other.any() and shown.sum() > 2:  # of two nobody knows which one is right
        found.append(
            f"{_named(other, counted)} of another scale or brightness than the others: scar may "
            "be missed or invented there; check RescaleSlope, PhotometricInterpretation and the "
            "export."
        )
    return tuple(found)


def _named(which: NDArray[np.bool_], counted: str) -> str:
    numbers = (np.flatnonzero(which) + 1).tolist()
    return f"{slices_named(numbers)} ({counted}) {'is' if len(numbers) == 1 else 'are'}"
