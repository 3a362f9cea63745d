"""Enhanced (multi-frame) MR objects made of classic series, for tests.

:func:`enhanced` writes the functional groups of PS3.3 A.36 by itself; :func:`legacy` leaves it
to highdicom, whose code knows nothing of ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, generate_uid

_FROM_CLASSIC = (
    "PatientName", "PatientID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID",
    "StudyDate", "StudyTime", "SeriesNumber", "SeriesDescription", "ProtocolName", "Modality",
    "SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns", "BitsAllocated",
    "BitsStored", "HighBit", "PixelRepresentation", "PatientBirthDate", "PatientSex",
    "AccessionNumber", "StudyID", "ReferringPhysicianName", "PixelPaddingValue",
)  # fmt: skip


def enhanced(classic: Sequence[Dataset], *, shared: bool = True, **elements: Any) -> FileDataset:
    """One Enhanced MR object with the slices of a classic series as frames, in their order.

    Args:
        classic: uncompressed slices of one grid.
        shared: whether what is the same for all frames stands in the shared groups, or again
            in those of every frame.
        elements: values of the object itself; None leaves one out.
    """
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    found = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    found.SOPClassUID = meta.MediaStorageSOPClassUID
    found.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    for keyword in _FROM_CLASSIC:
        if keyword in classic[0]:
            setattr(found, keyword, classic[0][keyword].value)
    found.ImageType = [*classic[0].ImageType[:2], "CARDIAC", "NONE"]
    found.NumberOfFrames = len(classic)
    found.PixelData = b"".join(image.PixelData for image in classic)
    found["PixelData"].VR = classic[0]["PixelData"].VR
    common = _common_groups(classic[0])
    groups = [_frame_groups(number, image) for number, image in enumerate(classic, start=1)]
    if not shared:
        for group, image in zip(groups, classic, strict=True):
            group.update(_common_groups(image))
    found.SharedFunctionalGroupsSequence = [common if shared else Dataset()]
    found.PerFrameFunctionalGroupsSequence = groups
    for keyword, value in elements.items():
        if value is None:
            delattr(found, keyword)
        else:
            setattr(found, keyword, value)
    return found


def legacy(classic: Sequence[Dataset]) -> FileDataset:
    """The same as a Legacy Converted Enhanced MR object, made by highdicom."""
    import highdicom as hd

    return hd.legacy.LegacyConvertedEnhancedMRImage(
        legacy_datasets=list(classic),
        series_instance_uid=classic[0].SeriesInstanceUID,
        series_number=int(classic[0].SeriesNumber),
        sop_instance_uid=generate_uid(),
        instance_number=1,
    )


def _common_groups(image: Dataset) -> Dataset:
    found = Dataset()
    found.PlaneOrientationSequence = [_item(ImageOrientationPatient=image.ImageOrientationPatient)]
    measures = _item(PixelSpacing=image.PixelSpacing)
    if "SliceThickness" in image:
        measures.SliceThickness = image.SliceThickness
    found.PixelMeasuresSequence = [measures]
    kind = list(image.ImageType)
    component = "REAL" if "PSIR" in kind else "MAGNITUDE"
    found.MRImageFrameTypeSequence = [
        _item(FrameType=[*kind[:2], "CARDIAC", "NONE"], ComplexImageComponent=component)
    ]
    if "InversionTime" in image:
        found.MRModifierSequence = [
            _item(InversionRecovery="YES", InversionTimes=[float(image.InversionTime)])
        ]
    return found


def _frame_groups(number: int, image: Dataset) -> Dataset:
    found = Dataset()
    content = _item(DimensionIndexValues=[1, number], StackID="1", InStackPositionNumber=number)
    if "AcquisitionDate" in image:
        content.FrameAcquisitionDateTime = f"{image.AcquisitionDate}{image.AcquisitionTime}"
    found.FrameContentSequence = [content]
    found.PlanePositionSequence = [_item(ImagePositionPatient=image.ImagePositionPatient)]
    found.PixelValueTransformationSequence = [
        _item(
            RescaleIntercept=image.get("RescaleIntercept", 0),
            RescaleSlope=image.get("RescaleSlope", 1),
            RescaleType="US",
        )
    ]
    if "EchoTime" in image:
        found.MREchoSequence = [_item(EffectiveEchoTime=float(image.EchoTime))]
    if "TriggerTime" in image:
        found.CardiacSynchronizationSequence = [
            _item(NominalCardiacTriggerDelayTime=float(image.TriggerTime))
        ]
    return found


def _item(**elements: Any) -> Dataset:
    found = Dataset()
    for keyword, value in elements.items():
        setattr(found, keyword, value)
    return found


def stored(classic: Sequence[Dataset]) -> np.ndarray:
    """[S, H, W] pixel values of a classic series after rescale."""
    return np.stack(
        [
            image.pixel_array * float(image.get("RescaleSlope", 1))
            + float(image.get("RescaleIntercept", 0))
            for image in classic
        ]
    )
