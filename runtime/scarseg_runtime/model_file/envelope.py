"""The outer layer of an ONNX file, read without loading the graph.

An ONNX file is one protobuf message, ``ModelProto`` (onnx.proto3 of the ONNX project). Choosing a
provider needs its metadata and a hash of its graph, at a moment where neither ONNX Runtime nor
any other reader should have to be imported. On the way guard.py checks what the file holds, so
that no library ever loads a graph that was not checked.
"""

from __future__ import annotations

import errno
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scarseg_runtime.errors import ModelError
from scarseg_runtime.model_file.guard import check_graph, check_model_fields, check_opset
from scarseg_runtime.model_file.protobuf import Value, fields
from scarseg_runtime.model_file.values import content
from scarseg_runtime.regular_file import read_regular

MAX_MODEL_BYTES: Final = (1 << 31) - 1
"""Protobuf's own limit."""

_GRAPH: Final = 7
_OPSET: Final = 8
_METADATA: Final = 14
_KEY, _VALUE = 1, 2
_ORT_FORMAT: Final = b"ORTM"
"""After four bytes of any file: what ONNX Runtime takes for its own format."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """Contents of the outer layer."""

    properties: dict[str, str]
    """``metadata_props`` of the file."""
    graph_sha256: str
    """SHA-256 of the serialised graph alone: unchanged where only metadata is rewritten."""
    sha256: str
    """SHA-256 of the whole file."""


def read_envelope(path: Path) -> Envelope:
    """Read the outer layer of ONNX file ``path``.

    Raises:
        ModelError: the file is missing, cannot be read, is no ONNX file, or holds what no model
            of ours does (scarseg_runtime.model_file.guard).
    """
    whole = memoryview(read_model_bytes(path))
    if bytes(whole[4:8]) == _ORT_FORMAT:
        raise _no_onnx()
    properties: dict[str, str] = {}
    graph: memoryview | None = None
    try:
        top = list(fields(whole))
        check_model_fields([number for number, _ in top])
        for number, value in top:
            if number == _GRAPH:
                graph = content(value)
                check_graph(graph)
            elif number == _OPSET:
                check_opset(content(value))
            elif number == _METADATA:
                entry = dict(fields(content(value)))
                properties[_text(entry[_KEY])] = _text(entry.get(_VALUE, memoryview(b"")))
    except (IndexError, KeyError, ValueError) as error:
        if isinstance(error, ModelError):
            raise
        raise _no_onnx() from error
    if graph is None:
        raise _no_onnx()
    return Envelope(
        properties, hashlib.sha256(graph).hexdigest(), hashlib.sha256(whole).hexdigest()
    )


def read_model_bytes(path: Path) -> bytes:
    """The whole file. Raises ModelError where it is missing, cannot be read, or is too large."""
    try:
        return read_regular(path, MAX_MODEL_BYTES)
    except FileNotFoundError as error:
        raise ModelError("the model file does not exist", "Check the path of the model") from error
    except OSError as error:
        if error.errno == errno.EFBIG:
            what, advice = "is larger than an ONNX file can be", "Check the path"
        else:
            what, advice = "cannot be read", "Check that it is a file"
        raise ModelError(f"the model file {what}", advice) from error


def _text(value: Value) -> str:
    return str(content(value), "utf-8")


def _no_onnx() -> ModelError:
    return ModelError(
        "the model file cannot be loaded: it is no ONNX file",
        "Check that it was exported by scarseg-export and is not cut short",
    )
