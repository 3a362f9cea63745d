"""Scar as a DICOM Segmentation object on the native grid of the source images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scarseg_infer.quiet import quiet_readers
from scarseg_infer.result import RESEARCH_USE, ScarResult
from scarseg_runtime.contract import Label
from scarseg_runtime.version import __version__

if TYPE_CHECKING:
    from pydicom import Dataset

SERIES_NUMBER = 9001
"""High enough not to meet the scanner's own series."""


def write_seg(result: ScarResult, path: Path) -> None:
    """Write ``path``: one binary segment, one frame a source slice, empty slices included.

    Every frame refers to its source image and repeats that image's own position, so a drifting
    or reversed stack is reproduced exactly (PS3.3 C.8.20.2, C.8.20.4). highdicom orders the
    frames along the stack, in which direction is its own choice: readers go by the references.
    """
    # highdicom and pydicom quote header values in their warnings.
    with quiet_readers():
        _segmentation(result).save_as(path, enforce_file_format=True)


def _segmentation(result: ScarResult) -> Any:
    import highdicom as hd

    from scarseg_infer.seg_sources import refer_to_frames, source_series, stand_ins

    sources = stand_ins(result.stack)
    segmentation = hd.seg.Segmentation(
        source_images=sources,
        pixel_array=(result.labels == Label.SCAR).astype(np.uint8),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_description(result)],
        series_instance_uid=hd.UID(),
        series_number=SERIES_NUMBER,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="scarseg-infer",
        manufacturer_model_name=result.model.name,
        software_versions=__version__,
        device_serial_number=result.model.sha256[:16],
        series_description="LGE scar (research use only)",
        content_label="SCAR",
        content_description=RESEARCH_USE,
        plane_positions=[_position(source) for source in sources],
        omit_empty_frames=False,
        specific_character_set="ISO_IR 192",  # UTF-8 holds whatever the source's set held
    )
    series = source_series(result.stack, absent=sources[0].SeriesInstanceUID)
    _refer_to(segmentation, series)
    refer_to_frames(segmentation, result.stack, sources)
    return segmentation


def _refer_to(segmentation: Any, series: list[str]) -> None:
    """List the source images under their real series (Common Instance Reference, C.12.2).

    Some scanners give every slice a series of its own; a segmentation is built as if from one.
    """
    from pydicom import Dataset

    by_series: dict[str, list[Dataset]] = {}
    for uid, reference in zip(series, segmentation.SourceImageSequence, strict=True):
        by_series.setdefault(uid, []).append(reference)
    items = []
    for uid, references in by_series.items():
        item = Dataset()
        item.SeriesInstanceUID = uid
        item.ReferencedInstanceSequence = references
        items.append(item)
    segmentation.ReferencedSeriesSequence = items


def _description(result: ScarResult) -> Any:
    import highdicom as hd
    from pydicom.sr.codedict import codes

    return hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="Scar",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.ScarTissue,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=result.model.name,
            version=result.model.version,
            family=codes.DCM.ArtificialIntelligence,
        ),
        tracking_uid=hd.UID(),
        tracking_id="scarseg-infer LGE scar",
        anatomic_regions=[codes.SCT.LeftVentricleMyocardium],
    )


def _position(source: Dataset) -> Any:
    import highdicom as hd

    return hd.PlanePositionSequence(
        hd.CoordinateSystemNames.PATIENT, image_position=source.ImagePositionPatient
    )
