"""One DICOM file → the few facts by which slices are sorted into stacks.

Imported only when a DICOM study is read, so that other work does not pay for pydicom.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Final

from pydicom import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import (
    MediaStorageDirectoryStorage,
    MRImageStorage,
    SegmentationStorage,
)

from scarseg_infer.study.dicom.charset import settle_character_set
from scarseg_infer.study.dicom.frames import ENHANCED_CLASSES, frame_headers
from scarseg_infer.study.dicom.parse import (
    PARSE_ERRORS,
    DeflatedError,
    TooManyPartsError,
    damaged,
    number,
    numbers,
    parse,
    photometric,
    salvage,
    sop_class_of,
    text,
)
from scarseg_infer.study.dicom.rules import fold, series_rules
from scarseg_infer.study.dicom.samples import GREY
from scarseg_infer.study.dicom.time import moment_of
from scarseg_infer.study.geometry.slice_plane import (
    MAX_COORDINATE_MM,
    SlicePlane,
    plausible_spacing,
    unit_axes,
)
from scarseg_infer.study.stack import ImageKind
from scarseg_runtime.errors import StudyError

MR_CLASSES: Final = (MRImageStorage, *ENHANCED_CLASSES)
"""SOP classes of the images that are read."""
_NAME_KEYWORDS: Final = ("SeriesDescription", "ProtocolName", "SequenceName", "PulseSequenceName")
_ACQUISITION_KEYWORDS: Final = (
    "AcquisitionTime",
    "AcquisitionDateTime",
    "AcquisitionNumber",
    "TemporalPositionIdentifier",
)
_HOW_MADE: Final = {"", "ORIGINAL", "DERIVED", "MIXED", "PRIMARY", "SECONDARY"}
MAX_MATRIX: Final = 4096
"""Rows or columns beyond this are damage, not an MR slice (LGE has at most some 512)."""
_COUNTS: Final = {"PixelSpacing": 2, "ImagePositionPatient": 3, "ImageOrientationPatient": 6}
PLANE_KEYWORDS: Final = ("Rows", "Columns", *_COUNTS)


_ARCHIVES: Final = (b"PK\3\4", b"PK\5\6", b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07")
"""First bytes of zip, 7z and rar."""
_MOSAIC: Final = "MOSAIC"
_REAL_PIXELS: Final = ("FloatPixelData", "DoubleFloatPixelData")


class FileKind(Enum):
    """Kind of a file in the study folder."""

    MR_SLICE = auto()
    NOT_DICOM = auto()
    ARCHIVE = auto()
    """Files packed into one: zip, 7z, rar or tar."""
    DIRECTORY = auto()
    """DICOMDIR: an index of the others."""
    OTHER_OBJECT = auto()
    """DICOM, but no MR image."""
    SEGMENTATION = auto()
    """DICOM SEG: where somebody or a program found what in images."""
    COLOURS = auto()
    """An MR image, but not in shades of grey."""
    MULTI_FRAME = auto()
    """Several images in one object, without saying of each where it lies."""
    TOO_LARGE = auto()


@dataclass(frozen=True, slots=True)
class BrokenFile:
    """A DICOM file that cannot be used, and what is known of it all the same."""

    error: StudyError
    """Error where it is, or may be, a slice of the stack that is read."""
    sop_class: str
    series_uid: str
    plane: SlicePlane | None
    empty: bool
    """Nothing follows the preamble."""

    @property
    def is_mr(self) -> bool:
        """True where it is an MR image, or may be one."""
        return not self.empty and (not self.sop_class or self.sop_class in MR_CLASSES)


@dataclass(frozen=True, slots=True)
class SliceHeader:
    """Facts that decide on the stack of an MR slice. Texts are "" and numbers None if absent."""

    file_index: int
    frame: int | None
    """Number of the frame in an enhanced (multi-frame) object, from 1; None in a classic one."""
    instance_uid: str
    study_uid: str
    series_uid: str
    frame_uid: str
    series_number: int | None
    patient_id: str
    patient_name: str
    image_kind: ImageKind
    named_kind: ImageKind
    """Kind by its names alone; the scanner's codes come first."""
    description: str
    """SeriesDescription as it stands: may hold anything that staff typed, also a name."""
    names: str
    """Description, protocol and sequence name, folded for comparison with the rules."""
    tokens: tuple[str, ...]
    """ImageType from the third value on, upper case."""
    contrast_agent: bool
    acquired: datetime | None
    """Time at which it was taken; None unless a date and a time of day are known."""
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
    unplaced: str
    """Reason that it does not, with the attribute; else ""."""
    pixel_digest: int | None
    """Alike for images whose stored pixels, those of all frames, are alike; None does not count."""


