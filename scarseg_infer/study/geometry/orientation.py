"""Turning a stack to the standard short-axis display, and results back to the source grid.

Standard display: slices base → apex, anterior wall up, RV on image left (AHA / SCMR).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from scarseg_infer.study.stack import LgeStack

# Usual axes of the heart in the patient frame (LPS). The long axis points left, anterior and
# down; within the short-axis plane, "up" is the most superior direction and "right" points to
# the free lateral wall. Individual hearts lie within about 30° of this, far from the 45° at
# which the nearest of the eight in-plane orientations would change (design choice).
BASE_TO_APEX = np.array([0.65, -0.60, -0.45]) / np.linalg.norm([0.65, -0.60, -0.45])
_SUPERIOR = np.array([0.0, 0.0, 1.0])
ANTERIOR_WALL = _SUPERIOR - (_SUPERIOR @ BASE_TO_APEX) * BASE_TO_APEX
ANTERIOR_WALL /= np.linalg.norm(ANTERIOR_WALL)
LATERAL_WALL = -np.cross(BASE_TO_APEX, ANTERIOR_WALL)

SHORT_AXIS_TRUST_DEG: Final = 45.0
"""Up to this tilt against ``BASE_TO_APEX`` geometry decides base and anterior wall unasked.
Every plane along a body axis lies beyond it (sagittal 49°, coronal 53°, transversal 63°)."""
SHORT_AXIS_LIMIT_DEG: Final = 60.0
"""Beyond this no heart's short axis lies: individual axes differ by some 30°, and the long-axis
views are 90° away (design choice)."""


@dataclass(frozen=True, slots=True)
class DisplayTransform:
    """A lossless reordering of voxels between source grid and standard display, and what pictures
    have to be turned by beyond it.

    Attributes:
        reverse_slices: the source goes from apex to base.
        transpose: applied first: swap rows and columns of the source.
        flip_rows: the order of rows is reversed, after ``transpose``.
        flip_columns: the order of columns is reversed, after ``transpose``.
        turn_deg: clockwise, of pictures of the reordered voxels, for the anterior wall to be on top
            (see :mod:`scarseg_infer.study.geometry.upright`). Volumes are never turned by it.
    """

    reverse_slices: bool
    transpose: bool
    flip_rows: bool
    flip_columns: bool
    turn_deg: float = 0.0

    def to_display(self, volume: NDArray[Any]) -> NDArray[Any]:
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

    def to_source(self, volume: NDArray[Any]) -> NDArray[Any]:
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


def short_axis_tilt_deg(normal: NDArray[np.float64]) -> float:
    """Angle 0–90° between slices with this unit normal and a usual short-axis view."""
    return math.degrees(math.acos(min(1.0, abs(float(normal @ BASE_TO_APEX)))))


def counted_from(normal: NDArray[np.float64]) -> str:
    """From which end slices are numbered when sorted along this normal, for messages."""
    return f"counted from the {'base' if normal @ BASE_TO_APEX > 0 else 'apex'}"


def display_transform(stack: LgeStack) -> DisplayTransform:
    """Transform that brings a stack to the standard display, from its geometry alone.

    Of the eight ways to lay a slice on a screen the four that would mirror the heart are left
    out; of the others the one wins whose rows and columns run closest to the anterior and
    lateral walls. Where the orientation is not known the stack is shown as stored.
    """
    if not stack.orientation_known:
        return DisplayTransform(False, False, False, False)
    best: tuple[float, DisplayTransform] | None = None
    for transpose, flip_rows, flip_columns in product((False, True), repeat=3):
        down, right = stack.column_direction, stack.row_direction
        if transpose:
            down, right = right, down
        down = -down if flip_rows else down
        right = -right if flip_columns else right
        # Standard display looks from the apex to the base: into the screen points to the base.
        if float(np.cross(right, down) @ BASE_TO_APEX) >= 0.0:
            continue
        match = float(right @ LATERAL_WALL - down @ ANTERIOR_WALL)
        if best is None or match > best[0]:
            reverse = bool(stack.normal @ BASE_TO_APEX < 0.0)
            best = match, DisplayTransform(reverse, transpose, flip_rows, flip_columns)
    if best is None:  # slices that hold the long axis itself: no view of them is short axis
        return DisplayTransform(False, False, False, False)
    return best[1]
