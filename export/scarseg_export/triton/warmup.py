"""The study that a server runs before it says that it is ready: a simulated patient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scarseg_export.twin.cohort import beats_of, sample_case
from scarseg_runtime.preprocess import slice_levels

FOLDER: Final = "warmup"
"""Folder in which Triton looks for the files that the configuration names."""
NAME: Final = "simulated study"
Sizes = Mapping[str, int]
"""Of the dynamic axes S, H and W."""
_SEED, _ROWS, _SLICES = 7, 192, 9
_SPACING_MM, _WANDER_MM, _GAP_DAYS = 1.4, 20.0, 3.0


def warmup_inputs() -> tuple[dict[str, NDArray[np.float32]], Sizes]:
    """Inputs of the graph by their names in the contract, and the sizes of their axes."""
    case = sample_case(_SEED)
    pixels = case.image(_ROWS, _SPACING_MM, _WANDER_MM, _SLICES).pixels
    values = {
        "lge": pixels,
        "pixel_spacing": np.full(2, _SPACING_MM),
        "slice_level": slice_levels(np.arange(len(pixels))),
        "ecg": beats_of([case], np.array([False]))[0],
        "gap_days": np.array([_GAP_DAYS]),
        "ecg_valid": np.ones(1),
    }
    arrays = {name: np.ascontiguousarray(value, np.float32) for name, value in values.items()}
    return arrays, dict(zip("SHW", arrays["lge"].shape, strict=True))
