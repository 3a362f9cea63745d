"""ONNX operators that a model may use, with the least number of inputs of each.

Standard operators that our exporters emit, and others that such networks use. None of them runs a
graph of its own (Loop, Scan, If) or draws random numbers.

A node with fewer inputs than its operator needs is no ONNX, yet libraries crash on one: OpenVINO
2026.4 on ``Conv`` and ``Pad`` with one input and on ``Sum`` with none, ONNX Runtime 1.32 on ``Sum``
with one of its inputs left out. The counts are the least that any opset from ``MIN_OPSET`` on
allows (https://onnx.ai/onnx/operators).
"""

from __future__ import annotations

from typing import Final

MIN_OPSET: Final = 13
"""Of December 2020. Older opsets give some operators fewer inputs and other meanings."""
MAX_OPSET: Final = 100
"""Libraries know 28 at most; OpenVINO 2026.4 takes any and then time in proportion to it."""

_BY_FEWEST_INPUTS: Final = {
    0: "Constant",
    1: (
        "Abs Acos ArgMax ArgMin Asin Atan AveragePool Cast Ceil Clip Concat ConstantOfShape Cos "
        "Dropout Elu Erf Exp Flatten Floor Gelu GlobalAveragePool HardSigmoid HardSwish Identity "
        "IsInf IsNaN LeakyRelu Log LogSoftmax Max MaxPool Mean Min Mish Neg NonZero Not "
        "Reciprocal ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum Relu Resize "
        "Round Shape Sigmoid Sign Sin Size Softmax Softplus Split Sqrt Squeeze Sum Tan Tanh "
        "Transpose Trilu"
    ),
    2: (
        "Add And Conv ConvTranspose CumSum Div Equal Expand Gather GatherElements GatherND Gemm "
        "Greater GreaterOrEqual GridSample LayerNormalization Less LessOrEqual MatMul Mod Mul Or "
        "PRelu Pad Pow Reshape Sub Tile TopK Unsqueeze Xor"
    ),
    3: "GroupNormalization InstanceNormalization Range ScatterElements ScatterND Slice Where",
    5: "BatchNormalization",
}

FEWEST_INPUTS: Final = {
    name.encode(): fewest for fewest, names in _BY_FEWEST_INPUTS.items() for name in names.split()
}
"""Of every operator that is allowed."""
WITHOUT_GAPS: Final = frozenset({b"Concat", b"LayerNormalization", b"Max", b"Mean", b"Min", b"Sum"})
"""Of these no input may be left out by an empty name, as that of ``Clip`` and ``Resize`` may be."""
