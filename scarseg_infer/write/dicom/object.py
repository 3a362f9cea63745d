"""The common part of every DICOM object that we write: patient, study, series, equipment.

Objects are built with pydicom alone. highdicom would build them too, but loads tables of the
whole standard (22 MB of JSON) for it, which costs a cold start 0.40 to 0.45 s; the tests read our
objects back with it.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydicom import Dataset, FileDataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

from scarseg_infer.host.quiet import quiet_readers
from scarseg_infer.study.dicom.charset import UTF_8
from scarseg_infer.write.dicom.codes import PROCESSING_EQUIPMENT, code_item
from scarseg_infer.write.dicom.device import MANUFACTURER, SERIAL_DIGITS, device_uid
from scarseg_infer.write.dicom.sources import in_ascii, is_undeclared, patient_and_study
from scarseg_infer.write.words import RESEARCH_USE
from scarseg_runtime.version import __version__

if TYPE_CHECKING:
    from scarseg_infer.result import ModelUse, ScarResult

_LONG_STRING: Final = 64  # characters in a value of type LO (PS3.5, 6.2)


def new_object(
    result: ScarResult, *, sop_class_uid: str, modality: str, number: int, description: str
) -> FileDataset:
    """An object in a series of its own within the study of the source images.

    Args:
        number: of the series.
        description: of the series; at most 64 characters.

    Raises:
        StudyError: the source images cannot be referred to.
    """
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(sop_class_uid)
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    found = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    if not is_undeclared(result.stack):
        found.SpecificCharacterSet = UTF_8  # holds whatever the source's set held
    found.update(patient_and_study(result.stack))
    now = datetime.now()
    # Of the series too: lists of series tell results of one study apart by nothing else.
    for event in ("InstanceCreation", "Series", "Content"):
        setattr(found, f"{event}Date", now.strftime("%Y%m%d"))
        setattr(found, f"{event}Time", now.strftime("%H%M%S"))
    found.SOPClassUID = meta.MediaStorageSOPClassUID
    found.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    found.Modality = modality
    found.SeriesInstanceUID = generate_uid()
    found.SeriesNumber = number
    found.SeriesDescription = description
    found.InstanceNumber = 1
    found.Manufacturer = MANUFACTURER
    found.ManufacturerModelName = result.model.name[:_LONG_STRING]
    found.DeviceSerialNumber = result.model.sha256[:SERIAL_DIGITS]
    found.SoftwareVersions = __version__
    found.ContributingEquipmentSequence = [_algorithm(result.model)]
    return found


def _algorithm(model: ModelUse) -> Dataset:
    """The model as equipment that contributed (PS3.3, C.12.1; IHE AI Results, 6.5.3.1)."""
    found = Dataset()
    found.PurposeOfReferenceCodeSequence = [code_item(PROCESSING_EQUIPMENT)]
    found.Manufacturer = MANUFACTURER
    found.ManufacturerModelName = model.name[:_LONG_STRING]
    found.DeviceSerialNumber = model.sha256[:SERIAL_DIGITS]
    found.SoftwareVersions = model.version[:_LONG_STRING]
    found.DeviceUID = device_uid(model.sha256)
    found.ContributionDescription = RESEARCH_USE
    return found


def save(found: FileDataset, path: Path) -> None:
    """Write an object as a DICOM file."""
    # pydicom quotes header values in its warnings.
    with quiet_readers():
        if "SpecificCharacterSet" not in found:
            in_ascii(found)
        found.save_as(path, enforce_file_format=True)
