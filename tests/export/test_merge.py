"""Merged operators compute what the many did, and are fewer."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from scarseg_export.deploy.merge import merge_operators
from scarseg_runtime.providers.onnxruntime.api import import_onnxruntime

HEADER = '<ir_version: 10, opset_import: ["" : 20]>'
NUMBERS = "int64[1] zero = {0}, int64[1] one = {1}"

GRAPHS = {
    "lengths are taken at once": (
        f"""{HEADER} g (float[S, 3] x, float[U] y) => (float[A, B, C] out) <{NUMBERS}> {{
            a = Shape <start = 0, end = 1> (x)
            b = Shape <start = 1, end = 2> (x)
            shape = Concat <axis = 0> (one, a, b)
            out = Reshape(x, shape)
        }}""",
        {"Shape": 1, "Concat": 1, "Reshape": 1},
    ),
    "but not in another order": (
        f"""{HEADER} g (float[S, 3] x) => (float[A, B] out) <{NUMBERS}> {{
            a = Shape <start = 0, end = 1> (x)
            b = Shape <start = 1, end = 2> (x)
            shape = Concat <axis = 0> (b, a)
            out = Reshape(x, shape)
        }}""",
        {"Shape": 2, "Concat": 1, "Reshape": 1},
    ),
    "lengths as numbers": (
        f"""{HEADER} g (float[S, 3] x) => (float[2] out) <{NUMBERS}> {{
            a = Shape <start = 0, end = 1> (x)
            b = Shape <start = 1, end = 2> (x)
            c = Squeeze(a)
            d = Squeeze(b)
            e = Cast <to = 1> (c)
            f = Cast <to = 1> (d)
            h = Unsqueeze(e, zero)
            i = Unsqueeze(f, zero)
            out = Concat <axis = 0> (h, i)
        }}""",
        {"Shape": 1, "Cast": 1},
    ),
    "sums and maxima": (
        f"""{HEADER} g (float[S, 3] x) => (float out, float[S, 3] more) <{NUMBERS}> {{
            out = ReduceMax <keepdims = 0> (x)
            low = Max(x, zero_float)
            sign = Neg(x)
            high = Max(low, sign)
            twice = Add(high, x)
            more = Add(twice, sign)
        }}""".replace(NUMBERS, NUMBERS + ", float zero_float = {0}"),
        {"ReduceMax": 1, "Max": 1, "Sum": 1, "Neg": 1},
    ),
    "what is used twice stays": (
        f"""{HEADER} g (float[S, 3] x) => (float[S, 3] out, float[S, 3] twice) <{NUMBERS}> {{
            twice = Add(x, x)
            out = Add(twice, x)
        }}""",
        {"Add": 2},
    ),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_merged_operators_compute_the_same(name: str) -> None:
    text, expected = GRAPHS[name]
    before = onnx.parser.parse_model(text)
    onnx.checker.check_model(before, full_check=True)
    model = ir.from_proto(onnx.shape_inference.infer_shapes(before))
    merge_operators(model)
    after = ir.to_proto(model)
    onnx.checker.check_model(after, full_check=True)
    assert Counter(node.op_type for node in after.graph.node) == expected
    x = np.random.default_rng(0).uniform(0.5, 2.0, (4, 3)).astype(np.float32)
    ours, theirs = (run(graph, x) for graph in (after, before))
    for one, other in zip(ours, theirs, strict=True):
        assert one.shape == other.shape
        assert one == pytest.approx(other, rel=1e-6)


def run(model: onnx.ModelProto, x: np.ndarray) -> list[np.ndarray]:
    """Outputs of a graph in ONNX Runtime."""
    session = import_onnxruntime().InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    inputs = {"x": x, "y": np.zeros(2, np.float32)}
    return list(session.run(None, {i.name: inputs[i.name] for i in session.get_inputs()}))
