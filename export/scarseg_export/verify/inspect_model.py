"""Statements of a model file or an engine about itself, without torch: contract, metadata,
operators, work, weights and the verification table."""

from __future__ import annotations

from collections import Counter
from math import prod
from pathlib import Path
from typing import Any

import onnx
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto, helper

from scarseg_export.deploy.half import CONVOLUTIONS, half_convolutions
from scarseg_export.deploy.model_io import load_model
from scarseg_export.verify.table import table_lines
from scarseg_runtime.model_file.read import read_model_file
from scarseg_runtime.providers.engine_file import read_engine

TYPICAL = {"S": 12, "H": 256, "W": 216}
"""A usual LGE study, for which the work is counted."""


def inspect_model(path: Path) -> dict[str, Any]:
    """Facts of the ONNX file ``path``.

    Raises:
        ModelError: the file is missing, damaged or not of the format.
    """
    facts = read_model_file(path)
    model, metadata = load_model(path), facts.metadata
    graph = model.graph
    weights = sum(prod(i.dims) for i in graph.initializer)
    return {
        "file": {"sha256": facts.sha256, "bytes": path.stat().st_size},
        "opset": {entry.domain or "ai.onnx": entry.version for entry in model.opset_import},
        "inputs": {value.name: _tensor(value) for value in graph.input},
        "outputs": {value.name: _tensor(value) for value in graph.output},
        "metadata": {
            key: getattr(metadata, key)
            for key in metadata.__dataclass_fields__
            if key not in ("verification", "recipe")
        },
        "operators": dict(Counter(node.op_type for node in graph.node).most_common()),
        "convolutions": {
            "all": sum(node.op_type in CONVOLUTIONS for node in graph.node),
            "fp16": half_convolutions(graph),
        },
        "weights": {"count": weights, "bytes": _weight_bytes(graph)},
        "work": convolution_flops(model, TYPICAL) | {"study": TYPICAL},
        "verification": dict(metadata.verification.get("rows", {})),
        "verification_is_of_this_graph": metadata.verification.get("graph_sha256")
        == facts.graph_sha256,
    }


def _tensor(value: ValueInfoProto) -> list[Any]:
    """Element type and shape."""
    tensor = value.type.tensor_type
    shape = [axis.dim_param or axis.dim_value for axis in tensor.shape.dim]
    return [helper.tensor_dtype_to_np_dtype(tensor.elem_type).name, shape]


def convolution_flops(model: ModelProto, sizes: dict[str, int]) -> dict[str, float | int]:
    """Floating-point operations of all convolutions for given sizes of the dynamic axes.

    A multiplication and an addition count as two. ``unknown`` counts convolutions whose shape
    cannot be told without running; ``tile_gflop`` is the work of those of them that are known but
    for how many images they get, for one.
    """
    fixed = ModelProto.FromString(model.SerializeToString())
    for value in (*fixed.graph.input, *fixed.graph.output):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param in sizes:
                axis.dim_value = sizes[axis.dim_param]
    del fixed.graph.value_info[:]
    inferred = onnx.shape_inference.infer_shapes(fixed, data_prop=True).graph
    shapes = {
        value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in inferred.value_info
    }
    weights = {i.name: i.dims for i in inferred.initializer}
    flops, each, unknown = 0, 0, 0
    for node in inferred.node:
        if node.op_type not in CONVOLUTIONS:
            continue
        # A transposed convolution visits every input pixel with the whole kernel.
        at = shapes.get(node.output[0] if node.op_type == "Conv" else node.input[0], [])
        kernel = weights.get(node.input[1])
        if not at or not all(at) or kernel is None:
            unknown += 1
            if at and all(at[1:]) and kernel is not None:
                each += 2 * prod(at[2:]) * prod(kernel)
            continue
        places = at[0] * prod(at[2:])
        flops += 2 * places * prod(kernel)
    return {
        "convolution_gflop": round(flops / 1e9, 3), "unknown": unknown,
        "tile_gflop": round(each / 1e9, 3),
    }  # fmt: skip


def _weight_bytes(graph: GraphProto) -> int:
    return sum(
        prod(i.dims) * helper.tensor_dtype_to_np_dtype(i.data_type).itemsize
        for i in graph.initializer
        if i.data_type != TensorProto.STRING
    )


def inspect_engine(path: Path) -> dict[str, Any]:
    """Statements of the sidecar of TensorRT engine ``path``, checked against the engine's bytes.

    Raises:
        ModelError: engine or sidecar are missing or damaged.
    """
    entry = read_engine(path)
    return {"file": {"bytes": path.stat().st_size}, "engine": dict(entry.sidecar)}


def _how(metadata: dict[str, Any]) -> list[str]:
    """Of an image-only model no time constant, which nothing uses."""
    scar = f"smallest scar {metadata['min_scar_ml']:g} mL"
    field = " × ".join(f"{length:.0f}" for length in metadata["largest_field_mm"])
    if metadata["image_only"]:
        lines = [f"image only: an ECG gets no weight; {scar}"]
    else:
        lines = [f"τ {metadata['tau_days']:.0f} days, δ_max {metadata['delta_max']:g}, {scar}"]
    return [*lines, *([f"covers fields of view up to {field} mm"] if field else [])]


def _work(work: dict[str, Any]) -> str:
    study = " × ".join(str(n) for n in work["study"].values()) + " pixels"
    if work["tile_gflop"]:
        return (
            f"convolutions need {work['tile_gflop']:.1f} GFLOP a tile; how many tiles a slice has "
            "depends on its pixel spacing"
        )
    return f"convolutions need {work['convolution_gflop']:.1f} GFLOP for {study}"


def report_lines(facts: dict[str, Any]) -> list[str]:
    """The facts as lines for a terminal."""
    metadata, work = facts["metadata"], facts["work"]
    lines = [
        f"{metadata['name']} {metadata['version']}, {facts['file']['bytes'] / 1e6:.1f} MB, "
        f"SHA-256 {facts['file']['sha256']}",
        f"{metadata['training_data']} {metadata['intended_use']}",
        *_how(metadata),
        "opset " + ", ".join(f"{name} {number}" for name, number in facts["opset"].items()),
        f"weights {facts['weights']['count'] / 1e6:.2f} million, "
        f"{facts['weights']['bytes'] / 1e6:.1f} MB; convolutions {facts['convolutions']['all']}, "
        f"of them {facts['convolutions']['fp16']} in FP16",
        _work(work),
    ]  # fmt: skip
    for title in ("inputs", "outputs"):
        lines.append(title)
        lines += [f"  {name:24} {kind} {shape}" for name, (kind, shape) in facts[title].items()]
    lines.append("operators")
    lines.append("  " + ", ".join(f"{name} {count}" for name, count in facts["operators"].items()))
    lines.append("verification" if facts["verification"] else "not verified")
    if facts["verification"] and not facts["verification_is_of_this_graph"]:
        lines.append("  measured on other weights: counts nothing")
    return lines + [f"  {line}" for line in table_lines(facts["verification"])]
