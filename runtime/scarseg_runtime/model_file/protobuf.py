"""Just enough of protobuf's wire format to look into an ONNX file without its libraries.

Format: https://protobuf.dev/programming-guides/encoding/. Whatever is malformed raises ValueError
or IndexError; groups, which ONNX never uses, count as malformed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_BYTES: Final = {_FIXED64: 8, _FIXED32: 4}

Value = int | memoryview | bytes
"""An integer of variable length; what has a length of its own, as a memoryview; a number of four or
eight bytes, as bytes. Libraries ignore a field that is of another kind than the standard says."""
Field = tuple[int, Value]
"""Number and content."""


def fields(message: memoryview) -> Iterator[Field]:
    """The fields of a message, in the order of the file."""
    at, end = 0, len(message)
    while at < end:
        tag = message[at]
        at += 1
        if tag & 0x80:
            tag, at = _varint(message, at - 1)
        kind = tag & 7
        if kind == _VARINT:
            number, at = _varint(message, at)
            yield tag >> 3, number
            continue
        if kind == _BYTES:
            length = message[at]
            at += 1
            if length & 0x80:
                length, at = _varint(message, at - 1)
        elif kind in _FIXED_BYTES:
            length = _FIXED_BYTES[kind]
        else:
            raise ValueError("unknown wire type")
        if at + length > end:
            raise ValueError("cut short")
        content = message[at : at + length]
        yield tag >> 3, content if kind == _BYTES else bytes(content)
        at += length


def varints(packed: memoryview) -> Iterator[int]:
    """The numbers of a packed repeated field."""
    at = 0
    while at < len(packed):
        number, at = _varint(packed, at)
        yield number


def signed(number: int) -> int:
    """A variable-length integer as the int64 that it stands for."""
    number &= (1 << 64) - 1
    return number - (1 << 64) if number >> 63 else number


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A variable-length integer at ``at`` and the place behind it."""
    value, shift = 0, 0
    while shift < 70:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if not byte & 0x80:
            return value, at
        shift += 7
    raise ValueError("number too long")
