"""The numbers that tensors and attributes of an ONNX file hold, read as strictly as it takes.

Libraries differ in what they make of a message that says one thing twice, or in another type than
the standard's: what is checked would not be what they use. Such a file is refused.

Field numbers: onnx.proto3 of the ONNX project (https://github.com/onnx/onnx).
"""

from __future__ import annotations

from math import inf, prod
from struct import calcsize, iter_unpack
from typing import Final

from scarseg_runtime.errors import ModelError
from scarseg_runtime.model_file.protobuf import Value, fields, signed, varints

MAX_ELEMENTS: Final = 1 << 28
"""Of a tensor whose size the file states: 1 GB in FP32, beyond any stack."""

_ATTRIBUTE: Final = {1, 2, 3, 4, 5, 7, 8, 9, 13, 20}
"""Of AttributeProto without graphs, lists of tensors, sparse tensors, types and references."""
_FLOAT, _INTEGER, _TEXT, _TENSOR_VALUE, _FLOATS, _INTEGERS, _TEXTS = 2, 3, 4, 5, 7, 8, 9
_VALUES: Final = {_FLOAT, _INTEGER, _TEXT, _TENSOR_VALUE, _FLOATS, _INTEGERS, _TEXTS}
_SINGLE: Final = {_FLOAT, _INTEGER, _TEXT, _TENSOR_VALUE}

_TENSOR: Final = {1, 2, 4, 5, 7, 8, 9, 10, 11, 12, 14, 16}
"""Of TensorProto without segments, text and external_data."""
_DIMS, _TYPE, _NAME, _RAW, _LOCATION = 1, 2, 8, 9, 14
_VARINT_DATA: Final = {5, 7, 11}
"""int32_data, int64_data and uint64_data."""
_DATA: Final = {4, 10, _RAW} | _VARINT_DATA
_TYPES: Final = {1: ("f", 4), 5: ("h", 5), 6: ("i", 5), 7: ("q", 7), 11: ("d", 10)}
"""Layout of a type of number in raw_data, and the other field that holds it: float, int16, int32,
int64 and double, all that says a size."""

_MAX_RANK: Final = 16
_MAX_NUMBERS: Final = 2 * _MAX_RANK
"""A tensor that holds sizes has no more: a beginning and an end for each axis."""
_ADVICE: Final = "Do not trust it; use a model file that was exported by scarseg-export"

Numbers = list[int] | list[float]

BEYOND: Final[Numbers] = [inf]
"""In place of numbers that no size is made of: too many, or of an odd type."""


def attribute(message: memoryview) -> tuple[bytes, Numbers | None]:
    """Name of an attribute and its numbers, None if it holds text.

    Raises:
        ModelError: it holds a graph, more than one value, or data outside of the file.
        ValueError, IndexError: it is damaged.
    """
    name = b""
    found: dict[int, list[Value]] = {}
    for number, value in fields(message):
        if number not in _ATTRIBUTE:
            raise refused("graphs inside of operators, or other unusual attributes")
        if number in _VALUES:
            found.setdefault(number, []).append(value)
        elif number == 20:
            whole(value)
        elif number == 1:
            name = text(value)
    if len(found) > 1 or any(len(found[number]) > 1 for number in _SINGLE & found.keys()):
        raise refused("more than one value in one place")
    for number, values in found.items():
        return name, _value(number, values)
    return name, []  # an empty list leaves no trace


def tensor(message: memoryview) -> tuple[bytes, Numbers]:
    """Name and numbers of a tensor; :data:`BEYOND` where it holds no sizes.

    Raises:
        ModelError: its data lies outside of the file, or is less or more than it says.
        ValueError, IndexError: it is damaged.
    """
    dims: list[int] = []
    data: dict[int, list[Value]] = {}
    name, kind = b"", 0
    for number, value in fields(message):
        if number not in _TENSOR or (number == _LOCATION and value != 0):
            raise refused("data outside of the file, or tensors of text")
        if number == _DIMS:
            dims += _integers(value)
        elif number in _DATA:
            data.setdefault(number, []).append(value)
        elif number == _TYPE:
            kind = whole(value)
        elif number == _NAME:
            name = text(value)
    if len(data) > 1 or len(data.get(_RAW, ())) > 1:
        raise refused("more than one value in one place")
    elements = _checked_elements(dims, data)
    if elements > _MAX_NUMBERS or kind not in _TYPES:
        return name, BEYOND
    return name, _decoded(_TYPES[kind], data)


