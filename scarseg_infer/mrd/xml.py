"""XML of a stream, parsed only where it brings no declarations of its own."""

from __future__ import annotations

from typing import Final
from xml.etree import ElementTree

Element = ElementTree.Element
_DECLARATIONS: Final = (b"<!DOCTYPE", b"<!ENTITY")
MAX_ELEMENTS: Final = 200_000
"""Headers and attributes of scanners have some thousand."""


def root_of(data: bytes) -> Element | None:
    """Root element of a document; None where it is damaged, brings declarations (what makes
    entities that grow, or names other files), or has far too many elements."""
    if any(word in data for word in _DECLARATIONS) or data.count(b"<") > 2 * MAX_ELEMENTS:
        return None
    try:
        return ElementTree.fromstring(text_of(data))
    except ElementTree.ParseError:
        return None


def text_of(data: bytes) -> str:
    """Text of a document without its declaration. What is not UTF-8 is read as Latin-1, as
    names of patients come from older systems, whatever the declaration says."""
    # Decoded here, so that what was searched is what is parsed, whatever encoding it declares.
    try:
        text = data.decode("utf-8-sig").lstrip()
    except UnicodeDecodeError:
        text = data.decode("latin-1").lstrip()
    return text.partition("?>")[2] if text.startswith("<?xml") else text


def name_of(element: Element) -> str:
    """Name of an element without its namespace."""
    return element.tag.rpartition("}")[2]
