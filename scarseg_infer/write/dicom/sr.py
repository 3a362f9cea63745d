"""The quantities as a DICOM structured report: TID 1500 Measurement Report (PS3.16)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from scarseg_infer.host.quiet import quiet_readers
from scarseg_infer.write.dicom import codes
from scarseg_infer.write.dicom.codes import Code
from scarseg_infer.write.measurements import (
    Measured,
    imaged_segments,
    of_segment,
    of_ventricle,
    site_of,
    title_of,
)
from scarseg_infer.write.words import RESEARCH_USE

if TYPE_CHECKING:
    from pydicom import Dataset

    from scarseg_infer.result import ScarResult
    from scarseg_infer.write.dicom.sources import SourceImage

SERIES_NUMBER: Final = 9002
SOP_CLASS_UID: Final = "1.2.840.10008.5.1.4.1.1.88.34"
"""Comprehensive 3D SR Storage, which TID 1500 is most often found in."""
_SCAR_SEGMENT, _VIABLE_SEGMENT = 1, 2
_VOLUMETRIC_ROI, _MEASUREMENTS = "1411", "1501"  # templates of measurement groups


def write_sr(result: ScarResult, path: Path, seg_path: Path | None = None) -> None:
    """Write ``path``: one measurement group for the left ventricle and one per AHA segment.

    The group of the ventricle (TID 1411, of the scar; TID 1501 without a segmentation) holds
    scar volume in mL, mass in g and share in % of LV mass, fused and by the image alone, mass of
    the myocardium in g (scar included), volume of the cavity in mL, weight of the ECG and its
    distance in time in days. A segment's group (TID 1501) holds burden and mean transmurality in
    % and scar volume in mL; segments that were not imaged have none. What is in words
    (research use, reason for the ECG weight, warnings) stands under Qualitative Evaluations.

    Args:
        seg_path: segmentation of the same result, from write_seg, to refer to.

    Raises:
        StudyError: the study is not DICOM, or its images have no UIDs to refer to.
        OSError: a file cannot be read or written.
    """
    from pydicom import dcmread

    from scarseg_infer.write.dicom.object import new_object, save
    from scarseg_infer.write.dicom.sources import SourceImage, source_images

    with quiet_readers():
        images = source_images(result.stack)
        found = new_object(
            result,
            sop_class_uid=SOP_CLASS_UID,
            modality="SR",
            number=SERIES_NUMBER,
            description="LGE scar measurements (research use only)",
        )
        seg, evidence = None, list(images)
        if seg_path is not None:
            seg = dcmread(seg_path, stop_before_pixels=True)
            evidence.append(SourceImage(seg.SOPClassUID, seg.SOPInstanceUID, seg.SeriesInstanceUID))
        _add_document(found, evidence)
        _add_content(found, result, images, seg)
        save(found, path)


def _add_document(found: Dataset, evidence: list[SourceImage]) -> None:
    """SR Document Series and General modules (PS3.3, C.17.1 and C.17.2)."""
    from pydicom import Dataset

    from scarseg_infer.write.dicom.sources import by_series

    found.ReferencedPerformedProcedureStepSequence = []
    found.PerformedProcedureCodeSequence = []
    found.CompletionFlag = "COMPLETE"
    found.VerificationFlag = "UNVERIFIED"  # a person has not looked at it
    found.PreliminaryFlag = "PRELIMINARY"
    study, scheme = Dataset(), Dataset()
    study.StudyInstanceUID = found.StudyInstanceUID
    study.ReferencedSeriesSequence = by_series(evidence, "ReferencedSOPSequence")
    found.CurrentRequestedProcedureEvidenceSequence = [study]
    scheme.CodingSchemeDesignator = codes.PRIVATE_SCHEME
    scheme.CodingSchemeUID = codes.PRIVATE_SCHEME_OID
    scheme.CodingSchemeName = codes.PRIVATE_SCHEME_NAME
    scheme.CodingSchemeResponsibleOrganization = found.Manufacturer
    found.CodingSchemeIdentificationSequence = [scheme]


def _add_content(
    found: Dataset, result: ScarResult, images: list[SourceImage], seg: Dataset | None
) -> None:
    """The root container with all that it contains (PS3.3, C.17.3; TID 1500)."""
    from scarseg_infer.write.dicom.sr_items import code, container
    from scarseg_infer.write.dicom.sr_library import image_library

    groups = [_ventricle(result, images, seg), *_segments(result, images, seg)]
    root = container(
        codes.REPORT,
        [
            code(codes.LANGUAGE, codes.ENGLISH, "HAS CONCEPT MOD"),
            *_observer(result),
            code(codes.PROCEDURE, codes.CARDIAC_MRI, "HAS CONCEPT MOD"),
            image_library(result.stack, images),
            container(codes.MEASUREMENTS, groups),
            container(codes.QUALITATIVE, list(_statements(result))),
        ],
        template="1500",
    )
    del root.RelationshipType
    found.update(root)


def _observer(result: ScarResult) -> list[Dataset]:
    """The device as observer (TID 1001, 1004). Its UID is one per model file."""
    from scarseg_infer.write.dicom.device import MANUFACTURER, SERIAL_DIGITS, device_uid
    from scarseg_infer.write.dicom.sr_items import code, uid, words

    model = result.model
    return [
        code(codes.OBSERVER_TYPE, codes.DEVICE, "HAS OBS CONTEXT"),
        uid(codes.DEVICE_UID, device_uid(model.sha256), "HAS OBS CONTEXT"),
        words(codes.DEVICE_NAME, MANUFACTURER, "HAS OBS CONTEXT"),
        words(codes.DEVICE_MANUFACTURER, MANUFACTURER, "HAS OBS CONTEXT"),
        words(codes.DEVICE_MODEL, f"{model.name} {model.version}", "HAS OBS CONTEXT"),
        words(codes.DEVICE_SERIAL, model.sha256[:SERIAL_DIGITS], "HAS OBS CONTEXT"),
    ]


def _ventricle(result: ScarResult, images: list[SourceImage], seg: Dataset | None) -> Dataset:
    """Measurement group of the whole left ventricle."""
    from pydicom.uid import generate_uid

    from scarseg_infer.write.dicom.sr_items import container, image

    tracking = generate_uid() if seg is None else seg.SegmentSequence[_SCAR_SEGMENT - 1].TrackingUID
    items = [
        *_identity(result, "scarseg-infer LGE scar", tracking, codes.LEFT_VENTRICLE),
        *_numbers(of_ventricle(result)),
    ]
    if seg is None:
        sources = [image(codes.SOURCE_OF_MEASUREMENT, source.reference()) for source in images]
        return container(codes.MEASUREMENT_GROUP, [*items, *sources], _MEASUREMENTS)
    items.append(image(codes.REFERENCED_SEGMENT, _seg_reference(seg, _SCAR_SEGMENT)))
    items += [image(codes.SOURCE_FOR_SEGMENTATION, source.reference()) for source in images]
    return container(codes.MEASUREMENT_GROUP, items, _VOLUMETRIC_ROI)


def _segments(
    result: ScarResult, images: list[SourceImage], seg: Dataset | None
) -> Iterable[Dataset]:
    """Measurement groups of the AHA segments that were imaged, with the slices they lie in."""
    from pydicom.uid import generate_uid

    from scarseg_infer.write.dicom.sr_items import container, image

    seen = [set(np.unique(plane).tolist()) for plane in result.segments]
    for segment in imaged_segments(result):
        sources = [
            source.reference()
            for source, numbers in zip(images, seen, strict=True)
            if segment.number in numbers
        ]
        if seg is not None:
            sources.append(_seg_reference(seg, _SCAR_SEGMENT, _VIABLE_SEGMENT))
        items = [
            *_identity(result, title_of(segment), generate_uid(), site_of(segment)),
            *_numbers(of_segment(segment)),
            *(image(codes.SOURCE_OF_MEASUREMENT, source) for source in sources),
        ]
        yield container(codes.MEASUREMENT_GROUP, items, _MEASUREMENTS)


def _identity(result: ScarResult, name: str, tracking: str, site: Code) -> list[Dataset]:
    """Content items for what is measured, where, and by which algorithm (TID 1501, 4019, 4108)."""
    from scarseg_infer.write.dicom.sr_items import code, uid, words

    return [
        words(codes.TRACKING_ID, name, "HAS OBS CONTEXT"),
        uid(codes.TRACKING_UID, tracking, "HAS OBS CONTEXT"),
        code(codes.FINDING, codes.SCAR_TISSUE),
        code(codes.FINDING_SITE, site, "HAS CONCEPT MOD"),
        words(codes.ALGORITHM_NAME, result.model.name, "HAS CONCEPT MOD"),
        words(codes.ALGORITHM_VERSION, result.model.version, "HAS CONCEPT MOD"),
    ]


def _numbers(measured: Iterable[Measured]) -> Iterable[Dataset]:
    """Measurements (TID 300)."""
    from scarseg_infer.write.dicom.sr_items import number

    return (number(*one) for one in measured)


def _statements(result: ScarResult) -> Iterable[Dataset]:
    """Content items that have to be read with the numbers."""
    from scarseg_infer.write.dicom.sr_items import words
    from scarseg_infer.write.summary import scar_sentence

    yield words(codes.COMMENT, RESEARCH_USE)
    yield words(codes.COMMENT, scar_sentence(result))
    yield words(codes.ECG_REASON, result.ecg.reason)
    for warning in result.warnings:
        yield words(codes.COMMENT, warning)
    yield words(codes.COMMENT, f"Training data of the model: {result.model.training_data}")


def _seg_reference(seg: Dataset, *numbers: int) -> Dataset:
    """Reference to segments of a segmentation."""
    from pydicom import Dataset

    found = Dataset()
    found.ReferencedSOPClassUID = seg.SOPClassUID
    found.ReferencedSOPInstanceUID = seg.SOPInstanceUID
    found.ReferencedSegmentNumber = list(numbers)
    return found