def _checked_elements(dims: list[int], data: dict[int, list[Value]]) -> int:
    """Count the elements of a tensor. Raises ModelError where its data cannot hold them."""
    size = sum(_size(value) for values in data.values() for value in values)
    # An axis of 0 does not excuse the others: libraries multiply them, too. Types of four bits
    # take least: two elements a byte.
    if len(dims) > _MAX_RANK or min(dims, default=0) < 0 or prod(dims) > 2 * size:
        raise refused("tensors that are larger than their data")
    if prod(filter(None, dims)) > max(MAX_ELEMENTS, 2 * size):
        raise refused("tensors that are larger than their data")
    return prod(dims)


def _decoded(place: tuple[str, int], data: dict[int, list[Value]]) -> Numbers:
    """The numbers of a short tensor: ``place`` as in _TYPES."""
    letter, field = place
    if _RAW in data:
        return _unpacked(data[_RAW], letter)
    values = data.get(field, [])
    if field not in _VARINT_DATA:
        return _unpacked(values, letter)
    return _all_integers(values)


def _value(number: int, values: list[Value]) -> Numbers | None:
    """The numbers of an attribute's value in field ``number``."""
    if number == _TENSOR_VALUE:
        return tensor(content(values[0]))[1]
    if number == _INTEGER:
        return [signed(whole(values[0]))]
    if number == _INTEGERS:
        return _all_integers(values)
    if number in (_FLOAT, _FLOATS):
        return _unpacked(values, "f")
    for value in values:
        content(value)
    return None


def _all_integers(values: list[Value]) -> Numbers:
    """Those of a repeated field."""
    numbers: list[int] = []
    for value in values:
        if len(numbers) > _MAX_NUMBERS or _size(value) > _MAX_NUMBERS * 10:
            return BEYOND
        numbers += _integers(value)
    return numbers if len(numbers) <= _MAX_NUMBERS else BEYOND


def _integers(value: Value) -> list[int]:
    """A repeated integer field, packed or not."""
    if isinstance(value, int):
        return [signed(value)]
    return [signed(number) for number in varints(content(value))]


def _unpacked(values: list[Value], letter: str) -> Numbers:
    """Little-endian numbers of a fixed length, packed or not."""
    data = b"".join(_fixed(value) for value in values)
    if len(data) > _MAX_NUMBERS * calcsize(letter):
        return BEYOND
    if len(data) % calcsize(letter):
        raise ValueError("cut short")
    return [number for (number,) in iter_unpack(f"<{letter}", data)]


def _fixed(value: Value) -> bytes:
    if isinstance(value, int):
        raise ValueError("not of that type")
    return bytes(value)


def _size(value: Value) -> int:
    """Bytes, at least, of a value in the file."""
    return 1 if isinstance(value, int) else len(value)


def whole(value: Value) -> int:
    """An integer. Raises ValueError where it is none."""
    if not isinstance(value, int):
        raise ValueError("not of that type")
    return value


def content(value: Value) -> memoryview:
    """A message, text or packed numbers. Raises ValueError where it is none."""
    if not isinstance(value, memoryview):
        raise ValueError("not of that type")
    return value


def text(value: Value) -> bytes:
    """A name. Raises ValueError where it is no UTF-8, over which libraries trip each in its way."""
    name = bytes(content(value))
    name.decode("utf-8")
    return name


def refused(what: str) -> ModelError:
    """The error for a file that holds what no model of ours does."""
    return ModelError(f"the model file cannot be loaded: it holds {what}", _ADVICE)