def read_headers(data: bytes, index: int, label: str) -> tuple[FileKind, list[SliceHeader]]:
    """Sort one file, and read its header, or those of its frames, when it holds MR slices.

    Args:
        data: the whole file.
        index: its number, kept in the header.
        label: what to call it in messages.

    Raises:
        StudyError: it is a DICOM file, but damaged or cut short.
    """
    if not looks_like_dicom(data):
        return FileKind.ARCHIVE if _is_packed(data) else FileKind.NOT_DICOM, []
    try:
        dataset = parse(data)
        sop_class = text(dataset.file_meta, "MediaStorageSOPClassUID") or text(
            dataset, "SOPClassUID"
        )
        settle_character_set(dataset)
    except DeflatedError as error:
        if (sop_class_of(data) or MRImageStorage) not in MR_CLASSES:
            return FileKind.OTHER_OBJECT, []
        raise StudyError(
            f"{label} is compressed as a whole (Deflated Explicit VR), which is not supported",
            "Export the study uncompressed",
        ) from error
    except TooManyPartsError:
        return FileKind.TOO_LARGE, []
    except PARSE_ERRORS as error:
        raise damaged(label) from error
    if not sop_class:
        if data[128:132] == b"DICM":
            raise damaged(label)
        return FileKind.NOT_DICOM, []
    kind = _kind_of(dataset, sop_class)
    if kind is not FileKind.MR_SLICE:
        return kind, []
    if real := [name for name in _REAL_PIXELS if name in dataset]:
        raise StudyError(
            f"{label} holds its pixels as {real[0]}, which is not supported",
            "Export the original images of the scanner, whose pixels are whole numbers",
        )
    if "PixelData" not in dataset:  # pydicom stops without an error where a file ends early
        raise StudyError(
            f"{label} has no PixelData, or is cut short", "Export or copy the study again"
        )
    digest = zlib.crc32(dataset.get_item("PixelData").value)
    if sop_class in ENHANCED_CLASSES:
        try:
            frames = enumerate(frame_headers(dataset, label), start=1)
        except TooManyPartsError:
            return FileKind.TOO_LARGE, []
        return kind, [_slice_header(header, index, number, digest) for number, header in frames]
    return kind, [_slice_header(dataset, index, None, digest)]


def broken_file(data: bytes, error: StudyError) -> BrokenFile:
    """Facts about a file for which :func:`read_headers` raised ``error``."""
    found = salvage(data, ("SOPClassUID", "SeriesInstanceUID", *PLANE_KEYWORDS))
    return BrokenFile(
        error=error,
        sop_class=sop_class_of(data) or text(found, "SOPClassUID"),
        series_uid=text(found, "SeriesInstanceUID"),
        plane=plane_in(found)[0],
        empty=not data[132:].strip(b"\0"),
    )


def _whole(dataset: Dataset, keyword: str) -> int | None:
    value = number(dataset, keyword)
    return None if value is None else int(value)


def looks_like_dicom(data: bytes) -> bool:
    """True where a file begins as DICOM does."""
    # Old exports lack the preamble and begin with an element of group 0002 or 0008.
    return data[128:132] == b"DICM" or data[:2] in (b"\x02\x00", b"\x08\x00")


def _is_packed(data: bytes) -> bool:
    return data.startswith(_ARCHIVES) or data[257:262] == b"ustar"


def _kind_of(dataset: Dataset, sop_class: str) -> FileKind:
    if sop_class == MediaStorageDirectoryStorage:
        return FileKind.DIRECTORY
    colours = (_whole(dataset, "SamplesPerPixel") or 1) != 1
    # Of several samples, or a table of colours.
    colours |= photometric(dataset) not in ("", *GREY)
    if colours:
        is_mr = sop_class in (MRImageStorage, *ENHANCED_CLASSES)
        return FileKind.COLOURS if is_mr else FileKind.OTHER_OBJECT
    if sop_class in ENHANCED_CLASSES:
        return FileKind.MR_SLICE
    if sop_class == SegmentationStorage:
        return FileKind.SEGMENTATION
    if sop_class != MRImageStorage:
        return FileKind.OTHER_OBJECT
    # A vendor lays all slices of a volume beside each other in one image.
    several = (number(dataset, "NumberOfFrames") or 1) > 1 or _MOSAIC in _tokens(dataset)
    return FileKind.MULTI_FRAME if several else FileKind.MR_SLICE


