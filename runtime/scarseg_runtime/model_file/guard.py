"""Limits of what a model file may hold, checked before any library loads its graph.

A model file may come from anywhere, and an ONNX graph is a program: it can name files to read,
operators of a plug-in, loops without an end. Ours are plain: standard operators, in one graph,
on tensors that lie in the file. A file with anything else is none of ours, and is refused.

What cannot be seen beforehand is how much memory a chain of operators will ask for.

Field numbers: onnx.proto3 of the ONNX project (https://github.com/onnx/onnx).
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from itertools import zip_longest
from math import prod
from typing import Final, NamedTuple

from scarseg_runtime.model_file.operators import FEWEST_INPUTS, MAX_OPSET, MIN_OPSET, WITHOUT_GAPS
from scarseg_runtime.model_file.protobuf import fields, signed
from scarseg_runtime.model_file.values import (
    BEYOND,
    MAX_ELEMENTS,
    Numbers,
    attribute,
    content,
    refused,
    tensor,
    text,
)

MAX_NODES: Final = 50_000

_MODEL: Final = {1, 2, 3, 4, 5, 6, 7, 8, 14}
_REFUSED: Final = {20, 25, 26}
"""Of ModelProto: training_info, functions, configuration."""
_GRAPH: Final = {1, 2, 5, 10, 11, 12, 13, 16}
"""Of GraphProto without quantization_annotation and sparse_initializer."""
_GRAPH_TEXTS: Final = {2, 10}
"""Name and description."""
_GRAPH_INPUT: Final = 11
_VALUE_INFO: Final = {_GRAPH_INPUT, 12, 13}
_VALUE_INFO_TEXTS: Final = ((1,), (3,), (2, 1, 2, 1, 2), (2, 1, 2, 1, 3), (2, 6))
"""Name, description, names and meanings of dimensions, meaning of the type."""
_NODE: Final = {1, 2, 3, 4, 5, 6, 7, 9}
"""Of NodeProto without overload and device_configurations."""
_STANDARD_DOMAINS: Final = (b"", b"ai.onnx")
_SIZE_INPUTS: Final = {
    b"Expand": (1,), b"ConstantOfShape": (0,), b"Tile": (1,), b"Resize": (1, 2, 3),
}  # fmt: skip
"""Inputs of an operator that say how large its output is, or how often its input is repeated."""
_SIZE_ATTRIBUTES: Final = {
    b"dilations", b"kernel_shape", b"output_padding", b"output_shape", b"strides",
}  # fmt: skip
_PADS: Final = {b"pads", b"paddings"}


def check_model_fields(numbers: Sequence[int]) -> None:
    """Check the outermost layer.

    Raises:
        ModelError: it holds more than a graph, or two, which libraries would merge.
        ValueError: it is no ModelProto.
    """
    for number in numbers:
        if number in _REFUSED:
            raise refused("training or functions of its own")
        if number not in _MODEL:
            raise ValueError("no field of ModelProto")
    if numbers.count(7) > 1:
        raise refused("more than one graph")


def check_opset(entry: memoryview) -> None:
    """Check one opset import.

    Raises:
        ModelError: it is not of ONNX itself, or of no version that our counts of inputs are for.
        ValueError: it is damaged.
    """
    version = 0
    for number, value in fields(entry):
        if number == 1 and bytes(content(value)) not in _STANDARD_DOMAINS:
            raise refused("operators that are not of ONNX itself")
        if number == 2 and isinstance(value, int):
            version = signed(value)
    if not MIN_OPSET <= version <= MAX_OPSET:
        raise refused(f"an ONNX opset before {MIN_OPSET} or after {MAX_OPSET}")


def check_graph(graph: memoryview) -> None:
    """Check a serialised graph.

    Raises:
        ModelError: it holds operators that are not allowed or lack inputs, data outside the file,
            or tensors that say to be larger than they are or than any study needs.
        ValueError, IndexError: it is damaged.
    """
    constants: dict[bytes, Numbers] = {}
    given: set[bytes] = set()
    nodes: list[_Node] = []
    for number, value in fields(graph):
        if number == 1:
            nodes.append(_node(content(value), constants))
            if len(nodes) > MAX_NODES:
                raise refused("too many operators")
        elif number == 5:
            name, numbers = tensor(content(value))
            _keep(constants, name, numbers)
            given.add(name)
        elif number not in _GRAPH:
            raise refused("sparse or quantised tensors")
        elif number in _VALUE_INFO:
            for path in _VALUE_INFO_TEXTS:
                _check_texts(content(value), path)
            if number == _GRAPH_INPUT:
                given.add(_name(content(value)))
        elif number in _GRAPH_TEXTS:
            text(value)
    _check_wiring(nodes, given)
    for node in nodes:
        _check_size(node.operator, [constants.get(name) for name in node.inputs])


class _Node(NamedTuple):
    operator: bytes
    inputs: list[bytes]
    outputs: list[bytes]


def _check_wiring(nodes: Sequence[_Node], given: Set[bytes]) -> None:
    """Check what nodes take and make, so that each name is one tensor and each tensor is there.

    Args:
        nodes: in the order of the file.
        given: names of the graph's inputs and stored tensors.

    Raises:
        ModelError: a node lacks an input or output, takes what nothing before it makes, or makes
            what is there already, which libraries take for either.
    """
    known = set(given)
    for operator, inputs, outputs in nodes:
        fewest = FEWEST_INPUTS[operator]
        needed = inputs if operator in WITHOUT_GAPS else inputs[:fewest]
        made = set(filter(None, outputs))
        if len(needed) < fewest or b"" in needed or not made:
            raise refused("an operator without an input or output that it needs")
        if not known.issuperset(filter(None, inputs)):
            raise refused("operators out of order, or with inputs that nothing makes")
        if len(made) < len(outputs) - outputs.count(b"") or not known.isdisjoint(made):
            raise refused("more than one value in one place")
        known |= made


def _name(message: memoryview) -> bytes:
    """Of a graph's input. Raises ModelError where it has two, of which libraries take the last."""
    names = [text(value) for number, value in fields(message) if number == 1]
    if len(names) != 1:
        raise refused("more than one value in one place")
    return names[0]


