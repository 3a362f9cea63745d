"""What a model file may hold, checked before any library loads its graph.

A model file may come from anywhere, and an ONNX graph is a program: it can name files to read,
operators of a plug-in, loops without an end. Ours are plain: standard operators, in one graph,
on tensors that lie in the file. A file with anything else is none of ours, and is refused.

What cannot be seen beforehand is how much memory a chain of operators will ask for.

Field numbers: onnx.proto3 of the ONNX project (https://github.com/onnx/onnx).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from struct import calcsize, unpack_from
from typing import Final

from scarseg_runtime.errors import ModelError
from scarseg_runtime.protobuf import Value, fields, signed, varints

OPERATORS: Final = frozenset({
    b"Abs", b"Acos", b"Add", b"And", b"ArgMax", b"ArgMin", b"Asin", b"Atan", b"AveragePool",
    b"BatchNormalization", b"Cast", b"Ceil", b"Clip", b"Concat", b"Constant",
    b"ConstantOfShape", b"Conv", b"ConvTranspose", b"Cos", b"CumSum", b"Div", b"Dropout",
    b"Elu", b"Equal", b"Erf", b"Exp", b"Expand", b"Flatten", b"Floor", b"Gather",
    b"GatherElements", b"GatherND", b"Gelu", b"Gemm", b"GlobalAveragePool", b"Greater",
    b"GreaterOrEqual", b"GridSample", b"GroupNormalization", b"HardSigmoid", b"HardSwish",
    b"Identity", b"InstanceNormalization", b"IsInf", b"IsNaN", b"LayerNormalization",
    b"LeakyRelu", b"Less", b"LessOrEqual", b"Log", b"LogSoftmax", b"MatMul", b"Max", b"MaxPool",
    b"Mean", b"Min", b"Mish", b"Mod", b"Mul", b"Neg", b"NonZero", b"Not", b"Or", b"PRelu",
    b"Pad", b"Pow", b"Range", b"Reciprocal", b"ReduceL2", b"ReduceMax", b"ReduceMean",
    b"ReduceMin", b"ReduceProd", b"ReduceSum", b"Relu", b"Reshape", b"Resize", b"Round",
    b"ScatterElements", b"ScatterND", b"Shape", b"Sigmoid", b"Sign", b"Sin", b"Size", b"Slice",
    b"Softmax", b"Softplus", b"Split", b"Sqrt", b"Squeeze", b"Sub", b"Sum", b"Tan", b"Tanh",
    b"Tile", b"TopK", b"Transpose", b"Trilu", b"Unsqueeze", b"Where", b"Xor",
})  # fmt: skip
"""Standard operators that our exporters emit, and others that such networks use. None of them
runs a graph of its own (Loop, Scan, If) or draws random numbers."""

MAX_ELEMENTS: Final = 1 << 28
"""Of a tensor whose size the file states: 1 GB in FP32, beyond any stack."""
MAX_NODES: Final = 50_000

_MODEL: Final = {1, 2, 3, 4, 5, 6, 7, 8, 14}
_REFUSED: Final = {20, 25, 26}
"""Of ModelProto: training_info, functions, configuration."""
_GRAPH: Final = {1, 2, 5, 10, 11, 12, 13, 16}
"""Of GraphProto without quantization_annotation and sparse_initializer."""
_GRAPH_TEXTS: Final = {2, 10}
"""Name and description."""
_VALUE_INFO: Final = {11, 12, 13}
_VALUE_INFO_TEXTS: Final = ((1,), (3,), (2, 1, 2, 1, 2), (2, 1, 2, 1, 3), (2, 6))
"""Name, description, names and meanings of dimensions, meaning of the type."""
_NODE: Final = {1, 2, 3, 4, 5, 6, 7, 9}
"""Of NodeProto without overload and device_configurations."""
_ATTRIBUTE: Final = {1, 2, 3, 4, 5, 7, 8, 9, 13, 20}
"""Of AttributeProto without graphs, lists of tensors, sparse tensors, types and references."""
_TENSOR: Final = {1, 2, 4, 5, 7, 8, 9, 10, 11, 12, 14, 16}
"""Of TensorProto without segments, text and external_data."""
_STANDARD_DOMAINS: Final = (b"", b"ai.onnx")
_INT64, _FLOAT = 7, 1
_MAX_RANK: Final = 16
_SIZE_INPUTS: Final = {b"Expand": (1,), b"ConstantOfShape": (0,), b"Tile": (1,), b"Resize": (2, 3)}
"""Which inputs of an operator say how large its output is, or how often its input is repeated."""
_SHORT_BYTES: Final = 200
"""A tensor that holds a size is no longer than this."""
_ADVICE: Final = "Do not trust it; use a model file that was exported by scarseg-export"

Numbers = list[int] | list[float]


def check_model_fields(numbers: Sequence[int]) -> None:
    """Check the outermost layer.

    Raises:
        ModelError: it holds more than a graph, or two, which libraries would merge.
        ValueError: it is no ModelProto.
    """
    for number in numbers:
        if number in _REFUSED:
            raise _refused("training or functions of its own")
        if number not in _MODEL:
            raise ValueError("no field of ModelProto")
    if numbers.count(7) > 1:
        raise _refused("more than one graph")


def check_opset(entry: memoryview) -> None:
    """Check one opset import. Raises ModelError where it is not of ONNX itself."""
    for number, value in fields(entry):
        if number == 1 and bytes(_bytes(value)) not in _STANDARD_DOMAINS:
            raise _refused("operators that are not of ONNX itself")


def check_graph(graph: memoryview) -> None:
    """Check a serialised graph.

    Raises:
        ModelError: it holds operators that are not allowed, data outside the file, or tensors
            that say to be larger than they are or than any study needs.
        ValueError, IndexError: it is damaged.
    """
    constants: dict[bytes, Numbers] = {}
    nodes = []
    for number, value in fields(graph):
        if number == 1:
            nodes.append(_node(_bytes(value), constants))
            if len(nodes) > MAX_NODES:
                raise _refused("too many operators")
        elif number == 5:
            name, numbers = _tensor(_bytes(value))
            if numbers is not None:
                constants[name] = numbers
        elif number not in _GRAPH:
            raise _refused("sparse or quantised tensors")
        elif number in _VALUE_INFO:
            for path in _VALUE_INFO_TEXTS:
                _check_texts(_bytes(value), path)
        elif number in _GRAPH_TEXTS:
            _text(value)
    for operator, inputs in nodes:
        _check_size(operator, [constants.get(name) for name in inputs])


def _node(message: memoryview, constants: dict[bytes, Numbers]) -> tuple[bytes, list[bytes]]:
    """Operator and inputs of a node; what a Constant holds goes into ``constants``."""
    inputs: list[bytes] = []
    outputs: list[bytes] = []
    operator, numbers = b"", None
    for number, value in fields(message):
        if number == 5:
            numbers = _attribute(_bytes(value)) or numbers
        elif number == 1:
            inputs.append(_text(value))
        elif number == 2:
            outputs.append(_text(value))
        elif number == 4:
            operator = _text(value)
        elif number not in _NODE or (number == 7 and _text(value) not in _STANDARD_DOMAINS):
            raise _refused("operators that are not of ONNX itself")
        elif number in (3, 6):
            _text(value)
    if operator not in OPERATORS:
        raise _refused("operators that no model of ours has")
    if operator == b"Constant" and numbers is not None and outputs:
        constants[outputs[0]] = numbers
    return operator, inputs


def _attribute(message: memoryview) -> Numbers | None:
    """Numbers of an attribute, if it is a short tensor or a list of integers."""
    found: Numbers | None = None
    tensors = 0
    integers: list[int] = []
    for number, value in fields(message):
        if number == 5:
            found = _tensor(_bytes(value))[1]
            tensors += 1
        elif number in (3, 8):
            integers += _integers(value)
        elif number == 1:
            _text(value)
        elif number not in _ATTRIBUTE:
            raise _refused("graphs inside of operators, or other unusual attributes")
    if tensors > 1:
        raise _refused("a tensor in parts")
    return found or integers or None


def _tensor(message: memoryview) -> tuple[bytes, Numbers | None]:
    """Name and, of a short tensor of int64 or float, the numbers."""
    dims: list[int] = []
    kept: dict[int, Value] = {}
    integers: list[int] = []
    for number, value in fields(message):
        if number not in _TENSOR:
            raise _refused("data outside of the file, or tensors of text")
        if number == 14 and value != 0:
            raise _refused("data outside of the file, or tensors of text")
        if number == 1:
            dims += _integers(value)
        elif number == 7 and len(message) < _SHORT_BYTES:
            integers += _integers(value)
        else:
            kept[number] = value
    # Types of four bits take least: two elements a byte.
    if len(dims) > _MAX_RANK or min(dims, default=0) < 0 or prod(dims) > 2 * len(message):
        raise _refused("tensors that are larger than their data")
    raw = kept.get(9, b"")
    if isinstance(raw, int) or len(message) >= _SHORT_BYTES:
        return _name(kept), None
    if kept.get(2) == _INT64:
        return _name(kept), integers or _numbers(raw, "q")
    if kept.get(2) == _FLOAT:
        floats = kept.get(4, b"")
        return _name(kept), _numbers(raw or (b"" if isinstance(floats, int) else floats), "f")
    return _name(kept), None


def _check_size(operator: bytes, inputs: list[Numbers | None]) -> None:
    """Raises ModelError where constants ask for a tensor beyond all reason."""
    elements: float = 0
    if operator == b"Range" and len(inputs) == 3:
        start, limit, step = inputs
        if start and limit and step and step[0] != 0:
            elements = abs((limit[0] - start[0]) / step[0])
    for place in _SIZE_INPUTS.get(operator, ()):
        sizes = inputs[place] if place < len(inputs) else None
        elements = max(elements, prod(map(abs, sizes or [0])))
    if not elements <= MAX_ELEMENTS:
        raise _refused("tensors far larger than any study")


def _integers(value: Value) -> list[int]:
    """A repeated integer field, packed or not."""
    return [signed(value)] if isinstance(value, int) else [signed(n) for n in varints(value)]


def _numbers(raw: memoryview | bytes, kind: str) -> Numbers:
    """``kind``: q for int64, f for float."""
    return list(unpack_from(f"<{len(raw) // calcsize(kind)}{kind}", raw))


def _name(kept: dict[int, Value]) -> bytes:
    return _text(kept[8]) if 8 in kept else b""


def _check_texts(message: memoryview, path: Sequence[int]) -> None:
    """Check the texts that lie in nested messages along ``path``. Raises as :func:`_text`."""
    for number, value in fields(message):
        if number == path[0] and len(path) == 1:
            _text(value)
        elif number == path[0]:
            _check_texts(_bytes(value), path[1:])


def _text(value: Value) -> bytes:
    """A name. Raises ValueError where it is no UTF-8, over which libraries trip each in its way."""
    content = bytes(_bytes(value))
    content.decode("utf-8")
    return content


def _bytes(value: Value) -> memoryview:
    if isinstance(value, int):
        raise ValueError("not of that type")
    return value


def _refused(what: str) -> ModelError:
    return ModelError(f"the model file cannot be loaded: it holds {what}", _ADVICE)
