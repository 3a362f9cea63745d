"""The model configuration of Triton: ``config.pbtxt``, a ModelConfig message as protobuf text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final, Literal

from scarseg_export.triton.warmup import FOLDER, NAME, Sizes
from scarseg_runtime.contract import TensorSpec

Backend = Literal["onnxruntime", "tensorrt"]

FILES: Final[Mapping[Backend, str]] = {"onnxruntime": "model.onnx", "tensorrt": "model.plan"}
"""File that each backend loads from the folder of a version."""
SEGMENT_LABELS: Final = "aha-segments.txt"
_BY_SEGMENT: Final = ("segment_burden", "ecg_segment_belief")
"""Outputs with one value a segment, which a classification request returns by name."""
_TYPES: Final = {"tensor(float)": "TYPE_FP32", "tensor(uint8)": "TYPE_UINT8"}


def model_config(
    name: str,
    backend: Backend,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    sizes: Sizes,
) -> str:
    """Text of the configuration.

    A request is one study, so there is no batch axis: ``max_batch_size`` is 0, and ``dims`` are
    the whole shapes, −1 for the axes S, H and W that differ from study to study.

    Args:
        sizes: of the axes S, H and W in the warm-up.
    """
    lines = [
        "# Research use only. Not a medical device.",
        f"name: {_quoted(name)}",
        f"backend: {_quoted(backend)}",
        f"default_model_filename: {_quoted(FILES[backend])}",
        "max_batch_size: 0",
    ]
    for spec in inputs:
        lines += ["input {", *_tensor(spec), "}"]
    for spec in outputs:
        label = [f"  label_filename: {_quoted(SEGMENT_LABELS)}"] if spec.name in _BY_SEGMENT else []
        lines += ["output {", *_tensor(spec), *label, "}"]
    lines += ["model_warmup {", f"  name: {_quoted(NAME)}", "  batch_size: 1"]
    for spec in inputs:
        lines += _warmup(spec, sizes)
    return "\n".join([*lines, "}", ""])


def _tensor(spec: TensorSpec) -> list[str]:
    dims = [-1 if isinstance(axis, str) else axis for axis in spec.shape]
    return [
        f"  name: {_quoted(spec.name)}",
        f"  data_type: {_TYPES[spec.type]}",
        f"  dims: {dims}",
    ]


def _warmup(spec: TensorSpec, sizes: Sizes) -> list[str]:
    dims = [sizes[axis] if isinstance(axis, str) else axis for axis in spec.shape]
    return [
        "  inputs {",
        f"    key: {_quoted(spec.name)}",
        "    value {",
        f"      data_type: {_TYPES[spec.type]}",
        f"      dims: {dims}",
        # Beside the configuration Triton looks for it in a folder of this name.
        f"      input_data_file: {_quoted(spec.name)}  # {FOLDER}/{spec.name}",
        "    }",
        "  }",
    ]


def _quoted(text: str) -> str:
    """A string of protobuf text: those of JSON in ASCII are, too."""
    return json.dumps(text)
