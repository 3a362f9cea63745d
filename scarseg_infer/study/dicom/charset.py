"""Texts whose character set the header does not declare (PS3.3, C.12.1.1.2).

The standard's default is plain ASCII. What goes beyond it undeclared is UTF-8 where it reads as
such, which other text hardly ever does by chance; else its bytes are kept as they are, since a
guess would file results under another name than the images.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Literal

from pydicom import DataElement, Dataset
from pydicom.charset import convert_encodings, decode_bytes, python_encoding
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.tag import BaseTag
from pydicom.valuerep import PN_DELIMS, TEXT_VR_DELIMS

from scarseg_infer.host.quiet import quiet_readers

Declared = Literal["declared", "doubtful", "UTF-8", "unknown"]
"""Ways to read texts: as declared (or in plain ASCII), so too though they look like UTF-8, as UTF-8
unasked, or byte by byte."""

BYTE_BY_BYTE: Final = "latin-1"
"""Has a letter for every byte, and pydicom's default for texts without a character set."""
UTF_8: Final = "ISO_IR 192"
_CHARACTER_SET: Final = 0x00080005
TEXT_VRS: Final = frozenset({"PN", "LO", "SH", "ST", "LT", "UC", "UT"})
_PARTS_END: Final = TEXT_VR_DELIMS | PN_DELIMS | {ord("="), ord("\\")}
"""Bytes after which the first of several character sets holds again (PS3.5, 6.1.2.5.3)."""
_REPLACED: Final = "\ufffd"
_SINGLE_BYTES: Final = frozenset(
    f"ISO_IR {number}" for number in (100, 101, 109, 110, 126, 127, 138, 144, 148, 203)
)
"""Sets of one byte a letter in which hardly any text reads as UTF-8 by chance."""
_LATIN_1: Final = "ISO 2022 IR 100"
_PLAIN: Final = frozenset({"", "ISO_IR 6", "ISO 2022 IR 6"})
_CHINESE: Final = "ISO 2022 IR 58"
_CHINESE_ESCAPE: Final = b"\x1b$)A"
_THREE_BYTES: Final = 0x800
"""First code point that takes three bytes in UTF-8."""
_ESCAPE: Final = b"\x1b"  # begins ISO 2022 text in another character set


def settle_character_set(dataset: Dataset) -> Declared:
    """Declare, in place, the character set of a parsed header that does not do so itself, or whose
    texts are not in the set that it declares: decoding would lose their letters."""
    terms = _terms(dataset) - _PLAIN
    _take_escapes_out(dataset)
    found = [
        (tag, vr, value)
        for tag, vr, value in _texts(dataset)
        if not value.isascii() or _ESCAPE in value
    ]
    if not found or (terms and all(_decodes(value, dataset) for _, _, value in found)):
        return "doubtful" if found and _looks_like_utf_8(terms, found) else "declared"
    if terms or not all(_is_utf_8(value) for _, _, value in found):
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
    if "doubtful" in found:
        return (
            "The images declare a character set in which their texts make little sense, and which "
            "read as UTF-8: results repeat names as declared.",
        )
    return ()


def _decodes(value: bytes, dataset: Dataset) -> bool:
    """True where a text loses no letter in the declared character sets."""
    if _terms(dataset) == {UTF_8}:
        return _is_utf_8(value)
    listed = _listed(dataset)
    # Of code extensions that begin with ASCII, letters beyond it need an escape (PS3.5, 6.1.2.5).
    # Those of Latin 1 are known without one: where it is left out there is nothing to confuse.
    if listed[0] in _PLAIN and _ESCAPE not in value and _LATIN_1 not in listed:
        return False
    with quiet_readers():
        encodings = convert_encodings(listed)
        decoded = decode_bytes(value, encodings, _PARTS_END)
    return _REPLACED not in decoded and "\x1b" not in decoded


def _looks_like_utf_8(terms: set[str], found: Iterable[tuple[BaseTag, str, bytes]]) -> bool:
    """True where texts that the declared sets can hold are UTF-8 all the same, hardly by chance."""
    values = [value for _, _, value in found]
    if terms == {UTF_8} or not all(map(_is_utf_8, values)):
        return False
    # Letters of two bytes come by chance in sets of several, those of three hardly.
    return terms <= _SINGLE_BYTES or any(
        ord(letter) >= _THREE_BYTES for value in values for letter in value.decode("utf-8")
    )


def _take_escapes_out(dataset: Dataset) -> None:
    """Convert, in place, texts in ISO 2022 IR 58: pydicom leaves their escapes in."""
    if _CHINESE not in _terms(dataset):
        return
    for tag, vr, value in list(_texts(dataset)):
        if _CHINESE_ESCAPE in value:
            with quiet_readers():
                encodings = convert_encodings(_listed(dataset))
                text = decode_bytes(value, encodings, _PARTS_END).rstrip(" \0")
            if _REPLACED in text:
                continue  # damaged: to be kept byte by byte
            values = text.replace(_CHINESE_ESCAPE.decode("ascii"), "").split("\\")
            dataset[tag] = DataElement(tag, vr, values if len(values) > 1 else values[0])


def _is_utf_8(value: bytes) -> bool:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return _ESCAPE not in value


def _terms(dataset: Dataset) -> set[str]:
    """Known terms of SpecificCharacterSet; one that is not known declares nothing."""
    return {term for term in _listed(dataset) if term in python_encoding}


def _listed(dataset: Dataset) -> list[str]:
    """Values of SpecificCharacterSet, in order; the first holds until an escape."""
    if _CHARACTER_SET not in dataset:
        return []
    raw: Any = dataset.get_item(_CHARACTER_SET).value
    values: Any = raw.decode("ascii", "replace").split("\\") if isinstance(raw, bytes) else raw
    terms = [values] if isinstance(values, str) else list(values or ())
    return [str(term).strip(" \0") for term in terms]


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
