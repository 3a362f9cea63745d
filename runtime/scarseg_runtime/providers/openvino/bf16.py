"""The FP16 variant of a model computed in BF16, which some CPUs multiply faster than FP32.

The types of that file say which convolutions bear fewer bits, and where casts stand around them.
So it serves BF16 too, cast when it is compiled. Rounding the whole graph, as OpenVINO does when
asked for BF16, moves the heart's crop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from scarseg_runtime.errors import ProviderError
from scarseg_runtime.providers.openvino.api import import_openvino

if TYPE_CHECKING:
    import openvino

_CONVOLUTIONS: Final = frozenset({"Convolution", "Deconvolution"})
"""As OpenVINO names them in a compiled model."""


def turn_to_bf16(graph: openvino.Model) -> None:
    """Make every FP16 weight and cast of ``graph`` BF16; the types between them follow."""
    ov = import_openvino()
    for node in graph.get_ordered_ops():
        if node.get_output_size() != 1 or node.get_output_element_type(0) != ov.Type.f16:
            continue
        if node.get_type_name() == "Constant":
            rounded = ov.opset13.constant(_rounded(node.data), dtype=ov.Type.bf16)
            rounded.set_friendly_name(node.get_friendly_name())
            for taker in node.output(0).get_target_inputs():
                taker.replace_source_output(rounded.output(0))
        elif node.get_type_name() == "Convert":
            node.set_attribute("destination_type", "bf16")
    graph.validate_nodes_and_infer_types()


def _rounded(values: NDArray[np.float16]) -> NDArray[np.float32]:
    """The nearest BF16 numbers. Not left to OpenVINO, which cuts off every other weight: that moves
    each layer the same way, and trebles the difference of probabilities."""
    bits = np.asarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).view(np.float32)


def check_bf16(compiled: openvino.CompiledModel, fewest: int) -> None:
    """OpenVINO computes in FP32 what a processor cannot in BF16: no result of ours may say
    otherwise. Raises ProviderError where fewer convolutions than ``fewest`` run in BF16."""
    nodes = (node.rt_info for node in compiled.get_runtime_model().get_ops())
    running = sum(
        facts["layerType"].astype(str) in _CONVOLUTIONS
        and facts["runtimePrecision"].astype(str) == "bf16"
        for facts in nodes
    )
    if running < max(fewest, 1):
        raise ProviderError(
            "OpenVINO does not compute in bf16 on this processor", "Use the precision fp32"
        )
