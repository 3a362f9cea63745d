"""The apex of a stack from the labels found in it, where no geometry tells."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scarseg_runtime.contract import LEFT_VENTRICLE

TAPER = 1.1
"""The LV narrows towards the apex; an end this much wider than the other is the base."""


def apex_comes_first(labels: NDArray[np.uint8], taper: float = TAPER) -> bool:
    """Tell whether labels [S, H, W] run apex → base: the LV of the first third of the slices that
    show it is smaller than that of the last third, by a factor of more than ``taper``."""
    area = np.isin(labels, LEFT_VENTRICLE).sum(axis=(1, 2))
    shown = area[area > 0]
    if shown.size < 2:
        return False
    third = max(1, shown.size // 3)
    return bool(shown[-third:].mean() > taper * shown[:third].mean())
