"""Where the header of one MR image puts it in the patient, or which attribute fails to."""

from __future__ import annotations

from typing import Final

from pydicom import Dataset
from pydicom.multival import MultiValue

from scarseg_infer.study.dicom.parse import PARSE_ERRORS, number, numbers
from scarseg_infer.study.geometry.slice_plane import (
    MAX_COORDINATE_MM,
    SlicePlane,
    plausible_spacing,
    unit_axes,
)

MAX_MATRIX: Final = 4096
"""Rows or columns beyond this are damage, not an MR slice (LGE has at most some 512)."""
_COUNTS: Final = {"PixelSpacing": 2, "ImagePositionPatient": 3, "ImageOrientationPatient": 6}
PLANE_KEYWORDS: Final = ("Rows", "Columns", *_COUNTS)


def plane_in(dataset: Dataset) -> tuple[SlicePlane | None, str]:
    """The plane of an image and "", or None and what is wrong with which attribute."""
    sizes = []
    for keyword in ("Rows", "Columns"):
        size = number(dataset, keyword)
        if size is None or not 1 <= size <= MAX_MATRIX:
            return None, _fault(dataset, keyword, "is no plausible number")
        sizes.append(int(size))
    found = {}
    for keyword, count in _COUNTS.items():
        values = numbers(dataset, keyword, count)
        if values is None:
            return None, _fault(dataset, keyword, f"is not {count} numbers")
        found[keyword] = values
    spacing, origin, orientation = found.values()
    axes = unit_axes(orientation[:3], orientation[3:])
    if axes is None:
        return None, "ImageOrientationPatient is not two orthogonal unit vectors"
    if not plausible_spacing(spacing):
        return None, "PixelSpacing is not two plausible distances in mm"
    if max(map(abs, origin)) > MAX_COORDINATE_MM:
        return None, "ImagePositionPatient is not plausible in mm"
    plane = SlicePlane(
        rows=sizes[0],
        columns=sizes[1],
        pixel_spacing_mm=(spacing[0], spacing[1]),
        origin_mm=(origin[0], origin[1], origin[2]),
        row_direction=(float(axes[0][0]), float(axes[0][1]), float(axes[0][2])),
        column_direction=(float(axes[1][0]), float(axes[1][1]), float(axes[1][2])),
    )
    return plane, ""


def _fault(dataset: Dataset, keyword: str, what: str) -> str:
    try:
        if keyword not in dataset or not dataset.get_item(keyword).value:
            return f"{keyword} is missing"
        raw = dataset.get_item(keyword).value
    except PARSE_ERRORS:
        return f"{keyword} {what}"
    parts = raw if isinstance(raw, MultiValue) else [raw]
    comma = any("," in str(part) for part in parts)
    return f"{keyword} {what}{' (it has decimal commas)' if comma else ''}"
