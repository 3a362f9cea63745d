"""XML of a stream, parsed only where it brings no declarations of its own."""

from __future__ import annotations

from typing import Final
from xml.etree import ElementTree

Element = ElementTree.Element
_DECLARATIONS: Final = (b"<!DOCTYPE", b"<!ENTITY")
MAX_ELEMENTS: Final = 200_000
"""Headers and attributes of scanners have some thousand."""


def root_of(data: bytes) -> Element | None:
    """Root element of a document in UTF-8; None where it is damaged, brings declarations (what
    makes entities that grow, or names other files), or has far too many elements."""
    if any(word in data for word in _DECLARATIONS) or data.count(b"<") > 2 * MAX_ELEMENTS:
        return None
    try:
        # Decoded here, so that what was searched is what is parsed, whatever encoding it declares.
        text = data.decode("utf-8")
        if text.lstrip().startswith("<?xml"):
            text = text.partition("?>")[2]
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, UnicodeDecodeError):
        return None


def name_of(element: Element) -> str:
    """Name of an element without its namespace."""
    return element.tag.rpartition("}")[2]
