"""Distances between the surfaces of two masks, in mm.

A few lines on SciPy's exact distance transform: of the libraries with these measures MONAI takes
seconds to import and brings half a framework, MedPy is under the GPL, others are not maintained.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, distance_transform_edt

Mask = NDArray[np.bool_]
NAN = float("nan")
FACES = np.zeros((3, 3, 3), bool)
FACES[1, 1, :] = FACES[1, :, 1] = FACES[:, 1, 1] = True
IN_PLANE = FACES & (np.arange(3) == 1)[:, None, None]


class SurfaceDistance(NamedTuple):
    """Both NaN where one of the masks is empty."""

    hd95_mm: float
    """95 % Hausdorff distance: the larger of both directions' 95th percentiles."""
    mean_mm: float
    """Mean over the voxels of both surfaces of the distance to the other."""


def surface_distance(
    first: Mask, second: Mask, spacing_mm: tuple[float, float, float]
) -> SurfaceDistance:
    """Distances between the surfaces of two masks [S, H, W].

    A surface is the voxels of a mask that touch what is outside within their slice: caps at base
    and apex, where a stack merely ends, are none. Distances are in three dimensions.

    Args:
        spacing_mm: between slices, rows, columns.
    """
    if not first.any() or not second.any():
        return SurfaceDistance(NAN, NAN)
    either = np.nonzero(first | second)
    box = tuple(slice(max(0, int(axis.min()) - 1), int(axis.max()) + 2) for axis in either)
    surfaces = [_surface(mask[box]) for mask in (first, second)]
    far = [distance_transform_edt(~surface, sampling=spacing_mm) for surface in surfaces]
    there, back = far[1][surfaces[0]], far[0][surfaces[1]]
    return SurfaceDistance(
        float(max(np.percentile(there, 95), np.percentile(back, 95))),
        float((there.sum() + back.sum()) / (there.size + back.size)),
    )


def _surface(mask: Mask) -> Mask:
    return mask & ~binary_erosion(mask, IN_PLANE)
