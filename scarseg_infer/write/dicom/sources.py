"""Attributes that the DICOM objects we write take over from the source images.

Exported and anonymised images lack attributes that the standard makes mandatory, carry dates
that are not dates, or have a series for every slice. None of that stands in the way of a
segmentation or report: what identifies patient and study is copied as far as it is valid,
everything else is left behind.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import generate_uid
from pydicom.valuerep import DA, TM, DSfloat

from scarseg_infer.study.dicom.charset import TEXT_VRS, is_byte_by_byte
from scarseg_infer.study.dicom.header import plane_in
from scarseg_infer.study.dicom.parse import text
from scarseg_infer.study.geometry.slice_plane import PARALLEL_TOLERANCE_DEG, Vector
from scarseg_infer.study.stack import LgeStack
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
)
_SIGNS: Final = {
    "°": " deg",
    "×": "x",
    "–": "-",
    "Δ": "delta ",
    "±": "+-",
    "≥": ">=",
    "≤": "<=",
    "…": "...",
}
Place = tuple[Vector, tuple[float, ...]]
"""Centre of the first voxel of a slice (mm), and the six cosines of ImageOrientationPatient."""
_SEXES: Final = frozenset({"M", "F", "O"})  # PS3.3 C.7.1.1.1


@dataclass(frozen=True, slots=True)
class SourceImage:
    """Reference to the image of one slice."""

    sop_class_uid: str
    sop_instance_uid: str
    series_uid: str
    frame: int | None = None
    """Number of the slice among the frames of its object, from 1; None where the object has a
    single one."""

    def reference(self) -> Dataset:
        """A new item that refers to this slice (PS3.3, 10.3)."""
        item = self.instance()
        if self.frame is not None:
            item.ReferencedFrameNumber = self.frame
        return item

    def instance(self) -> Dataset:
        """A new item that refers to the whole object (PS3.3, 10.8)."""
        item = Dataset()
        item.ReferencedSOPClassUID = self.sop_class_uid
        item.ReferencedSOPInstanceUID = self.sop_instance_uid
        return item


def is_undeclared(stack: LgeStack) -> bool:
    """True where the source has texts beyond ASCII without a character set: bytes, one a letter."""
    first = stack.datasets[0]
    copied = "".join(text(first, keyword) for keyword in (*_COPIED, *_COPIED_IF_PRESENT))
    return is_byte_by_byte(first) and (not copied.isascii() or "\x1b" in copied)


def in_ascii(found: Dataset) -> None:
    """Rewrite, in place, texts that are not the source's, in an object without a character set."""
    for element in found:
        if element.VR == "SQ":
            for item in element.value:
                in_ascii(item)
        elif element.VR in TEXT_VRS and element.keyword not in (*_COPIED, *_COPIED_IF_PRESENT):
            values = element.value if isinstance(element.value, MultiValue) else [element.value]
            plain = [_ascii(str(value)) for value in values]
            element.value = plain if isinstance(element.value, MultiValue) else plain[0]


def _ascii(value: str) -> str:
    for sign, name in _SIGNS.items():
        value = value.replace(sign, name)
    decomposed = unicodedata.normalize("NFKD", value)
    return decomposed.encode("ascii", "replace").decode("ascii")


def patient_and_study(stack: LgeStack) -> Dataset:
    """Attributes that file an object under the patient and study of the source images."""
    first = stack.datasets[0]
    found = Dataset()
    for keyword in _COPIED:
        setattr(found, keyword, _valid_text(first, keyword))
    for keyword in _COPIED_IF_PRESENT:
        if value := text(first, keyword):
            setattr(found, keyword, value)
    found.StudyInstanceUID = _uid(stack, "StudyInstanceUID")
    return found


def lossy_compression(stack: LgeStack) -> Dataset:
    """Lossy compression of the source images, as an image's attributes."""
    found, first = Dataset(), stack.datasets[0]
    found.LossyImageCompression = "00"
    if text(first, "LossyImageCompression") == "01":
        found.LossyImageCompression = "01"
        for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
            if value := text(first, keyword):
                setattr(found, keyword, value)
    return found


