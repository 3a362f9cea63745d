"""One DICOM file → the few facts by which slices are sorted into stacks.

Imported only when a DICOM study is read, so that other work does not pay for pydicom.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from pydicom import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EnhancedMRColorImageStorage,
    EnhancedMRImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
    MediaStorageDirectoryStorage,
    MRImageStorage,
)

from scarseg_infer.dicom_parse import PARSE_ERRORS, damaged, number, numbers, parse, text
from scarseg_infer.slice_plane import (
    MAX_COORDINATE_MM,
    SlicePlane,
    plausible_spacing,
    unit_axes,
)
from scarseg_runtime.errors import StudyError

MAX_MATRIX: Final = 4096
"""Rows or columns beyond this are damage, not an MR slice (LGE has at most some 512)."""

_MULTI_FRAME_CLASSES: Final = (
    EnhancedMRImageStorage,
    EnhancedMRColorImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
)
_NAME_KEYWORDS: Final = ("SeriesDescription", "ProtocolName", "SequenceName")
_ACQUISITION_KEYWORDS: Final = (
    "AcquisitionTime",
    "AcquisitionNumber",
    "TemporalPositionIdentifier",
)

# Names that scanners and sites give to late enhancement series ("de_tfi_psir_sax", "MDE",
# "2D DelEnh", "viability"); the letter before must not be part of the same word.
_LGE_NAME: Final = re.compile(
    r"(?<![a-z])(lge|late(?!ral)|delay|del.?enh|de[_-]|de.?mri|mde|psmde|psir|viab|scar)", re.I
)
_LOCALISER_NAME: Final = re.compile(r"(?<![a-z])(locali[sz]er|scout|survey)", re.I)
_MAGNITUDE_NAME: Final = re.compile(r"(?<![a-z])mag(nitude)?(?![a-z])", re.I)
_PSIR_NAME: Final = re.compile(r"(?<![a-z])(psir|psmde|phase.?sens)", re.I)
_PSIR_TOKENS: Final = frozenset({"PSIR", "PS", "R", "R_IR", "CR", "REAL"})
_MAGNITUDE_TOKENS: Final = frozenset({"M", "M_IR", "M_FFE", "MAG", "MAGNITUDE"})
_PHASE_TOKENS: Final = frozenset({"P", "PHASE", "PHASE MAP", "I", "IMAGINARY"})


class FileKind(Enum):
    """What a file in the study folder turned out to be."""

    MR_SLICE = auto()
    NOT_DICOM = auto()
    DIRECTORY = auto()
    """DICOMDIR: an index of the others."""
    OTHER_OBJECT = auto()
    """DICOM, but no grey-scale MR image."""
    MULTI_FRAME = auto()
    TOO_LARGE = auto()


@dataclass(frozen=True, slots=True)
class SliceHeader:
    """What decides to which stack an MR slice belongs. Texts are "" and numbers None if absent."""

    file_index: int
    instance_uid: str
    study_uid: str
    series_uid: str
    frame_uid: str
    series_number: int | None
    patient_id: str
    patient_name: str
    image_kind: str
    """"PSIR", "magnitude", "phase" or "unknown type"."""
    lge_marked: bool
    """It has an inversion time, or a name that late enhancement series usually have."""
    localiser: bool
    inversion_time_ms: float | None
    echo_time_ms: float | None
    trigger_time_ms: float | None
    phase_count: int
    """Cardiac phases of the acquisition; 0 when not said."""
    acquisition: str
    """Time and number of the acquisition as one text, to tell repeats apart."""
    slice_thickness_mm: float | None
    plane: SlicePlane | None
    """None when the header does not place the slice in the patient."""


def read_header(data: bytes, index: int, label: str) -> tuple[FileKind, SliceHeader | None]:
    """Sort one file, and read the header when it is an MR slice.

    Args:
        data: the whole file.
        index: its number, kept in the header.
        label: what to call it in messages.

    Raises:
        StudyError: it is a DICOM file, but damaged or cut short.
    """
    if not _looks_like_dicom(data):
        return FileKind.NOT_DICOM, None
    # Inflating has no bound in pydicom, so a small file could take all memory.
    if DeflatedExplicitVRLittleEndian.encode() in data[:2048]:
        raise StudyError(
            f"{label} is compressed as a whole (Deflated Explicit VR), which is not supported",
            "Export the study uncompressed",
        )
    try:
        dataset = parse(data)
        sop_class = text(dataset.file_meta, "MediaStorageSOPClassUID") or text(
            dataset, "SOPClassUID"
        )
    except PARSE_ERRORS as error:
        raise damaged(label) from error
    if not sop_class:
        if data[128:132] == b"DICM":
            raise damaged(label)
        return FileKind.NOT_DICOM, None
    kind = _kind_of(dataset, sop_class)
    if kind is not FileKind.MR_SLICE:
        return kind, None
    if "PixelData" not in dataset:  # pydicom stops without an error where a file ends early
        raise damaged(label)
    return kind, _slice_header(dataset, index)


def _whole(dataset: Dataset, keyword: str) -> int | None:
    value = number(dataset, keyword)
    return None if value is None else int(value)


def _looks_like_dicom(data: bytes) -> bool:
    # Old exports lack the preamble and begin with an element of group 0002 or 0008.
    return data[128:132] == b"DICM" or data[:2] in (b"\x02\x00", b"\x08\x00")


def _kind_of(dataset: Dataset, sop_class: str) -> FileKind:
    if sop_class == MediaStorageDirectoryStorage:
        return FileKind.DIRECTORY
    if sop_class in _MULTI_FRAME_CLASSES:
        return FileKind.MULTI_FRAME
    if sop_class != MRImageStorage or (_whole(dataset, "SamplesPerPixel") or 1) != 1:
        return FileKind.OTHER_OBJECT
    return (
        FileKind.MULTI_FRAME
        if (number(dataset, "NumberOfFrames") or 1) > 1
        else (FileKind.MR_SLICE)
    )


def _slice_header(dataset: Dataset, index: int) -> SliceHeader:
    names = " ".join(text(dataset, key) for key in _NAME_KEYWORDS)
    tokens = text(dataset, "ImageType").upper().split("\\")[2:]
    inversion_time_ms = number(dataset, "InversionTime")
    return SliceHeader(
        file_index=index,
        instance_uid=text(dataset, "SOPInstanceUID"),
        study_uid=text(dataset, "StudyInstanceUID"),
        series_uid=text(dataset, "SeriesInstanceUID"),
        frame_uid=text(dataset, "FrameOfReferenceUID"),
        series_number=_whole(dataset, "SeriesNumber"),
        patient_id=text(dataset, "PatientID"),
        patient_name=text(dataset, "PatientName"),
        image_kind=_image_kind(tokens, names),
        # GE writes an inversion time of 0 in sequences that have no inversion.
        lge_marked=bool(inversion_time_ms or _LGE_NAME.search(names) or "PSIR" in tokens),
        localiser="LOCALIZER" in tokens or bool(_LOCALISER_NAME.search(names)),
        inversion_time_ms=inversion_time_ms,
        echo_time_ms=number(dataset, "EchoTime"),
        trigger_time_ms=number(dataset, "TriggerTime"),
        phase_count=_whole(dataset, "CardiacNumberOfImages") or 0,
        acquisition="/".join(text(dataset, key) for key in _ACQUISITION_KEYWORDS),
        slice_thickness_mm=number(dataset, "SliceThickness"),
        plane=_plane(dataset),
    )


def _image_kind(tokens: list[str], names: str) -> str:
    if _MAGNITUDE_NAME.search(names):
        return "magnitude"
    if _PSIR_NAME.search(names) or _PSIR_TOKENS.intersection(tokens):
        return "PSIR"
    if _PHASE_TOKENS.intersection(tokens):
        return "phase"
    return "magnitude" if _MAGNITUDE_TOKENS.intersection(tokens) else "unknown type"


def _plane(dataset: Dataset) -> SlicePlane | None:
    rows, columns = _whole(dataset, "Rows"), _whole(dataset, "Columns")
    spacing = numbers(dataset, "PixelSpacing", 2)
    origin = numbers(dataset, "ImagePositionPatient", 3)
    orientation = numbers(dataset, "ImageOrientationPatient", 6)
    if not (rows and columns and spacing and origin and orientation):
        return None
    axes = unit_axes(orientation[:3], orientation[3:])
    if axes is None or not (1 <= rows <= MAX_MATRIX and 1 <= columns <= MAX_MATRIX):
        return None
    if not plausible_spacing(spacing) or max(map(abs, origin)) > MAX_COORDINATE_MM:
        return None
    return SlicePlane(
        rows=rows,
        columns=columns,
        pixel_spacing_mm=(spacing[0], spacing[1]),
        origin_mm=(origin[0], origin[1], origin[2]),
        row_direction=(float(axes[0][0]), float(axes[0][1]), float(axes[0][2])),
        column_direction=(float(axes[1][0]), float(axes[1][1]), float(axes[1][2])),
    )
