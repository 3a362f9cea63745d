"""The image convolutions of a model file in FP16, everything else as it was.

TensorRT 11 has no FP16 flag: an engine computes in the types that the graph names. So the graph
names them. Convolutions on images, and what merely passes their values on, take and give FP16;
every edge between them and the rest carries a Cast. Left in FP32 by construction: inputs and
outputs, normalisation and its statistics, every reduction, the logits themselves, TAFF with its
exponential and its days, the ECG and what it may change. And the localiser, whose answer is a
place: what it is off by moves the whole crop, and with it every border.

Instance normalisation between two convolutions (nnU-Net has it after each) stays in FP32 too: its
sums of squares leave the range of FP16. What follows it is in FP16 again.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from scarseg_export.deploy.model_io import load_model, set_metadata, write_model
from scarseg_runtime.errors import ModelError
from scarseg_runtime.model_file.read import half_variant_path, read_model_file

CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})
PASSING = frozenset({"Relu", "LeakyRelu", "MaxPool", "Resize", "Concat"})
"""Operators that change no value beyond what a convolution gave; Relu and the like end it."""
NORMALISING = frozenset({"InstanceNormalization"})
RESIDUAL = frozenset({"Add", "AveragePool"})
"""Passing too, but only what was normalised: sums of features, not of logits."""
IN_FP32 = ("localiser.", "fusion.")
"""Parts of the reference network that stay as they are, by the names of their weights."""

HALF_MAX = float(np.finfo(np.float16).max)


def convert_to_half(model: ModelProto) -> ModelProto:
    """A copy of ``model`` with its image convolutions in FP16.

    Raises:
        ModelError: there is nothing to convert, or a weight does not fit FP16.
    """
    model = onnx.ModelProto.FromString(model.SerializeToString())
    graph = model.graph
    chosen = _half_nodes(graph)
    if not any(node.op_type in CONVOLUTIONS for node in graph.node if _key(node) in chosen):
        raise ModelError(
            "the model has no image convolution in FP32", "Pass the FP32 model, not a converted one"
        )
    _half_weights(graph, chosen)
    _cast_edges(graph, chosen)
    del graph.value_info[:]  # types have changed; the checker infers them anew
    onnx.checker.check_model(model, full_check=True)
    return model


def write_half_variant(source: Path, target: Path | None = None) -> Path:
    """Write the FP16 variant of model file ``source``, by default beside it, where the runtime
    looks for it. Not yet verified.

    Raises:
        ModelError: the source is no model file, or see :func:`convert_to_half`.
        OutputError: the target cannot be written.
    """
    facts = read_model_file(source)
    model = convert_to_half(load_model(source))
    set_metadata(
        model,
        {
            "precision": "fp16",
            "half_convolutions": half_convolutions(model.graph),
            "fp32_graph_sha256": facts.graph_sha256,
            "verification": {},
        },
    )
    target = target or half_variant_path(source)
    write_model(model, target)
    return target


def half_convolutions(graph: GraphProto) -> int:
    """Number of convolutions that compute in FP16."""
    half = {i.name for i in graph.initializer if i.data_type == TensorProto.FLOAT16}
    return sum(node.op_type in CONVOLUTIONS and node.input[1] in half for node in graph.node)


def _key(node: NodeProto) -> str:
    return str(node.output[0])


def _half_nodes(graph: GraphProto) -> set[str]:
    """Names of the nodes to compute in FP16."""
    weights = {i.name: i for i in graph.initializer}
    chosen: set[str] = set()
    normalised: set[str] = set()  # nodes in FP32 between others in FP16
    steady: set[str] = set()  # values that were normalised, and what passes them on
    for node in graph.node:  # in topological order
        key, data = _key(node), _data(node)
        if node.op_type in CONVOLUTIONS:
            weight = weights.get(node.input[1])
            if weight is not None and _convolves_images(weight) and not _stays(weight):
                chosen.add(key)
        elif node.op_type in NORMALISING and data[0] in chosen:
            normalised.add(key)
            steady.add(key)
        elif node.op_type in PASSING:
            if any(name in chosen or name in normalised for name in data):
                chosen.add(key)
        elif node.op_type in RESIDUAL and steady.issuperset(data):
            chosen.add(key)
        if node.op_type in PASSING | RESIDUAL and steady.issuperset(data):
            steady.add(key)
    consumers = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            consumers[name].append(_key(node))
    inside = chosen | normalised
    logits = {key for key in chosen if not any(consumer in inside for consumer in consumers[key])}
    heads = {_key(node) for node in graph.node if node.op_type in CONVOLUTIONS} & logits
    return chosen - heads


def _convolves_images(weight: TensorProto) -> bool:
    """True for a weight in FP32 whose kernel spans rows and columns: an ECG's has one axis."""
    kernel = list(weight.dims[2:])
    return (
        weight.data_type == TensorProto.FLOAT
        and len(kernel) == 2
        and (kernel[0] > 1) == (kernel[1] > 1)
    )


def _stays(weight: TensorProto) -> bool:
    """True for a weight of the localiser, and of the fusion head: there logits come in, and what
    moves them goes out."""
    return str(weight.name).startswith(IN_FP32)


def _data(node: NodeProto) -> list[str]:
    """Inputs that carry values: not the scales of Resize, which stay FP32."""
    return list(node.input[:1]) if node.op_type == "Resize" else list(node.input)


def _half_weights(graph: GraphProto, chosen: set[str]) -> None:
    wanted = {
        name
        for node in graph.node
        if node.op_type in CONVOLUTIONS and _key(node) in chosen
        for name in node.input[1:]
    }
    for weight in graph.initializer:
        if weight.name in wanted:
            values = numpy_helper.to_array(weight)
            if not np.abs(values).max(initial=0.0) <= HALF_MAX:
                raise ModelError(f"weight {weight.name} does not fit FP16", "Use FP32")
            weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), weight.name))


def _cast_edges(graph: GraphProto, chosen: set[str]) -> None:
    """Cast every value on its way between FP16 and FP32 nodes, once per value and direction."""
    nodes: list[NodeProto] = []
    cast: dict[tuple[str, int], str] = {}
    weights = {i.name for i in graph.initializer}

    def as_type(name: str, kind: int, suffix: str) -> str:
        if (name, kind) not in cast:
            cast[name, kind] = f"{name}_{suffix}"
            nodes.append(helper.make_node("Cast", [name], [cast[name, kind]], to=kind))
        return cast[name, kind]

    for node in graph.node:
        half = _key(node) in chosen
        data = _data(node)
        for index, name in enumerate(node.input):
            if not name or name in weights:
                continue
            if half and index < len(data) and name not in chosen:
                node.input[index] = as_type(name, TensorProto.FLOAT16, "half")
            elif not half and name in chosen:
                node.input[index] = as_type(name, TensorProto.FLOAT, "single")
        nodes.append(node)
    outputs = {value.name for value in graph.output}
    if outputs & chosen:
        raise ModelError("an output of the model is an image feature", "Use FP32")
    del graph.node[:]
    graph.node.extend(nodes)