def frame_of_reference_uid(stack: LgeStack) -> str:
    """Frame of Reference UID of the stack; one made for it where the source has none."""
    return _uid(stack, "FrameOfReferenceUID")


def source_images(stack: LgeStack) -> list[SourceImage]:
    """References to each slice's image, in slice order.

    Raises:
        StudyError: there are no DICOM images, or they have no SOP Instance UID.
    """
    if not stack.datasets:
        raise StudyError(
            "the study has no DICOM images for a DICOM result to refer to",
            "Ask for the other outputs, or read the study from its DICOM files",
        )
    nameless = _made("SeriesInstanceUID", _instance_uid(stack.datasets[0], "SOPInstanceUID"))
    frames = stack.frame_numbers or (None,) * len(stack.datasets)
    return [
        SourceImage(
            sop_class_uid=_instance_uid(dataset, "SOPClassUID"),
            sop_instance_uid=_instance_uid(dataset, "SOPInstanceUID"),
            series_uid=text(dataset, "SeriesInstanceUID") or nameless,
            frame=frame,
        )
        for dataset, frame in zip(stack.datasets, frames, strict=True)
    ]


def instances(images: Iterable[SourceImage]) -> list[SourceImage]:
    """One for each object, in order: frames of one object are given together."""
    return list({image.sop_instance_uid: image for image in reversed(list(images))}.values())[::-1]


def by_series(
    images: Iterable[SourceImage], keyword: str = "ReferencedInstanceSequence"
) -> list[Dataset]:
    """Items of a Referenced Series Sequence (Common Instance Reference, PS3.3 C.12.2).

    Some scanners give every slice a series of its own.

    Args:
        keyword: of the sequence of references in each; reports name it otherwise (C.17.2.1).
    """
    grouped: dict[str, list[Dataset]] = {}
    for image in instances(images):
        grouped.setdefault(image.series_uid, []).append(image.instance())
    items = []
    for uid, references in grouped.items():
        item = Dataset()
        item.SeriesInstanceUID = uid
        setattr(item, keyword, references)
        items.append(item)
    return items


def decimal(value: float) -> DSfloat:
    """A number as a decimal string of at most 16 characters (PS3.5, 6.2)."""
    return DSfloat(float(value), auto_format=True)


def slice_places(stack: LgeStack) -> list[Place]:
    """Place of each slice: where its own image begins, on the axes of the stack, or on its own
    where it leans against the others."""
    down, right = _vector(stack.column_direction), _vector(stack.row_direction)
    found: list[Place] = [(_vector(origin), (*right, *down)) for origin in stack.origins_mm]
    for index, dataset in enumerate(stack.datasets):
        own, _ = plane_in(dataset)
        if own is None:
            continue
        usual = replace(own, row_direction=right, column_direction=down)
        tilted = own.tilt_deg(usual) > PARALLEL_TOLERANCE_DEG
        axes = (*own.row_direction, *own.column_direction) if tilted else (*right, *down)
        found[index] = own.origin_mm, axes
    return found


def _vector(values: NDArray[np.float64]) -> Vector:
    x, y, z = map(float, values)
    return x, y, z


def _uid(stack: LgeStack, keyword: str) -> str:
    first = stack.datasets[0]
    return text(first, keyword) or _made(keyword, source_images(stack)[0].sop_instance_uid)


def _made(keyword: str, instance_uid: str) -> str:
    """A UID in place of a missing one: the same in every object made from these images."""
    return str(generate_uid(entropy_srcs=[instance_uid, keyword]))


def _instance_uid(dataset: Dataset, keyword: str) -> str:
    meta = getattr(dataset, "file_meta", Dataset())
    uid = text(dataset, keyword) or text(meta, f"MediaStorage{keyword}")
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
