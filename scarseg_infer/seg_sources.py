"""Source images as a DICOM Segmentation needs them: complete headers made from real ones.

Exported and anonymised images lack attributes that the standard makes mandatory, carry dates
that are not dates, orientations that differ in the last digit, or a series for every slice.
None of that stands in the way of a segmentation, but all of it is refused where one is built.
So the builder is given stand-ins: one study, series, frame of reference and orientation, what
identifies patient and study copied as far as it is valid, everything else left behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import MRImageStorage, generate_uid
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
    return [
        _stand_in(shared, reference, origin)
        for reference, origin in zip(source_references(stack), stack.origins_mm, strict=True)
    ]


def source_series(stack: LgeStack, absent: str) -> list[str]:
    """Series Instance UID of each slice; ``absent`` where the image has none."""
    return [text(dataset, "SeriesInstanceUID") or absent for dataset in stack.datasets]


@dataclass(frozen=True, slots=True)
class SourceReference:
    """How another DICOM object refers to the image of one slice."""

    class_uid: str
    instance_uid: str
    frame: int | None
    """ReferencedFrameNumber, from 1; None where the image has a single frame."""


def source_references(stack: LgeStack) -> list[SourceReference]:
    """How to refer to the image of each slice, in slice order.

    Raises:
        StudyError: the images have no SOP Instance UID by which to refer to them.
    """
    frames = stack.frame_numbers or (None,) * len(stack.datasets)
    return [
        SourceReference(_uid(source, "SOPClassUID"), _uid(source, "SOPInstanceUID"), frame)
        for source, frame in zip(stack.datasets, frames, strict=True)
    ]


def refer_to_frames(segmentation: Dataset, stack: LgeStack, sources: list[Dataset]) -> None:
    """Turn references to stand-ins of frames into references to the frames themselves.

    Frames share a SOP Instance UID, so their stand-ins have one of their own each. Nothing
    changes for images of a single frame.

    Args:
        segmentation: built from ``sources``; changed in place.
        stack: where the frames come from.
        sources: its :func:`stand_ins`.
    """
    real = {
        source.SOPInstanceUID: reference
        for source, reference in zip(sources, source_references(stack), strict=True)
        if reference.frame is not None
    }
    if not real:
        return
    for group in segmentation.PerFrameFunctionalGroupsSequence:
        for derivation in group.get("DerivationImageSequence", ()):
            for item in derivation.get("SourceImageSequence", ()):
                reference = _refer_to_image(item, real)
                if reference is not None:
                    item.ReferencedFrameNumber = reference.frame
    segmentation.SourceImageSequence = _once(segmentation.SourceImageSequence, real)
    for series in segmentation.ReferencedSeriesSequence:
        series.ReferencedInstanceSequence = _once(series.ReferencedInstanceSequence, real)


def _refer_to_image(item: Dataset, real: dict[str, SourceReference]) -> SourceReference | None:
    """Put the image in place of a stand-in; returns what it stood for."""
    reference = real.get(item.ReferencedSOPInstanceUID)
    if reference is not None:
        item.ReferencedSOPClassUID = reference.class_uid
        item.ReferencedSOPInstanceUID = reference.instance_uid
    return reference


def _once(items: Iterable[Dataset], real: dict[str, SourceReference]) -> list[Dataset]:
    """References to images instead of stand-ins, to each image once."""
    found: dict[str, Dataset] = {}
    for item in items:
        # The same item may stand in several lists and have been changed already.
        _refer_to_image(item, real)
        found.setdefault(item.ReferencedSOPInstanceUID, item)
    return list(found.values())


def _stand_in(
    shared: Dataset, reference: SourceReference, origin_mm: NDArray[np.float64]
) -> Dataset:
    found = Dataset()
    found.update(shared)
    found.ImagePositionPatient = [_decimal(coordinate) for coordinate in origin_mm]
    single = reference.frame is None
    found.SOPClassUID = reference.class_uid if single else MRImageStorage
    found.SOPInstanceUID = reference.instance_uid if single else generate_uid()
    return found


def _uid(source: Dataset, keyword: str) -> str:
    meta = getattr(source, "file_meta", Dataset())
    uid = text(source, keyword) or text(meta, f"MediaStorage{keyword}")
    if not uid:
        raise StudyError(
            "the MR images have no SOP Instance UID for a segmentation to refer to",
            "Export the study again from its source",
        )
    return uid


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
