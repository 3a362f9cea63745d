"""Slices that lean a little against the others of their stack: one stack all the same.

A slice that was planned anew, or a patient who moved between breath-holds, leaves a fraction of a
degree. To leave such a slice out costs its whole volume; to take it as parallel moves its voxels by
less than a pixel in the heart, if it is turned about its own centre and not about its corner.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scarseg_infer.study.geometry.slice_plane import (
    PARALLEL_TOLERANCE_DEG,
    SlicePlane,
    slices_named,
)

MOST_TILT_DEG: Final = 2.0
"""Slices that lean more against the others are of another view. So far the edge of the heart,
50 mm from the centre of the image, moves by 1.7 mm."""
_HEART_MM: Final = 50.0


def middle_plane(planes: Sequence[SlicePlane]) -> SlicePlane:
    """The plane whose axes are the usual ones: nearest to the median of all."""
    axes = np.array([(*plane.row_direction, *plane.column_direction) for plane in planes])
    apart = np.linalg.norm(axes - np.median(axes, axis=0), axis=1).round(9)
    nearest = np.flatnonzero(apart == apart.min())
    # Where several are as near, the same one in whatever order they come.
    return planes[min(nearest.tolist(), key=lambda index: tuple(axes[index]))]


def aligned_origins(planes: Sequence[SlicePlane], usual: SlicePlane) -> NDArray[np.float64]:
    """[S, 3] centres of the first voxels once every slice is turned about its own centre until it
    is parallel to ``usual``."""
    middle = usual.half_extent_mm
    return np.array([plane.origin_mm + (plane.half_extent_mm - middle) for plane in planes])


def tilt_warnings(planes: Sequence[SlicePlane], usual: SlicePlane, counted: str) -> tuple[str, ...]:
    """A warning that names slices that lean against the others.

    Args:
        counted: from which end slices are numbered, as "counted from the base".
    """
    tilts = [plane.tilt_deg(usual) for plane in planes]
    numbers = [n for n, tilt in enumerate(tilts, start=1) if tilt > PARALLEL_TOLERANCE_DEG]
    if not numbers:
        return ()
    most = max(tilts)
    which = slices_named(numbers) + (" is" if len(numbers) == 1 else " are")
    beside = _HEART_MM * np.sin(np.radians(most))
    return (
        f"{which} tilted by up to {most:.1f}° against the others ({counted}) and read as parallel: "
        f"{_HEART_MM:.0f} mm from the centre of the image that is up to {beside:.1f} mm off. The "
        "SEG keeps the place of every slice.",
    )
