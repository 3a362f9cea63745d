"""Model files as ONNX protobufs: read, given metadata, written whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx

from scarseg_runtime.errors import ModelError
from scarseg_runtime.model_file.read import encode_metadata
from scarseg_runtime.whole import not_written, whole_file


def load_model(path: Path) -> onnx.ModelProto:
    """Read an ONNX file. Raises ModelError where it is missing or damaged."""
    try:
        return onnx.load(path)
    except FileNotFoundError as error:
        raise ModelError("the model file does not exist", "Check the path") from error
    except Exception as error:
        raise ModelError("the model file is no ONNX file", "Check the path") from error


def set_metadata(model: onnx.ModelProto, metadata: dict[str, Any]) -> None:
    """Replace or add metadata entries of ours in ``model``."""
    entries = encode_metadata(metadata)
    kept = {p.key: p.value for p in model.metadata_props if p.key not in entries}
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, kept | entries)


def write_model(model: onnx.ModelProto, target: Path) -> None:
    """Write ``target``, whole or not at all. Raises OutputError."""
    try:
        with whole_file(target) as part:
            part.write_bytes(model.SerializeToString())
    except OSError as error:
        raise not_written("the model file", error) from error
