"""Length of a ventricle by its width, as a short axis shows it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scarseg_runtime.contract import LEFT_VENTRICLE

ENOUGH_PIXELS = 30
"""Of a slice; fewer have any shape."""


def elongation(labels: NDArray[np.uint8], spacing_mm: tuple[float, float]) -> float:
    """Median over slices of the ratio of the axes of the ventricle with its cavity, from 1; 1 where
    there is none.

    Args:
        labels: [S, H, W].
        spacing_mm: between rows and between columns.
    """
    found = []
    for plane in np.isin(labels, LEFT_VENTRICLE):
        places = np.argwhere(plane) * spacing_mm
        if len(places) < ENOUGH_PIXELS:
            continue
        short, long = np.linalg.eigvalsh(np.cov(places.T))
        if short > 0.0:
            found.append(float(np.sqrt(long / short)))
    return float(np.median(found)) if found else 1.0