def _slice_header(
    dataset: Dataset, index: int, frame: int | None, pixel_digest: int
) -> SliceHeader:
    names = fold(" ".join(text(dataset, key) for key in _NAME_KEYWORDS))
    tokens = _tokens(dataset)
    plane, fault = plane_in(dataset)
    return SliceHeader(
        file_index=index,
        frame=frame,
        instance_uid=text(dataset, "SOPInstanceUID"),
        study_uid=text(dataset, "StudyInstanceUID"),
        series_uid=text(dataset, "SeriesInstanceUID"),
        frame_uid=text(dataset, "FrameOfReferenceUID"),
        series_number=_whole(dataset, "SeriesNumber"),
        patient_id=text(dataset, "PatientID"),
        patient_name=text(dataset, "PatientName"),
        image_kind=series_rules().kind_of(names, tokens),
        named_kind=series_rules().named_kind(names),
        description=text(dataset, "SeriesDescription"),
        names=names,
        tokens=tokens,
        contrast_agent=_contrast_agent(dataset),
        acquired=moment_of(dataset),
        inversion_time_ms=number(dataset, "InversionTime"),
        echo_time_ms=number(dataset, "EchoTime"),
        trigger_time_ms=number(dataset, "TriggerTime"),
        phase_count=_whole(dataset, "CardiacNumberOfImages") or 0,
        acquisition="/".join(text(dataset, key) for key in _ACQUISITION_KEYWORDS),
        slice_thickness_mm=number(dataset, "SliceThickness"),
        plane=plane,
        unplaced=fault,
        pixel_digest=pixel_digest,
    )


def _tokens(dataset: Dataset) -> tuple[str, ...]:
    """Words for the kind of image: ImageType but for what says how it was made, usually its first
    two values, and what an enhanced image says of its complex numbers (PS3.3 C.8.13.3.1)."""
    values = text(dataset, "ImageType").upper().split("\\")
    tokens = [value for i, value in enumerate(values) if i >= 2 or value not in _HOW_MADE]
    return (*tokens, *text(dataset, "ComplexImageComponent").upper().split())


def _contrast_agent(dataset: Dataset) -> bool:
    agent = fold(text(dataset, "ContrastBolusAgent")).strip()
    return agent not in series_rules().no_agent or "ContrastBolusAgentSequence" in dataset


def plane_in(dataset: Dataset) -> tuple[SlicePlane | None, str]:
    """The plane of an image and "", or None and what is wrong with which attribute."""
    sizes = []
    for keyword in ("Rows", "Columns"):
        size = number(dataset, keyword)
        if size is None or not 1 <= size <= MAX_MATRIX:
            return None, _fault(dataset, keyword, "is no plausible number")
        sizes.append(int(size))
    found = {}
    for keyword, count in _COUNTS.items():
        values = numbers(dataset, keyword, count)
        if values is None:
            return None, _fault(dataset, keyword, f"is not {count} numbers")
        found[keyword] = values
    spacing, origin, orientation = found.values()
    axes = unit_axes(orientation[:3], orientation[3:])
    if axes is None:
        return None, "ImageOrientationPatient is not two orthogonal unit vectors"
    if not plausible_spacing(spacing):
        return None, "PixelSpacing is not two plausible distances in mm"
    if max(map(abs, origin)) > MAX_COORDINATE_MM:
        return None, "ImagePositionPatient is not plausible in mm"
    plane = SlicePlane(
        rows=sizes[0],
        columns=sizes[1],
        pixel_spacing_mm=(spacing[0], spacing[1]),
        origin_mm=(origin[0], origin[1], origin[2]),
        row_direction=(float(axes[0][0]), float(axes[0][1]), float(axes[0][2])),
        column_direction=(float(axes[1][0]), float(axes[1][1]), float(axes[1][2])),
    )
    return plane, ""


def _fault(dataset: Dataset, keyword: str, what: str) -> str:
    try:
        if keyword not in dataset or not dataset.get_item(keyword).value:
            return f"{keyword} is missing"
        raw = dataset.get_item(keyword).value
    except PARSE_ERRORS:
        return f"{keyword} {what}"
    parts = raw if isinstance(raw, MultiValue) else [raw]
    comma = any("," in str(part) for part in parts)
    return f"{keyword} {what}{' (it has decimal commas)' if comma else ''}"
