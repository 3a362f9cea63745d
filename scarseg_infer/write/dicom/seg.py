"""Scar, viable myocardium and cavity as a DICOM Segmentation on the grid of the source images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from scarseg_infer.host.quiet import quiet_readers
from scarseg_infer.study.geometry.slice_plane import usual_step_mm
from scarseg_infer.study.stack import LgeStack
from scarseg_infer.write.dicom.codes import (
    ABNORMAL_STRUCTURE,
    ANATOMICAL_STRUCTURE,
    ARTIFICIAL_INTELLIGENCE,
    BLOOD,
    BODY_SUBSTANCE,
    LEFT_VENTRICLE,
    LV_MYOCARDIUM,
    SCAR_TISSUE,
    SEGMENTATION_DERIVATION,
    SOURCE_FOR_PROCESSING,
    Code,
    code_item,
)
from scarseg_infer.write.words import RESEARCH_USE
from scarseg_runtime.contract import Label

if TYPE_CHECKING:
    from pydicom import Dataset

    from scarseg_infer.result import ModelUse, ScarResult
    from scarseg_infer.write.dicom.sources import Place, SourceImage

SERIES_NUMBER: Final = 9001
"""High enough not to meet the scanner's own series."""
SOP_CLASS_UID: Final = "1.2.840.10008.5.1.4.1.1.66.4"
"""Segmentation Storage."""
_EVEN: Final = 0.01
"""Steps between slices that differ by less than this share are one spacing."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment of the segmentation; its place in :data:`SEGMENTS` is its number − 1."""

    label: Label
    name: str
    description: str
    category: Code
    kind: Code
    region: Code
    cielab: tuple[int, int, int]
    """Display colour as PCS values of 16 bits (PS3.3, C.10.7.1.1), that of the pictures."""


SEGMENTS: Final = (
    Segment(
        Label.SCAR, "Scar", "Scar of the left ventricular myocardium",
        ABNORMAL_STRUCTURE, SCAR_TISSUE, LV_MYOCARDIUM, (58401, 29471, 52288),
    ),
    Segment(
        Label.VIABLE_MYOCARDIUM, "Viable myocardium",
        "Left ventricular myocardium without scar",
        ANATOMICAL_STRUCTURE, LV_MYOCARDIUM, LV_MYOCARDIUM, (37842, 21141, 36174),
    ),
    Segment(
        Label.LV_CAVITY, "Left ventricular cavity",
        "Blood pool of the left ventricle, papillary muscles included",
        BODY_SUBSTANCE, BLOOD, LEFT_VENTRICLE, (35512, 44018, 49160),
    ),
)  # fmt: skip
"""Segments 1, 2, 3. They never overlap: together scar and viable myocardium are the wall."""


def write_seg(result: ScarResult, path: Path) -> None:
    """Write ``path``: three binary segments, each with a frame for every source slice.

    Frames go segment by segment and then slice by slice in the order of the stack, empty ones
    included. Each refers to its source image and repeats that image's own place, so a
    drifting, reversed or slightly tilted stack is reproduced exactly (PS3.3 C.8.20.2, C.8.20.4).

    Raises:
        StudyError: the study is not DICOM, or its images have no UIDs to refer to.
        OSError: ``path`` cannot be written.
    """
    from scarseg_infer.write.dicom.object import new_object, save
    from scarseg_infer.write.dicom.sources import (
        by_series,
        frame_of_reference_uid,
        instances,
        lossy_compression,
        slice_places,
        source_images,
    )

    with quiet_readers():
        images = source_images(result.stack)
        found = new_object(
            result,
            sop_class_uid=SOP_CLASS_UID,
            modality="SEG",
            number=SERIES_NUMBER,
            description="LGE scar (research use only)",
        )
        found.update(lossy_compression(result.stack))
        found.FrameOfReferenceUID = frame_of_reference_uid(result.stack)
        found.PositionReferenceIndicator = ""
        found.ReferencedSeriesSequence = by_series(images)
        found.SourceImageSequence = [image.instance() for image in instances(images)]
        _describe(found, result.model)
        places = slice_places(result.stack)
        tilted = len({cosines for _, cosines in places}) > 1
        _add_dimensions(found)
        shared = _shared_groups(result.stack)
        if tilted:
            del found.DimensionOrganizationType  # "3D" is of parallel planes (PS3.3, C.7.6.17)
        else:
            shared.PlaneOrientationSequence = [_orientation(places[0][1])]
        found.SharedFunctionalGroupsSequence = [shared]
        found.PerFrameFunctionalGroupsSequence = _frame_groups(images, places, tilted=tilted)
        _add_pixels(found, result)
        save(found, path)


def _describe(found: Dataset, model: ModelUse) -> None:
    found.ImageType = ["DERIVED", "PRIMARY"]
    found.ContentLabel = "SCAR"
    found.ContentDescription = RESEARCH_USE
    found.ContentCreatorName = ""
    found.SegmentationType = "BINARY"
    found.SegmentsOverlap = "NO"
    found.SegmentSequence = [
        _segment_item(number, segment, model) for number, segment in enumerate(SEGMENTS, start=1)
    ]


