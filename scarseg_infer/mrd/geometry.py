"""Place of an MRD image: its centre and axes → the plane of a slice as DICOM has it.

Frame: the patient's (LPS, mm). MRD gives the centre of the field of view, DICOM the centre of the
first voxel. The field of view ends at the outer edges of the outermost voxels, so that the first
voxel's centre lies (n − 1)/2 voxels from the middle along each axis.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scarseg_infer.study.dicom.header import MAX_MATRIX
from scarseg_infer.study.geometry.slice_plane import (
    MAX_COORDINATE_MM,
    SlicePlane,
    Vector,
    plausible_spacing,
    unit_axes,
)

LEAST_COSINE: Final = 0.999
"""Between the slice direction of a volume and the normal of its slices: sheared ones are none."""


@np.errstate(all="ignore")  # what is infinite or far too large ends in a fault
def plane_in(
    head: Any, row_dir: ArrayLike | None, column_dir: ArrayLike | None, z: int = 0
) -> tuple[SlicePlane | None, str]:
    """The plane of one slice of an image and "", or None and what is wrong.

    Args:
        head: the image's ``ismrmrd.ImageHeader``.
        row_dir, column_dir: [3] each: ``ImageRowDir`` and ``ImageColumnDir`` of its attributes,
            which say how the pixels lie where that is not along readout and phase encoding.
        z: number of the slice in a volume, from 0.
    """
    columns, rows, slices = head.matrix_size
    if not (1 <= rows <= MAX_MATRIX and 1 <= columns <= MAX_MATRIX):
        return None, "matrix_size is not plausible"
    size = np.array(head.field_of_view, np.float64)
    axes = unit_axes(
        head.read_dir if row_dir is None else row_dir,
        head.phase_dir if column_dir is None else column_dir,
    )
    if axes is None:
        return None, "its directions are not two orthogonal unit vectors"
    spacing = (float(size[1] / rows), float(size[0] / columns))
    if not plausible_spacing(spacing):
        return None, "field_of_view is not plausible in mm"
    centre = np.array(head.position, np.float64)
    if slices > 1:
        normal = _slice_direction(head, axes)
        if normal is None:
            return None, "slice_dir is not normal to the slices"
        centre = centre + (z - (slices - 1) / 2) * (size[2] / slices) * normal
    origin = centre
    for axis, count, step in zip(axes, (columns, rows), spacing[::-1], strict=True):
        origin = origin - axis * step * (count - 1) / 2
    if not (np.abs(origin) <= MAX_COORDINATE_MM).all():  # also for NaN
        return None, "position is not plausible in mm"
    return SlicePlane(rows, columns, spacing, _vector(origin), *map(_vector, axes)), ""


def centre_of(plane: SlicePlane) -> Vector:
    """Centre of a slice, as ``ImageHeader.position`` has it."""
    row_mm, column_mm = plane.pixel_spacing_mm
    along_row = np.array(plane.row_direction) * column_mm * (plane.columns - 1) / 2
    along_column = np.array(plane.column_direction) * row_mm * (plane.rows - 1) / 2
    return _vector(np.array(plane.origin_mm) + along_row + along_column)


def _slice_direction(
    head: Any, axes: tuple[NDArray[np.float64], NDArray[np.float64]]
) -> NDArray[np.float64] | None:
    """Unit vector along which slices of a volume follow each other; None where it is sheared."""
    normal = np.cross(*axes)
    cosine = float(normal @ np.array(head.slice_dir, np.float64))
    if not LEAST_COSINE <= abs(cosine) <= 1 / LEAST_COSINE:
        return None
    return normal if cosine > 0 else -normal


def _vector(values: NDArray[np.float64]) -> Vector:
    return float(values[0]), float(values[1]), float(values[2])
