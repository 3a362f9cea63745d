"""Slice axis of a NIfTI file, and the agreement of its two placements."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from scarseg_infer.study.geometry.orientation import SHORT_AXIS_TRUST_DEG, short_axis_tilt_deg

AFFINE_TOLERANCE: Final = 0.01
"""Relative difference between affine and pixdim that is still rounding."""
COARSEST_TOLERANCE: Final = 0.99
"""The slice step must be at least this share of the in-plane spacing (equal for 3-D LGE)."""
FORM_TOLERANCE_MM: Final = 2.0
"""sform and qform agree where they put every voxel within this: the qform rounds."""

AxisOrder = tuple[int, int, int]
IN_ORDER: Final[AxisOrder] = (0, 1, 2)


def slices_last(spacing_mm: tuple[float, ...], affine_lps_mm: NDArray[np.float64]) -> AxisOrder:
    """The order of array axes in which the slices lie along the last one.

    Programs that turn volumes to the closest body axes leave the slices on any axis. They are told
    by the coarsest spacing; where several are equally coarse, by the usual long axis of the heart.
    As stored where pixdim and affine disagree on sizes: then one of them is of another file.
    """
    spacing = np.asarray(spacing_mm)
    lengths = np.linalg.norm(affine_lps_mm[:, :3], axis=0)
    if not np.allclose(lengths, spacing, rtol=AFFINE_TOLERANCE, atol=0.0):  # not of no numbers
        return IN_ORDER
    coarse = [axis for axis in (2, 1, 0) if spacing[axis] >= COARSEST_TOLERANCE * spacing.max()]
    tilts = [_tilt(affine_lps_mm[:, :3] / lengths, axis) for axis in coarse]
    best = coarse[int(np.argmin(tilts))]
    if coarse[0] == 2 and (tilts[0] <= SHORT_AXIS_TRUST_DEG or min(tilts) > SHORT_AXIS_TRUST_DEG):
        best = 2
    first, second = (axis for axis in range(3) if axis != best)
    return first, second, best


def _tilt(axes: NDArray[np.float64], slices: int) -> float:
    first, second = (axes[:, axis] for axis in range(3) if axis != slices)
    normal = np.cross(first, second)
    length = float(np.linalg.norm(normal))
    return short_axis_tilt_deg(normal / length) if length > 0 else 90.0


def forms_apart_mm(image: Any, spacing_mm: tuple[float, ...], unit_mm: float) -> float | None:
    """Largest distance between a voxel by sform and by qform; None unless both place the image.

    Of the sform only directions and origin are compared: it is said elsewhere where its voxel sizes
    are not those of pixdim, which the qform has.
    """
    try:
        sform, s_code = image.header.get_sform(coded=True)
        qform, q_code = image.header.get_qform(coded=True)
    except (ValueError, ArithmeticError, np.linalg.LinAlgError):  # a quaternion that is none
        return None
    if not (s_code > 0 and q_code > 0) or sform is None or qform is None:
        return None
    last = np.array(image.shape[:3]) - 1.0
    corners = np.array([(*(last * corner), 1.0) for corner in np.ndindex(2, 2, 2)])
    places = []
    for form in (sform, qform):
        matrix = np.asarray(form, dtype=np.float64)[:3].copy()
        with np.errstate(all="ignore"):
            matrix[:, :3] *= np.asarray(spacing_mm) / np.linalg.norm(matrix[:, :3], axis=0)
            matrix[:, 3] *= unit_mm
            places.append(corners @ matrix.T)
    apart = float(np.linalg.norm(places[0] - places[1], axis=1).max())
    return apart if np.isfinite(apart) else None