def _segment_item(number: int, segment: Segment, model: ModelUse) -> Dataset:
    from pydicom import Dataset
    from pydicom.uid import generate_uid

    item = Dataset()
    item.SegmentNumber = number
    item.SegmentLabel = segment.name
    item.SegmentDescription = segment.description
    item.SegmentedPropertyCategoryCodeSequence = [code_item(segment.category)]
    item.SegmentedPropertyTypeCodeSequence = [code_item(segment.kind)]
    item.AnatomicRegionSequence = [code_item(segment.region)]
    item.SegmentAlgorithmType = "AUTOMATIC"
    item.SegmentAlgorithmName = model.name[:64]
    algorithm = Dataset()
    algorithm.AlgorithmFamilyCodeSequence = [code_item(ARTIFICIAL_INTELLIGENCE)]
    algorithm.AlgorithmName = model.name[:64]
    algorithm.AlgorithmVersion = model.version[:64]
    item.SegmentationAlgorithmIdentificationSequence = [algorithm]
    item.RecommendedDisplayCIELabValue = list(segment.cielab)
    item.TrackingID = f"scarseg-infer LGE {segment.name.lower()}"
    item.TrackingUID = generate_uid()
    return item


def _add_dimensions(found: Dataset) -> None:
    """Frames are sorted by segment, then by position (PS3.3, C.7.6.17)."""
    from pydicom import Dataset
    from pydicom.datadict import tag_for_keyword
    from pydicom.uid import generate_uid

    organization = Dataset()
    organization.DimensionOrganizationUID = generate_uid()
    found.DimensionOrganizationSequence = [organization]
    found.DimensionOrganizationType = "3D"
    found.DimensionIndexSequence = []
    for pointer, group in (
        ("ReferencedSegmentNumber", "SegmentIdentificationSequence"),
        ("ImagePositionPatient", "PlanePositionSequence"),
    ):
        index = Dataset()
        index.DimensionOrganizationUID = organization.DimensionOrganizationUID
        index.DimensionIndexPointer = tag_for_keyword(pointer)
        index.FunctionalGroupPointer = tag_for_keyword(group)
        index.DimensionDescriptionLabel = pointer
        found.DimensionIndexSequence.append(index)


def _shared_groups(stack: LgeStack) -> Dataset:
    from pydicom import Dataset

    from scarseg_infer.write.dicom.sources import decimal

    measures, groups = Dataset(), Dataset()
    measures.PixelSpacing = [decimal(spacing) for spacing in stack.pixel_spacing_mm]
    measures.SliceThickness = decimal(_thickness_mm(stack))
    steps = np.diff(stack.slice_positions_mm)
    if steps.size and np.ptp(steps) < _EVEN * np.median(steps):
        measures.SpacingBetweenSlices = decimal(float(np.median(steps)))
    groups.PixelMeasuresSequence = [measures]
    return groups


def _orientation(cosines: tuple[float, ...]) -> Dataset:
    from pydicom import Dataset

    from scarseg_infer.write.dicom.sources import decimal

    orientation = Dataset()
    orientation.ImageOrientationPatient = [decimal(cosine) for cosine in cosines]
    return orientation


def _frame_groups(images: list[SourceImage], places: list[Place], *, tilted: bool) -> list[Dataset]:
    """Functional groups of each frame; the slices' own parts are shared between segments."""
    from pydicom import Dataset

    from scarseg_infer.write.dicom.sources import decimal

    slices = []
    for image, (origin, cosines) in zip(images, places, strict=True):
        position = Dataset()
        position.ImagePositionPatient = [decimal(coordinate) for coordinate in origin]
        slices.append((_derivation(image), position, _orientation(cosines)))
    found = []
    for segment in range(1, len(SEGMENTS) + 1):
        for place, (derivation, position, orientation) in enumerate(slices, start=1):
            identification, content, groups = Dataset(), Dataset(), Dataset()
            identification.ReferencedSegmentNumber = segment
            content.DimensionIndexValues = [segment, place]
            groups.DerivationImageSequence = [derivation]
            groups.FrameContentSequence = [content]
            groups.PlanePositionSequence = [position]
            if tilted:
                groups.PlaneOrientationSequence = [orientation]
            groups.SegmentIdentificationSequence = [identification]
            found.append(groups)
    return found


def _derivation(image: SourceImage) -> Dataset:
    from pydicom import Dataset

    reference, derivation = image.reference(), Dataset()
    reference.SpatialLocationsPreserved = "YES"
    reference.PurposeOfReferenceCodeSequence = [code_item(SOURCE_FOR_PROCESSING)]
    derivation.SourceImageSequence = [reference]
    derivation.DerivationCodeSequence = [code_item(SEGMENTATION_DERIVATION)]
    return derivation


def _add_pixels(found: Dataset, result: ScarResult) -> None:
    """One bit a pixel, the first in the lowest bit, frames without a gap (PS3.5, 8.1.1)."""
    frames = np.stack([result.labels == segment.label for segment in SEGMENTS])
    found.SamplesPerPixel = 1
    found.PhotometricInterpretation = "MONOCHROME2"
    found.NumberOfFrames = frames.shape[0] * frames.shape[1]
    found.Rows, found.Columns = frames.shape[2:]
    found.BitsAllocated = found.BitsStored = 1
    found.HighBit = 0
    found.PixelRepresentation = 0
    packed = np.packbits(frames, bitorder="little").tobytes()
    found.PixelData = packed + b"\0" * (len(packed) % 2)


def _thickness_mm(stack: LgeStack) -> float:
    """Slice thickness; the usual step between slices where the source does not say it."""
    if stack.slice_thickness_mm is not None:
        return stack.slice_thickness_mm
    return usual_step_mm(stack.slice_positions_mm)
