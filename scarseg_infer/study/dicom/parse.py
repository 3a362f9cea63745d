"""Parsing DICOM without trusting it: damaged files and odd values end in few, known ways.

Imported only when a DICOM study is read, so that other work does not pay for pydicom.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Collection
from io import BytesIO
from typing import Any, Final

from pydicom import DataElement, Dataset, FileDataset, dcmread
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import data_element_generator, read_dataset, read_sequence
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian
from pydicom.valuerep import VR

from scarseg_runtime.errors import StudyError

# What pydicom raises on damaged or odd files while parsing, converting or decoding
# (RuntimeError: NotImplementedError, RecursionError of nested sequences, failed decoders).
PARSE_ERRORS: Final = (
    InvalidDicomError,
    BytesLengthException,
    EOFError,
    OSError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
    struct.error,
)

_META_START: Final = 132
"""Behind preamble and DICM (PS3.10, 7.1)."""
_META_GROUP: Final = 0x0002
_TRANSFER_SYNTAX: Final = 0x00020010
_DEFLATED: Final = DeflatedExplicitVRLittleEndian.encode()
_SOP_CLASS: Final = 0x00020002
_MOST_META: Final = 1 << 16
_MOST_HEAD: Final = 1 << 20
"""Of a file that is compressed as a whole: what its beginning may inflate to."""
_UNDEFINED: Final = 0xFFFFFFFF
_VRS: Final = frozenset(str(vr) for vr in VR)


MAX_ITEMS: Final = 50_000
"""Of all sequences in a file, 30 µs each; an enhanced object has some 20 for each frame."""
MAX_PARTS: Final = 1_500_000
"""Reads of a file, 5 s and 350 MB at worst: one to three for each element and item of undefined
length. A slice takes some hundred, 2000 frames with much in each some 900 000."""
_ITEM_TAGS: Final = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")


class TooManyPartsError(ValueError):
    """The file has more elements, items or frames than any LGE, and would take all time."""


class DeflatedError(ValueError):
    """The file is compressed as a whole, which is not supported: inflating has no bound in
    pydicom, so a small file could take all memory."""


def parse(data: bytes, only: Collection[str] | None = None) -> FileDataset:
    """Parse a DICOM file, with or without preamble; raises one of ``PARSE_ERRORS``.

    A file that ends early gives a dataset that does too. Values are converted on access only.

    Args:
        only: keywords of what is wanted of its header; None for all, with the pixels.

    Raises:
        DeflatedError, TooManyPartsError: ``PARSE_ERRORS`` of their own.
    """
    _check_items(data)
    _check_meta(data)
    tags: Any = None if only is None else list(only)
    dataset = dcmread(
        _Counted(data), force=True, stop_before_pixels=only is not None, specific_tags=tags
    )
    drop_misplaced_sequences(dataset)
    return dataset


def parse_bare(data: bytes, syntax: UID) -> Dataset:
    """Parse a dataset as messages carry it, without preamble and meta information.

    Args:
        syntax: transfer syntax; not the deflated one.

    Raises:
        One of ``PARSE_ERRORS``.
    """
    _check_items(data)
    dataset = read_dataset(_Counted(data), syntax.is_implicit_VR, syntax.is_little_endian)
    drop_misplaced_sequences(dataset)
    return dataset


def _check_items(data: bytes) -> None:
    if sum(data.count(tag) for tag in _ITEM_TAGS) > MAX_ITEMS:
        raise TooManyPartsError("more items than any LGE")


class _Counted(BytesIO):
    """Bounds how often it is read: pydicom does so once to three times for every element and item,
    but takes a sequence of known length as a whole."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._left = MAX_PARTS

    def read(self, size: int | None = -1, /) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise TooManyPartsError("more elements than any LGE")
        return super().read(size)


