"""The report of a result as a file: plain PDF, or PDF inside a DICOM object."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from scarseg_infer.host.quiet import quiet_readers
from scarseg_infer.write.dicom.codes import REPORT, code_item
from scarseg_infer.write.report.pdf import TITLE, report_pdf

if TYPE_CHECKING:
    from scarseg_infer.result import ScarResult

SERIES_NUMBER: Final = 9003
SOP_CLASS_UID: Final = "1.2.840.10008.5.1.4.1.1.104.1"
"""Encapsulated PDF Storage."""


def write_plain_pdf(result: ScarResult, path: Path) -> None:
    """Write ``report_pdf`` as ``path``, for any kind of study."""
    path.write_bytes(report_pdf(result))


def write_pdf(result: ScarResult, path: Path) -> None:
    """Write the report as a DICOM object in the study of the source images (PS3.3, A.45.1).

    Patient and study stand in the header only: the PDF itself names nobody.

    Raises:
        StudyError: the study is not DICOM, or its images have no UIDs to refer to.
        OSError: ``path`` cannot be written.
    """
    from scarseg_infer.write.dicom.object import new_object, save
    from scarseg_infer.write.dicom.sources import instances, source_images

    with quiet_readers():
        images = source_images(result.stack)
        pdf = report_pdf(result)
        found = new_object(
            result,
            sop_class_uid=SOP_CLASS_UID,
            modality="DOC",
            number=SERIES_NUMBER,
            description="LGE scar report (research use only)",
        )
        found.ConversionType = "WSD"  # made on a workstation
        found.AcquisitionDateTime = ""
        found.BurnedInAnnotation = "NO"
        found.DocumentTitle = TITLE
        found.ConceptNameCodeSequence = [code_item(REPORT)]
        found.SourceInstanceSequence = [image.instance() for image in instances(images)]
        found.MIMETypeOfEncapsulatedDocument = "application/pdf"
        found.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
        found.EncapsulatedDocumentLength = len(pdf)
        save(found, path)
