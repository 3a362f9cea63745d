"""Angle by which a picture in display order is still turned for the anterior wall to be on top.

Reordering voxels can only turn by quarters; scanner grids lie at any angle. Where the RV was found
it decides, because the AHA segments follow from it: the middle of the septum comes to lie on the
left and segments and picture agree. Otherwise the patient axes decide.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from scarseg_infer.study.geometry.orientation import ANTERIOR_WALL, LATERAL_WALL, DisplayTransform
from scarseg_infer.study.stack import LgeStack
from scarseg_runtime.contract import LEFT_VENTRICLE, Label

ENOUGH_RV_MM2 = 400.0
"""Of RV in all slices together; less may be anything. An RV has some 1000 to 2000 in each."""
LIKELY_WITHIN_DEG = 75.0
"""The found RV lies so far at most from where the patient axes put it; hearts differ by some 30°
and rotated ones by more (design choice)."""


def turn_by_right_ventricle(
    labels: NDArray[np.uint8], spacing_mm: tuple[float, float]
) -> float | None:
    """Degrees clockwise that bring the found RV to the left of the LV; None without an RV.

    Args:
        labels: [S, H, W] in display order.
        spacing_mm: between rows and between columns.
    """
    towards = np.zeros(2)
    area = 0.0
    for plane in labels:
        right = np.nonzero(plane == Label.RV_CAVITY)
        left = np.nonzero(np.isin(plane, LEFT_VENTRICLE))
        if not right[0].size or not left[0].size:
            continue
        down = (right[0] - left[0].mean()) * spacing_mm[0]
        across = (right[1] - left[1].mean()) * spacing_mm[1]
        distance = np.maximum(np.hypot(across, down), 1.0)
        towards += (across / distance).sum(), (down / distance).sum()
        area += right[0].size * spacing_mm[0] * spacing_mm[1]
    if area < ENOUGH_RV_MM2 or not towards.any():
        return None
    return _wrapped(180.0 - math.degrees(math.atan2(towards[1], towards[0])))


def turn_by_patient_axes(stack: LgeStack, display: DisplayTransform) -> float | None:
    """Degrees clockwise, between −45 and 45, that bring the usual anterior wall to the top; None
    where the orientation is not known."""
    if not stack.orientation_known:
        return None
    down, right = stack.column_direction, stack.row_direction
    if display.transpose:
        down, right = right, down
    down = -down if display.flip_rows else down
    right = -right if display.flip_columns else right
    # Where the picture's axes point in one whose axes are the lateral wall and "down".
    sine = float(down @ -LATERAL_WALL + right @ -ANTERIOR_WALL)
    cosine = float(right @ LATERAL_WALL - down @ ANTERIOR_WALL)
    return math.degrees(math.atan2(sine, cosine))


def upright_turn(
    stack: LgeStack, display: DisplayTransform, labels: NDArray[np.uint8]
) -> tuple[float, tuple[str, ...]]:
    """Degrees clockwise for pictures of ``labels`` [S, H, W] in display order, and warnings."""
    found = turn_by_right_ventricle(labels, display.display_spacing(stack.pixel_spacing_mm))
    expected = turn_by_patient_axes(stack, display)
    if found is None or expected is None:
        return found or expected or 0.0, ()
    apart = abs(_wrapped(found - expected))
    if apart <= LIKELY_WITHIN_DEG:
        return found, ()
    return expected, (
        f"The right ventricle was found {apart:.0f}° from where the patient axes put it, and the "
        "AHA segments follow from it: check that they lie on the right walls.",
    )


def _wrapped(degrees: float) -> float:
    return (degrees + 180.0) % 360.0 - 180.0
