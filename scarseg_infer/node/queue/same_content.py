"""Is an object the one that is here already, though its bytes differ?"""

from __future__ import annotations

from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from scarseg_infer.study.dicom.parse import PARSE_ERRORS, parse


def same_content(first: bytes, second: bytes) -> bool:
    """Do two DICOM files hold the same elements, one perhaps in another transfer syntax?

    An archive may keep and send an object with implicit VR that a scanner sent with explicit VR.
    Both are little endian; others, and compressed pixels, are not compared.
    """
    try:
        return _plain(first) == _plain(second)
    except PARSE_ERRORS:
        return False


def _plain(file: bytes) -> bytes:
    """With implicit VR and sequences of known length: values as they came, without their VR."""
    dataset = parse(file)
    if dataset.file_meta.TransferSyntaxUID not in (ImplicitVRLittleEndian, ExplicitVRLittleEndian):
        raise ValueError("not compared")
    _with_lengths(dataset)
    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, True
    write_dataset(stream, dataset)
    return bytes(stream.getvalue())


def _with_lengths(dataset: Dataset) -> None:
    for element in dataset:
        if element.tag.element == 0:  # lengths of groups
            del dataset[element.tag]
        elif element.VR == "SQ":
            element.is_undefined_length = False
            for item in element.value:
                item.is_undefined_length_sequence_item = False
                _with_lengths(item)
