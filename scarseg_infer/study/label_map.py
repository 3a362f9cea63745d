"""Detection of label maps, which are results of a segmentation and no images."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from scarseg_runtime.errors import StudyError

MOST_PATCHES: Final = 128
"""Different whole numbers in a map of many parts: 17 AHA segments, or some 120 organs. More may be
an image of 8 bits."""
PATCHED: Final = 0.8
"""Share of neighbours within a row that are alike, where one is not the commonest value, from which
whole numbers are labels of areas. In images of 8 bits a few per cent are, in such whose columns
were doubled half of them."""
MOST_LABELS: Final = 16
"""Different values in a stack. Images have hundreds, those of 8 bits after any windowing too; maps
of a heart have two to ten. A stack of one value is blank, which is another matter."""
_SAMPLE: Final = 4096
MOST_OF_ONE_VALUE: Final = 0.8
"""Share of one value from which on an image is cut out along a mask, or a map. In 22 real stacks,
some with borders of zeros, it is 0.25 at most."""


def check_no_label_map(pixels: NDArray[Any]) -> None:
    """Raise StudyError where a stack [S, H, W] has so few different values that it is no image."""
    flat = pixels.reshape(-1)
    # Images show it in a few thousand voxels, so that only others are looked at as a whole.
    if len(np.unique(flat[:: max(1, flat.size // _SAMPLE)])) > MOST_PATCHES:
        return
    values = np.unique(flat)
    small = flat.size < _SAMPLE and not _are_numbers_of_labels(values)  # says too little
    few = 1 < len(values) <= MOST_LABELS < flat.size and not small
    if few or (len(values) > MOST_LABELS and _is_patched(pixels, values)):
        raise StudyError(
            f"the study has {len(values)} different pixel values in all: this looks like a map of "
            "labels, not like an LGE image",
            "Pass the image itself; the result of a segmentation is no input",
        )


def map_warnings(pixels: NDArray[Any]) -> tuple[str, ...]:
    """A warning where nearly all of a stack [S, H, W] is one value, and some is not."""
    flat = pixels.reshape(-1)
    flat = flat[:: max(1, flat.size // _SAMPLE)]
    share = float(np.unique(flat, return_counts=True)[1].max()) / flat.size
    if not MOST_OF_ONE_VALUE <= share < 1.0:
        return ()
    return (
        f"{100 * share:.0f} % of the pixels have one and the same value: this may be a map of "
        "probabilities or an image cut out along a mask, where what is found means nothing. Pass "
        "the image as the scanner made it.",
    )


def _is_patched(pixels: NDArray[Any], values: NDArray[Any]) -> bool:
    """Tell whether a stack shows areas of one number each."""
    if len(values) > MOST_PATCHES or not (values == np.floor(values)).all():
        return False
    numbers, counts = np.unique(pixels, return_counts=True)
    commonest = numbers[counts.argmax()]
    left, right = pixels[:, :, :-1], pixels[:, :, 1:]
    shown = (left != commonest) | (right != commonest)
    alike = shown & (left == right)
    return bool(alike.sum() >= PATCHED * max(int(shown.sum()), 1)) and bool(shown.any())


def _are_numbers_of_labels(values: NDArray[Any]) -> bool:
    whole = values == np.floor(values)
    return bool(whole.all() and values.min() >= 0 and values.max() <= MOST_LABELS)