def items(dataset: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence; none where it is absent.

    A sequence whose length is known is kept as bytes by pydicom up to here. Raises one of
    ``PARSE_ERRORS``.
    """
    tag = Tag(keyword)
    raw: Any = dataset.get_item(tag) if tag in dataset else None
    if isinstance(raw, RawDataElement) and raw.value and raw.VR in (None, "SQ"):
        found = read_sequence(
            _Counted(raw.value),
            raw.is_implicit_VR,
            raw.is_little_endian,
            len(raw.value),
            dataset.original_character_set,
        )
        dataset[tag] = DataElement(tag, "SQ", found)
    return list(dataset.get(keyword) or ())


def drop_misplaced_sequences(dataset: Dataset) -> None:
    """Remove, in place, sequences where the dictionary knows a value; not those inside of others.

    Where pydicom does not like a value it says so with all of it, and a damaged sequence doubles
    such a text with each level of nesting.
    """
    for tag in list(dataset.keys()):
        misplaced = dataset.get_item(tag).VR == "SQ" and dictionary_has_tag(tag)
        if misplaced and dictionary_VR(tag) != "SQ":
            del dataset[tag]


def _check_meta(data: bytes) -> None:
    """Refuse what may take all memory while pydicom reads the meta information (PS3.10, 7.1).

    As :func:`drop_misplaced_sequences`, but here pydicom makes the text before it returns: 1.4 kB
    are enough. The standard knows no sequence here at all.
    """
    stream = _Counted(data)
    stream.seek(_META_START if data[_META_START - 4 : _META_START] == b"DICM" else 0)
    for element in data_element_generator(stream, False, True, stop_when=_meta_is_over):
        if element.tag == _TRANSFER_SYNTAX and _DEFLATED in (element.value or b""):
            raise DeflatedError("compressed as a whole")


def sop_class_of(data: bytes) -> str:
    """The SOP class in the meta information, which is never compressed; "" where there is none."""
    stream = BytesIO(data[: _META_START + _MOST_META])
    stream.seek(_META_START if data[_META_START - 4 : _META_START] == b"DICM" else 0)
    try:
        for element in data_element_generator(stream, False, True, stop_when=_meta_is_over):
            if element.tag == _SOP_CLASS:
                return bytes(element.value or b"").strip(b"\0 ").decode("ascii", "replace")
    except PARSE_ERRORS:
        pass
    return ""


def salvage(data: bytes, only: Collection[str]) -> Dataset:
    """Read what one can of a file that does not parse, or is compressed as a whole: as much of its
    beginning as has what ``only`` names. Nothing is raised."""
    try:
        return parse(data, only)
    except DeflatedError:
        head = zlib.decompressobj(-zlib.MAX_WBITS)
        start = data.find(_DEFLATED)
        length = int.from_bytes(data[_META_START + 8 : _META_START + 12], "little")
        try:
            plain = head.decompress(data[max(start, _META_START + 12 + length) :], _MOST_HEAD)
            return parse_bare(plain, ExplicitVRLittleEndian)
        except (zlib.error, *PARSE_ERRORS):
            return Dataset()
    except PARSE_ERRORS:
        return Dataset()


def _meta_is_over(tag: BaseTag, vr: str | None, length: int) -> bool:
    if tag.group != _META_GROUP:
        return True
    if length == _UNDEFINED or (vr is not None and (vr == "SQ" or vr not in _VRS)):
        raise ValueError("meta information that is no plain element")
    return False


def damaged(label: str) -> StudyError:
    """The error for a DICOM file that does not parse or ends early."""
    return StudyError(
        f"{label} is a damaged DICOM file or cut short", "Export or copy the study again"
    )


def photometric(dataset: Dataset) -> str:
    """PhotometricInterpretation in capitals, which some writers do not use; "" if absent or bad."""
    return text(dataset, "PhotometricInterpretation").upper()


def text(dataset: Dataset, keyword: str) -> str:
    """An element as stripped text, several values joined by a backslash; "" if absent or bad."""
    try:
        value = dataset.get(keyword)
        # Its text may take all memory, see drop_misplaced_sequences.
        if value is None or isinstance(value, Sequence):
            return ""
        if isinstance(value, MultiValue):
            return "\\".join(str(item).strip() for item in value)
        return str(value).strip()
    except PARSE_ERRORS:
        return ""


def numbers(dataset: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """Exactly ``count`` finite numbers of an element; None when it has anything else."""
    try:
        value = dataset.get(keyword)
        items = value if isinstance(value, MultiValue) else [value]
        found = tuple(float(item) for item in items)
    except PARSE_ERRORS:
        return None
    return found if len(found) == count and all(map(math.isfinite, found)) else None


def number(dataset: Dataset, keyword: str) -> float | None:
    """One finite number; None when the element is absent or has anything else."""
    found = numbers(dataset, keyword, 1)
    return found[0] if found else None


def is_no_number(dataset: Dataset, keyword: str) -> bool:
    """True where an attribute holds something that is not one finite number."""
    try:
        return number(dataset, keyword) is None and bool(dataset.get_item(keyword).value)
    except PARSE_ERRORS:  # also where it is absent
        return False
