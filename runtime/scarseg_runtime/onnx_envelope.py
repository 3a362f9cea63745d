"""The outer layer of an ONNX file, read without loading the graph.

An ONNX file is one protobuf message, ``ModelProto`` (onnx.proto3 of the ONNX project). Choosing a
provider needs its metadata and a hash of its graph, at a moment where neither ONNX Runtime nor
any other reader should have to be imported. So the top-level fields are walked, and nothing below
them but the key and value of each metadata entry.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scarseg_runtime.errors import ModelError

_GRAPH: Final = 7
_METADATA: Final = 14
_KEY, _VALUE = 1, 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True, slots=True)
class Envelope:
    """What the outer layer says."""

    properties: dict[str, str]
    """``metadata_props`` of the file."""
    graph_sha256: str
    """SHA-256 of the serialised graph alone: unchanged where only metadata is rewritten."""
    sha256: str
    """SHA-256 of the whole file."""


def read_envelope(path: Path) -> Envelope:
    """Read the outer layer of ONNX file ``path``.

    Raises:
        ModelError: the file is missing, cannot be read, or is no ONNX file.
    """
    try:
        content = memoryview(path.read_bytes())
    except FileNotFoundError as error:
        raise ModelError("the model file does not exist", "Check the path of the model") from error
    except OSError as error:
        raise ModelError("the model file cannot be read", "Check that it is a file") from error
    properties: dict[str, str] = {}
    graph: memoryview | None = None
    try:
        for number, value in _fields(content):
            if number == _GRAPH:
                graph = value
            elif number == _METADATA:
                entry = dict(_fields(value))
                properties[str(entry[_KEY], "utf-8")] = str(entry.get(_VALUE, b""), "utf-8")
    except (IndexError, KeyError, ValueError) as error:
        raise _no_onnx() from error
    if graph is None:
        raise _no_onnx()
    return Envelope(
        properties, hashlib.sha256(graph).hexdigest(), hashlib.sha256(content).hexdigest()
    )


def _no_onnx() -> ModelError:
    return ModelError(
        "the model file cannot be loaded: it is no ONNX file",
        "Check that it was exported by scarseg-export and is not cut short",
    )


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """(field number, content) of a message's length-delimited fields, others skipped."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == _BYTES:
            length, at = _varint(message, at)
            if at + length > len(message):
                raise ValueError("cut short")
            yield tag >> 3, message[at : at + length]
            at += length
        elif kind == _VARINT:
            _, at = _varint(message, at)
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError("unknown wire type")


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
