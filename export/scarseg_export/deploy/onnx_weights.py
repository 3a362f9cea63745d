"""A network's weights in an ONNX file under the network's own names, and back.

The exporter keeps names, but stores the weight of a linear layer transposed, or as the 1 × 1 kernel
that it is on maps, under a name of its own. Given names again, a model file is all that is needed
to build the PyTorch network it came from, and so to compare a provider with PyTorch where nobody
has the checkpoint.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from scarseg_export.net.fold import fold_batch_norm
from scarseg_export.net.network import ScarNet
from scarseg_export.train.recipe import network_config
from scarseg_runtime.errors import ModelError
from scarseg_runtime.model_file.read import ModelMetadata

TRANSPOSED = ".transposed"
ZEROS = ""
"""Stands for a weight that is all zero: the exporter leaves such biases away."""
FOLDED = frozenset({"taff.log_tau"})
"""Folded into other constants by the exporter; the metadata tell it."""


def name_weights(model: onnx.ModelProto, net: ScarNet) -> dict[str, str]:
    """Rename the constants that are weights of ``net``, transposed or of another shape, in place.

    Returns the name that is left of each weight that the exporter merged with an equal one, and
    ``ZEROS`` for each that it left away because it is zero.

    Raises:
        RuntimeError: a weight of the network is in the file under no name.
    """
    constants = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    same_as: dict[str, str] = {}
    for name, weight in net.state_dict().items():
        if name in constants or name in FOLDED:
            continue
        value = weight.numpy()
        match = ZEROS if not value.any() else _find(constants, value)
        turned = _find(constants, value.T) if match is None and value.ndim == 2 else None
        kernel = _find(constants, value.reshape(*value.shape, 1, 1)) if match is None else None
        if match is not None:
            same_as[name] = match
        elif kernel is not None:
            _rename(model, kernel, name)
            constants[name] = constants.pop(kernel)
        elif turned is not None:
            _rename(model, turned, name + TRANSPOSED)
            constants[name + TRANSPOSED] = constants.pop(turned)
        else:
            raise RuntimeError(f"the exported graph has no constant that holds {name}")
    return same_as


def _find(constants: dict[str, NDArray[Any]], wanted: NDArray[np.float32]) -> str | None:
    for name, value in constants.items():
        if value.shape == wanted.shape and np.array_equal(value, wanted):
            return name
    return None


def _rename(model: onnx.ModelProto, old: str, new: str) -> None:
    for constant in model.graph.initializer:
        constant.name = new if constant.name == old else constant.name
    for node in model.graph.node:
        node.input[:] = [new if name == old else name for name in node.input]


def network_of(model: onnx.ModelProto, metadata: ModelMetadata) -> ScarNet:
    """The PyTorch network, BatchNorm folded, with the weights of a model file in FP32.

    Raises:
        ModelError: the file is of another architecture; names the tensor that does not fit.
    """
    try:
        net = ScarNet(network_config(dict(metadata.recipe["network"]))).eval()
    except (KeyError, TypeError) as error:
        raise ModelError(
            "the model file does not say which network it holds",
            "Verify a file that scarseg-export onnx wrote",
        ) from error
    fold_batch_norm(net)
    constants = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    state = net.state_dict()
    for name, value in state.items():
        if name in FOLDED:
            state[name] = torch.tensor(math.log(metadata.tau_days))
            continue
        left = metadata.recipe.get("same_as", {}).get(name, name)
        found = value.numpy() * 0 if left == ZEROS else constants.get(left)
        if found is None and name + TRANSPOSED in constants:
            found = constants[name + TRANSPOSED].T
        if found is not None and found.shape == (*value.shape, 1, 1):
            found = found.reshape(value.shape)
        if found is None or found.shape != tuple(value.shape):
            raise ModelError(
                f"tensor {name} of the model file is missing or not of shape {list(value.shape)}",
                "Verify a file that scarseg-export onnx wrote",
            )
        state[name] = torch.from_numpy(np.array(found, np.float32))
    net.load_state_dict(state)
    return net
