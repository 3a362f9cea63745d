"""Slices whose signal does not fit the others of their stack: filled with nothing, scaled
otherwise, inverted, or the picture of another slice. The network looks at all slices in one scale,
so that scar is missed in such a one."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from scarseg_infer.study.geometry.orientation import counted_from
from scarseg_infer.study.geometry.slice_plane import slices_named, usual_step_mm
from scarseg_infer.study.stack import LgeStack

MOST_RATIO: Final = 3.0
"""Ranges of signal (2 to 98 %) may differ by this factor between slices. In 22 real stacks the
ratio to the usual one lies between 0.44 and 1.8 (a design choice beyond that)."""
MOST_SHIFT: Final = 0.4
"""The middle of a slice's signal may differ from the usual one by this share of the usual range.
In the same stacks it differs by 0.12 at most; an inverted slice by more."""
SMOOTHER: Final = 0.25
"""Bends of the signal from slice to slice against those from pixel to pixel, for pixels of equal
sides. In the same stacks they are 3.9 times as strong at least, with slices that are seven times as
far apart as pixels; in slices that a program put in between a tenth."""
MOST_STEP: Final = 2.4
"""Slices farther apart than this many pixels are looked at as if they were so far apart: noise has
equal bends in all directions."""
_STEP: Final = 2
"""Every other row and column tell enough."""


def signal_warnings(stack: LgeStack) -> tuple[str, ...]:
    """Warnings that name such slices, and one where slices were not taken but put in between."""
    return (*_unlike(stack), *_repeated(stack), *_put_in(stack))


def _unlike(stack: LgeStack) -> list[str]:
    pixels = stack.pixels[:, ::_STEP, ::_STEP].reshape(len(stack.pixels), -1).astype(np.float64)
    low, middle, high = np.percentile(pixels, (2.0, 50.0, 98.0), axis=1)
    blank = stack.pixels.min((1, 2)) == stack.pixels.max((1, 2))
    shown = ~blank
    if shown.sum() < 2:
        return []  # that no ventricle is found says more
    # Of slices that are there: half of a stack on another scale would move the mean of two.
    usual, usual_middle = (
        float(np.percentile(values[shown], 50.0, method="higher"))
        for values in (high - low, middle)
    )
    ratio = (high - low) / usual if usual > 0 else np.ones(len(blank))
    shift = np.abs(middle - usual_middle) / usual if usual > 0 else np.zeros(len(blank))
    other = shown & ((ratio > MOST_RATIO) | (ratio < 1.0 / MOST_RATIO) | (shift > MOST_SHIFT))
    counted = _counted(stack)
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
    return found


def _repeated(stack: LgeStack) -> list[str]:
    """A warning about slices whose pixels are all those of another one."""
    first: dict[bytes, int] = {}
    again = np.zeros(len(stack.pixels), np.bool_)
    for index, image in enumerate(stack.pixels):
        if image.min() < image.max():
            again[index] = first.setdefault(image.tobytes(), index) != index
    if not again.any():
        return []
    return [
        f"{_named(again, _counted(stack))} the picture of another slice once more: volumes count "
        "what it shows twice. Pass the slices as the scanner made them."
    ]


def _put_in(stack: LgeStack) -> list[str]:
    """A warning where slices follow from those beside them, as in a volume that was resampled."""
    if len(stack.pixels) < 3:
        return []
    rows, columns = (size // 4 for size in stack.pixels.shape[1:])
    pixels = stack.pixels[:, rows : 3 * rows + 3, columns : 3 * columns + 3]  # without borders
    bends = [
        float(np.abs(np.diff(pixels, 2, axis=k)).mean()) for k in range(3) if pixels.shape[k] > 2
    ]
    step = usual_step_mm(stack.slice_positions_mm) / min(stack.pixel_spacing_mm)
    least = SMOOTHER * min(max(step, 1.0), MOST_STEP)
    if len(bends) < 3 or bends[0] == 0.0 or bends[0] >= least * min(bends[1:]):
        return []
    return [
        "The slices change so little from one to the next that a program seems to have put some in "
        "between (a resampled volume): scar and volumes may be too large. Pass the slices as the "
        "scanner made them."
    ]


def _counted(stack: LgeStack) -> str:
    return counted_from(stack.normal) if stack.orientation_known else "in the file's order"


def _named(which: NDArray[np.bool_], counted: str) -> str:
    numbers = (np.flatnonzero(which) + 1).tolist()
    return f"{slices_named(numbers)} ({counted}) {'is' if len(numbers) == 1 else 'are'}"
