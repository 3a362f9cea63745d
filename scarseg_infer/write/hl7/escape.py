"""Texts inside an HL7 v2 message: what separates its parts is escaped (HL7 v2.5.1, 2.7)."""

from __future__ import annotations

from typing import Final

FIELD, COMPONENT, REPETITION, ESCAPE, SUBCOMPONENT = "|^~\\&"
SEPARATORS: Final = "^~\\&"
"""MSH-2: component, repetition, escape, subcomponent."""
_NAMES: Final = {FIELD: "F", COMPONENT: "S", REPETITION: "R", ESCAPE: "E", SUBCOMPONENT: "T"}


def escaped(text: str) -> str:
    """Text that no reader takes for the end of a part, a segment or the message."""
    return "".join(map(_one, text))


def _one(character: str) -> str:
    if name := _NAMES.get(character):
        return f"\\{name}\\"
    # Segments end in CR, messages in FS; readers differ on other controls and on Unicode's own
    # ends of lines, at which Python's splitlines breaks.
    if character < " " or character == "\x7f":
        return f"\\X{ord(character):02X}\\"
    return " " if character in "\x85\u2028\u2029" else character


def components(*parts: str) -> str:
    """Parts of one field, without empty ones at its end."""
    return COMPONENT.join(map(escaped, parts)).rstrip(COMPONENT)


def segment(name: str, *fields: str) -> str:
    """A segment of fields that are encoded already, without empty ones at its end."""
    return FIELD.join([name, *fields]).rstrip(FIELD)
