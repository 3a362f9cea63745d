"""Place of the heart in the chest: axes in the patient frame (LPS) and electrode places."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_BASE_TO_APEX = np.array([0.65, -0.60, -0.45])
LONG_AXIS: Final[NDArray[np.float64]] = _BASE_TO_APEX / np.linalg.norm(_BASE_TO_APEX)
"""Base → apex: left, anterior and down. The runtime of the product assumes the same usual
axes when it turns a study to the standard display; a test compares them."""

_up = np.array([0.0, 0.0, 1.0]) - LONG_AXIS[2] * LONG_AXIS
ANTERIOR: Final[NDArray[np.float64]] = _up / np.linalg.norm(_up)
"""Towards the anterior wall: up in the standard short-axis display."""

LATERAL: Final[NDArray[np.float64]] = -np.cross(LONG_AXIS, ANTERIOR)
"""Towards the free lateral wall: right in the standard short-axis display."""

ELECTRODES_MM: Final = np.array(
    [
        (-180.0, 0.0, 160.0), (150.0, 0.0, 160.0), (60.0, 10.0, -350.0),
        (-96.5, -133.8, 40.5), (-13.1, -120.3, 13.5), (47.2, -110.6, 15.8),
        (104.5, -65.7, -10.7), (132.0, -14.5, -36.3), (155.5, 16.6, -44.5),
    ]
)  # fmt: skip
"""RA LA LL V1–V6 relative to the heart's centre: an adult chest, fitted with the constants of
:mod:`scarseg_export.twin.conduction`."""
