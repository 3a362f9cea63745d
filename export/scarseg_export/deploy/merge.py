"""Operators of an exported graph merged where ONNX has one for what several compute.

On a GPU each operator is a launch. PyTorch has no word for some that ONNX has, and its exporter
takes shapes apart. Every result is the same to the last bit or two; what is merged is standard ONNX
that all providers have.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir
from onnx_ir.passes import common

MERGED_VALUES = 100_000
"""Constants of up to so many values are compared: tables of pixels among them, no large weight."""


def merge_operators(model: ir.Model) -> None:
    """Merge, in place: constants that are equal, operators that compute the same, and those that
    one operator can do."""
    for pattern in (_shape_of_parts, _floats_of_a_shape, *_NESTED):
        for node in list(model.graph):
            pattern(model.graph, node)
    merged = ir.passes.Sequential(
        common.RemoveUnusedNodesPass(),
        common.DeduplicateInitializersPass(size_limit=MERGED_VALUES),
        common.CommonSubexpressionEliminationPass(),
        common.RemoveUnusedNodesPass(),
    )
    merged(model)


def _shape_of_parts(graph: ir.Graph, node: ir.Node) -> None:
    """Concat of the lengths of neighbouring axes of one value: Shape gives them at once."""
    if node.op_type != "Concat":
        return
    parts: list[ir.Value | None] = list(node.inputs)
    for first in range(len(parts) - 1):
        one, other = (_axes(part) for part in parts[first : first + 2])
        if one is None or other is None or one[0] is not other[0] or one[2] != other[1]:
            continue
        if len(parts) == 2:
            _replace(graph, node, ir.node("Shape", [one[0]], {"start": one[1], "end": other[2]}))
        else:
            shape = ir.node("Shape", [one[0]], {"start": one[1], "end": other[2]})
            graph.insert_before(node, shape)
            parts[first : first + 2] = [shape.outputs[0]]
            _replace(graph, node, ir.node("Concat", parts, {"axis": 0}))
        return


def _axes(value: ir.Value | None) -> tuple[ir.Value, int, int] | None:
    """Value, first axis and end of those whose lengths ``value`` holds."""
    node = value.producer() if value is not None else None
    if node is None or node.op_type != "Shape" or node.inputs[0] is None:
        return None
    found = node.attributes
    if "start" not in found or "end" not in found:
        return None
    return node.inputs[0], found["start"].as_int(), found["end"].as_int()


def _floats_of_a_shape(graph: ir.Graph, node: ir.Node) -> None:
    """Lengths made scalars, then numbers, then a vector again: cast as the vector they were."""
    if node.op_type != "Concat":
        return
    axes = []
    for value in node.inputs:
        for wanted in ("Unsqueeze", "Cast", "Squeeze"):
            before = value.producer() if value is not None else None
            if before is None or before.op_type != wanted:
                return
            value = before.inputs[0]
        axes.append(_axes(value))
    first = axes[0]
    if any(a is None for a in axes) or first is None:
        return
    if any(a[0] is not first[0] or a[1] != first[1] + k for k, a in enumerate(axes) if a):
        return
    shape = ir.node("Shape", [first[0]], {"start": first[1], "end": first[1] + len(axes)})
    graph.insert_before(node, shape)
    _replace(graph, node, ir.node("Cast", shape.outputs, {"to": ir.DataType.FLOAT}))


def _nested(inner: str, outer: str) -> Callable[[ir.Graph, ir.Node], None]:
    """Pattern of one sum (or the like) within another: operators of any number of values."""

    def merge(graph: ir.Graph, node: ir.Node) -> None:
        if node.op_type not in (inner, outer):
            return
        for position, value in enumerate(node.inputs):
            before = value.producer() if value is not None else None
            if before is None or before.op_type not in (inner, outer) or _used_twice(value):
                continue
            rest = [*node.inputs[:position], *node.inputs[position + 1 :]]
            _replace(graph, node, ir.node(outer, [*before.inputs, *rest]))
            return

    return merge


_NESTED = tuple(_nested(*names) for names in (("Max", "Max"), ("Min", "Min"), ("Add", "Sum")))


def _used_twice(value: ir.Value | None) -> bool:
    return value is None or len(value.uses()) > 1 or value.is_graph_output()


def _replace(graph: ir.Graph, old: ir.Node, new: ir.Node) -> None:
    """Put ``new`` in the place of ``old``, with the name, type and shape of its output."""
    before, after = old.outputs[0], new.outputs[0]
    after.name, after.shape, after.type = before.name, before.shape, before.type
    graph.insert_before(old, new)
    ir.convenience.replace_all_uses_with(before, after, replace_graph_outputs=True)
    graph.remove(old, safe=True)
