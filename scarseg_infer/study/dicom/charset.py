"""Texts whose character set the header does not declare (PS3.3, C.12.1.1.2).

The standard's default is plain ASCII. What goes beyond it undeclared is UTF-8 where it reads as
such, which other text hardly ever does by chance; else its bytes are kept as they are, since a
guess would file results under another name than the images.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Literal

from pydicom import DataElement, Dataset
from pydicom.charset import python_encoding
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.tag import BaseTag

Declared = Literal["declared", "UTF-8", "unknown"]
"""Ways to read texts: as declared (or in plain ASCII), as UTF-8 unasked, or byte by byte."""

BYTE_BY_BYTE: Final = "latin-1"
"""Has a letter for every byte, and pydicom's default for texts without a character set."""
UTF_8: Final = "ISO_IR 192"
_CHARACTER_SET: Final = 0x00080005
TEXT_VRS: Final = frozenset({"PN", "LO", "SH", "ST", "LT", "UC", "UT"})
_PLAIN: Final = frozenset({"", "ISO_IR 6", "ISO 2022 IR 6"})
_ESCAPE: Final = b"\x1b"  # begins ISO 2022 text in another character set


def settle_character_set(dataset: Dataset) -> Declared:
    """Declare, in place, the character set of a parsed header that does not do so itself, or that
    says UTF-8 of what is none and would lose the letters that are not."""
    terms = _terms(dataset) - _PLAIN
    if terms and terms != {UTF_8}:
        return "declared"
    found = [
        (tag, vr, value)
        for tag, vr, value in _texts(dataset)
        if not value.isascii() or _ESCAPE in value
    ]
    if not found or (terms and all(_is_utf_8(value) for _, _, value in found)):
        return "declared"
    if not all(_is_utf_8(value) for _, _, value in found):
        if _CHARACTER_SET in dataset:
            del dataset[_CHARACTER_SET]
        for tag, vr, value in found:  # here, since pydicom takes escapes out
            values = value.decode(BYTE_BY_BYTE).rstrip(" \0").split("\\")
            dataset[tag] = DataElement(tag, vr, values if len(values) > 1 else values[0])
        return "unknown"
    dataset.SpecificCharacterSet = UTF_8
    # Texts are converted when they are asked for.
    little, implicit = dataset.original_encoding
    dataset.set_original_encoding(little, implicit, python_encoding[UTF_8])
    return "UTF-8"


def is_byte_by_byte(dataset: Dataset) -> bool:
    """True where texts of a settled header stand for bytes, one a letter."""
    return not _terms(dataset)


def character_set_warnings(settled: Iterable[Declared]) -> tuple[str, ...]:
    """Warnings about images whose character sets were settled so."""
    found = set(settled)
    if "unknown" in found:
        return (
            "The images do not truly say in which character set their texts are, and these are not "
            "UTF-8: DICOM results repeat names byte by byte, undeclared.",
        )
    if "UTF-8" in found:
        return (
            "The images do not say in which character set their texts are: they were read as "
            "UTF-8.",
        )
    return ()


def _is_utf_8(value: bytes) -> bool:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return _ESCAPE not in value


def _terms(dataset: Dataset) -> set[str]:
    """Known terms of SpecificCharacterSet; one that is not known declares nothing."""
    if _CHARACTER_SET not in dataset:
        return set()
    raw: Any = dataset.get_item(_CHARACTER_SET).value
    values: Any = raw.decode("ascii", "replace").split("\\") if isinstance(raw, bytes) else raw
    terms = [values] if isinstance(values, str) else list(values or ())
    stripped = {str(term).strip(" \0") for term in terms}
    return {term for term in stripped if term in python_encoding}


def _texts(dataset: Dataset) -> Iterable[tuple[BaseTag, str, bytes]]:
    """Tag, VR and bytes of texts of the header itself that have not been converted yet."""
    for tag in list(dataset.keys()):  # elements themselves would be converted
        element: Any = dataset.get_item(tag)  # typed as if it were converted
        if not isinstance(element, RawDataElement) or not element.value:
            continue
        vr = element.VR
        if vr is None or vr == "UN":
            vr = dictionary_VR(tag) if dictionary_has_tag(tag) else ""
        if vr in TEXT_VRS:
            yield tag, vr, bytes(element.value)
