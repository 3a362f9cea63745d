"""Source images as a DICOM Segmentation needs them: complete headers made from real ones.

Exported and anonymised images lack attributes that the standard makes mandatory, carry dates
that are not dates, orientations that differ in the last digit, or a series for every slice.
None of that stands in the way of a segmentation, but all of it is refused where one is built.
So the builder is given stand-ins: one study, series, frame of reference and orientation, what
identifies patient and study copied as far as it is valid, everything else left behind.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import generate_uid
from pydicom.valuerep import DA, TM, DSfloat

from scarseg_infer.dicom_parse import text
from scarseg_infer.slice_plane import usual_step_mm
from scarseg_infer.stack import LgeStack
from scarseg_runtime.errors import StudyError

# What has to agree with the source for both to be filed under one patient and study (type 1 or
# 2 in PS3.3 C.7.1.1 and C.7.2.1), and whether it has been anonymised.
_COPIED: Final = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "StudyID",
    "ReferringPhysicianName",
)
_COPIED_IF_PRESENT: Final = (
    "IssuerOfPatientID",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "StudyDescription",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
)
_SEXES: Final = frozenset({"M", "F", "O"})  # PS3.3 C.7.1.1.1


def stand_ins(stack: LgeStack) -> list[Dataset]:
    """Headers to build a segmentation from, one a slice in slice order, without pixel data.

    All say one series, which need not be the real one: see :func:`source_series`.

    Raises:
        StudyError: the images have no SOP Instance UID by which to refer to them.
    """
    first = stack.datasets[0]
    shared = Dataset()
    for keyword in _COPIED:
        setattr(shared, keyword, _valid_text(first, keyword))
    for keyword in _COPIED_IF_PRESENT:
        if value := text(first, keyword):
            setattr(shared, keyword, value)
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        setattr(shared, keyword, text(first, keyword) or generate_uid())
    shared.Modality = "MR"
    shared.Rows, shared.Columns = stack.pixels.shape[1:]
    shared.PixelSpacing = [_decimal(spacing) for spacing in stack.pixel_spacing_mm]
    shared.SliceThickness = _decimal(_thickness_mm(stack))
    directions = (*stack.row_direction, *stack.column_direction)
    shared.ImageOrientationPatient = [_decimal(cosine) for cosine in directions]
    return [_stand_in(shared, *pair) for pair in zip(stack.datasets, stack.origins_mm, strict=True)]


def source_series(stack: LgeStack, absent: str) -> list[str]:
    """Series Instance UID of each slice; ``absent`` where the image has none."""
    return [text(dataset, "SeriesInstanceUID") or absent for dataset in stack.datasets]


def _stand_in(shared: Dataset, source: Dataset, origin_mm: NDArray[np.float64]) -> Dataset:
    found = Dataset()
    found.update(shared)
    found.ImagePositionPatient = [_decimal(coordinate) for coordinate in origin_mm]
    meta = getattr(source, "file_meta", Dataset())
    for keyword in ("SOPClassUID", "SOPInstanceUID"):
        uid = text(source, keyword) or text(meta, f"MediaStorage{keyword}")
        if not uid:
            raise StudyError(
                "the MR images have no SOP Instance UID for a segmentation to refer to",
                "Export the study again from its source",
            )
        setattr(found, keyword, uid)
    return found


def _valid_text(source: Dataset, keyword: str) -> str:
    """An attribute as text; "" (unknown) where it is absent or not a valid value."""
    value = text(source, keyword)
    if keyword == "PatientSex":
        return value if value in _SEXES else ""
    checks: dict[str, Callable[[str], object]] = {
        "PatientBirthDate": DA,
        "StudyDate": DA,
        "StudyTime": TM,
    }
    try:
        checks.get(keyword, str)(value)
    except ValueError:
        return ""
    return value


def _thickness_mm(stack: LgeStack) -> float:
    """Slice thickness; the usual step between slices where the source does not say it."""
    if stack.slice_thickness_mm is not None:
        return stack.slice_thickness_mm
    return usual_step_mm(stack.slice_positions_mm)


def _decimal(value: float) -> DSfloat:
    """A number as a decimal string of at most 16 characters (PS3.5, 6.2)."""
    return DSfloat(float(value), auto_format=True)
