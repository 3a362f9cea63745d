"""Turning a stack to the standard short-axis display, and results back to the source grid.

Standard display: slices base → apex, anterior wall up, RV on image left (AHA / SCMR).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scarseg_infer.stack import LgeStack

# Usual axes of the heart in the patient frame (LPS). The long axis points left, anterior and
# down; within the short-axis plane, "up" is the most superior direction and "right" points to
# the free lateral wall. Individual hearts lie within about 30° of this, far from the 45° at
# which the nearest of the eight in-plane orientations would change (design choice).
BASE_TO_APEX = np.array([0.65, -0.60, -0.45]) / np.linalg.norm([0.65, -0.60, -0.45])
_SUPERIOR = np.array([0.0, 0.0, 1.0])
ANTERIOR_WALL = _SUPERIOR - (_SUPERIOR @ BASE_TO_APEX) * BASE_TO_APEX
ANTERIOR_WALL /= np.linalg.norm(ANTERIOR_WALL)
LATERAL_WALL = -np.cross(BASE_TO_APEX, ANTERIOR_WALL)


@dataclass(frozen=True, slots=True)
class DisplayTransform:
    """A lossless reordering of voxels between source grid and standard display."""

    reverse_slices: bool
    transpose: bool
    """Applied first: swap rows and columns of the source."""
    flip_rows: bool
    flip_columns: bool

    def to_display(self, volume: NDArray) -> NDArray:
        """Source [S, H, W] → display [S, H', W'], contiguous."""
        if self.reverse_slices:
            volume = volume[::-1]
        if self.transpose:
            volume = volume.swapaxes(1, 2)
        if self.flip_rows:
            volume = volume[:, ::-1]
        if self.flip_columns:
            volume = volume[:, :, ::-1]
        return np.ascontiguousarray(volume)

    def to_source(self, volume: NDArray) -> NDArray:
        """Display [S, H', W'] → source [S, H, W], contiguous: the inverse of to_display."""
        if self.flip_columns:
            volume = volume[:, :, ::-1]
        if self.flip_rows:
            volume = volume[:, ::-1]
        if self.transpose:
            volume = volume.swapaxes(1, 2)
        if self.reverse_slices:
            volume = volume[::-1]
        return np.ascontiguousarray(volume)

    def display_spacing(self, pixel_spacing_mm: tuple[float, float]) -> tuple[float, float]:
        """Pixel spacing (between rows, between columns) of the display grid, mm."""
        row, column = pixel_spacing_mm
        return (column, row) if self.transpose else (row, column)
