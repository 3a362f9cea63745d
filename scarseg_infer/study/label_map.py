"""Whether what was given as an image is a map of labels: the result of a segmentation."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from scarseg_runtime.errors import StudyError

MOST_LABELS: Final = 16
"""Different values in a stack. Images have hundreds, those of 8 bits after any windowing too; maps
of a heart have two to ten. A stack of one value is blank, which is another matter."""
_SAMPLE: Final = 4096


def check_no_label_map(pixels: NDArray[Any]) -> None:
    """Raise StudyError where a stack [S, H, W] has so few different values that it is no image."""
    flat = pixels.reshape(-1)
    # Images show it in a few thousand voxels, so that only others are looked at as a whole.
    if len(np.unique(flat[:: max(1, flat.size // _SAMPLE)])) > MOST_LABELS:
        return
    values = np.unique(flat)
    small = flat.size < _SAMPLE and not _are_numbers_of_labels(values)  # says too little
    if 1 < len(values) <= MOST_LABELS < flat.size and not small:
        raise StudyError(
            f"the study has {len(values)} different pixel values in all: this looks like a map of "
            "labels, not like an LGE image",
            "Pass the image itself; the result of a segmentation is no input",
        )


def _are_numbers_of_labels(values: NDArray[Any]) -> bool:
    whole = values == np.floor(values)
    return bool(whole.all() and values.min() >= 0 and values.max() <= MOST_LABELS)