def _node(message: memoryview, constants: dict[bytes, Numbers]) -> _Node:
    """Read and check a node; what a Constant holds goes into ``constants``."""
    inputs: list[bytes] = []
    outputs: list[bytes] = []
    held: list[Numbers | None] = []
    operator = b""
    for number, value in fields(message):
        if number == 5:
            held.append(_attribute(content(value)))
        elif number == 1:
            inputs.append(text(value))
        elif number == 2:
            outputs.append(text(value))
        elif number == 4:
            operator = text(value)
        elif number not in _NODE or (number == 7 and text(value) not in _STANDARD_DOMAINS):
            raise refused("operators that are not of ONNX itself")
        elif number in (3, 6):
            text(value)
    if operator not in FEWEST_INPUTS:
        raise refused("operators that no model of ours has")
    if operator == b"Constant":
        if len(held) > 1:
            raise refused("more than one value in one place")
        for name in outputs:
            _keep(constants, name, held[0] if held else None)
    return _Node(operator, inputs, outputs)


def _keep(constants: dict[bytes, Numbers], name: bytes, numbers: Numbers | None) -> None:
    """Raises ModelError where there is another of that name: libraries take either."""
    if name in constants:
        raise refused("more than one value in one place")
    constants[name] = BEYOND if numbers is None else numbers


def _attribute(message: memoryview) -> Numbers | None:
    """Numbers of an attribute. Raises ModelError where they ask for a size beyond all reason."""
    name, numbers = attribute(message)
    if name in _PADS and numbers is not None:
        _check_elements(_padded(numbers))
    if name in _SIZE_ATTRIBUTES and numbers is not None:
        _check_elements(prod(map(abs, numbers)))
    return numbers


def _check_size(operator: bytes, inputs: list[Numbers | None]) -> None:
    """Raises ModelError where constants ask for a tensor beyond all reason."""
    if operator == b"Range" and len(inputs) == 3:
        start, limit, step = inputs
        if start and limit and step and step[0] != 0:
            _check_elements(abs((limit[0] - start[0]) / step[0]))
    if operator == b"Pad" and len(inputs) > 1:
        _check_elements(_padded(inputs[1] or []))
    for place in _SIZE_INPUTS.get(operator, ()):
        sizes = inputs[place] if place < len(inputs) else None
        _check_elements(prod(map(abs, sizes or [0])))


def _padded(pads: Numbers) -> float:
    """Elements that one element grows to. ``pads`` has all beginnings, then all ends."""
    half = (len(pads) + 1) // 2
    pairs = zip_longest(pads[:half], pads[half:], fillvalue=0)
    return prod(1 + abs(before) + abs(after) for before, after in pairs)


def _check_elements(elements: float) -> None:
    """Raises ModelError for too many, and for what is no number."""
    if not elements <= MAX_ELEMENTS:
        raise refused("tensors far larger than any study")


def _check_texts(message: memoryview, path: Sequence[int]) -> None:
    """Check the texts that lie in nested messages along ``path``. Raises as :func:`text`."""
    for number, value in fields(message):
        if number == path[0] and len(path) == 1:
            text(value)
        elif number == path[0]:
            _check_texts(content(value), path[1:])
