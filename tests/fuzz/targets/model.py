"""Model files: bytes of ONNX, and graphs and metadata changed through the onnx package."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper

from scarseg_runtime.contract import INPUTS, OUTPUTS, Label
from scarseg_runtime.errors import ModelError, ScarsegError
from scarseg_runtime.model_file.gates import gate_reason
from scarseg_runtime.model_file.read import encode_metadata, read_model_file
from scarseg_runtime.providers.onnxruntime.session import OnnxSession

MAX_LEN = 32_768
METADATA: dict[str, Any] = {
    "name": "toy", "version": "1", "training_data": "none", "licence": "Apache-2.0",
    "intended_use": "tests", "recipe_revision": "abc", "recipe": {"seed": 1},
    "tau_days": 120, "delta_max": 4.0, "disagreement_threshold": 0.8,
    "working_spacing_mm": 1.5, "min_scar_ml": 0.3,
    "classes": [{"value": int(v), "name": v.name, "colour": "#000000"} for v in Label],
    "precision": "fp32", "half_convolutions": 0, "image_only": False,
    "fp32_graph_sha256": "", "twin_scores": {}, "verification": {"rows": {"cpu fp32": {}}},
}  # fmt: skip
VALUES = (
    "", "null", "NaN", "Infinity", "-1", "1e999", "true", "[]", "{}", '""', '"fp16"', "[[1]]",
    '{"rows": 1}', '{"rows": {"cpu fp32": 1}}', '[{"value": NaN}]', '[{"value": 1e400}]', "0" * 99,
    "9" * 5000, "[" * 9000, '"\\u0000\\n"', '"\\ud800"', "1" * 400, '{"graph_sha256": []}',
)  # fmt: skip
OPERATORS = ("Loop", "If", "Scan", "Expand", "Range", "Tile", "Resize", "Pad", "Reshape", "Cast",
             "RandomNormal", "Conv", "NonZero", "TopK", "Sum", "Max",
             "LayerNormalization", "Custom", "")  # fmt: skip


def tiny_model() -> onnx.ModelProto:
    """A graph that keeps the contract and finds nothing."""
    types = {"tensor(float)": TensorProto.FLOAT, "tensor(uint8)": TensorProto.UINT8}
    nodes, constants = [], [numpy_helper.from_array(np.zeros(1, np.float32), "zero")]
    nodes.append(helper.make_node("Mul", ["lge", "zero"], ["scar_probability"]))
    for spec in OUTPUTS:
        if spec.type == "tensor(uint8)":
            node = helper.make_node("Cast", ["scar_probability"], [spec.name], to=TensorProto.UINT8)
            nodes.append(node)
        elif spec.shape == (1,):
            nodes.append(helper.make_node("Mul", ["gap_days", "zero"], [spec.name]))
        elif spec.name != "scar_probability":
            shape = numpy_helper.from_array(np.array(spec.shape, np.int64), f"{spec.name}.shape")
            constants.append(shape)
            nodes.append(helper.make_node("Expand", ["zero", shape.name], [spec.name]))
    inputs, outputs = (
        [helper.make_tensor_value_info(s.name, types[s.type], s.shape) for s in specs]
        for specs in (INPUTS, OUTPUTS)
    )
    graph = helper.make_graph(nodes, "toy", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    helper.set_model_props(model, encode_metadata(METADATA))
    return model


def seeds() -> dict[str, bytes]:
    model = tiny_model()
    found = {"toy": model.SerializeToString()}
    for name in ("functions", "graph"):
        other = onnx.ModelProto()
        other.CopyFrom(model)
        if name == "functions":
            other.functions.add(name="f", domain="local")
        found[f"with {name}"] = other.SerializeToString() * (2 if name == "graph" else 1)
    return found


def one(data: bytes) -> None:
    """Read, load on the CPU and run on a study of two pixels."""
    with tempfile.TemporaryDirectory(prefix="scarseg-fuzz-") as folder:
        path = Path(folder, "m.onnx")
        path.write_bytes(data)
        try:
            found = read_model_file(path)
            metadata = found.metadata
            assert np.isfinite([metadata.tau_days, metadata.delta_max, metadata.min_scar_ml]).all()
            gate_reason(metadata.verification, found.graph_sha256, "cpu", "fp32")
            session = OnnxSession.open(found, "cpu", threads=1)
            session.execute(study(image_only=metadata.image_only))
        except ScarsegError as error:
            words = str(error)
            assert folder not in words and len(words) < 600 and words.isprintable(), words
            if isinstance(error, ModelError):
                raise


def study(*, image_only: bool) -> dict[str, np.ndarray]:
    inputs = INPUTS[:3] if image_only else INPUTS
    sizes = {"S": 1, "H": 1, "W": 2}
    return {
        s.name: np.ones([sizes.get(str(n), n) for n in s.shape], np.float32)  # type: ignore[misc]
        for s in inputs
    }


def mutate(data: bytes, limit: int, seed: int, plain: Callable[[bytes, int], bytes]) -> bytes:
    """Change metadata, a tensor or a node through the onnx package; else ``plain``."""
    chance = random.Random(seed)
    way = chance.randrange(4)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
        if way == 0 and model.metadata_props:
            _change_metadata(chance.choice(model.metadata_props), chance)
        elif way == 1 and model.graph.initializer:
            _change_tensor(chance.choice(model.graph.initializer), chance)
        elif way == 2 and model.graph.node:
            _change_node(chance.choice(model.graph.node), chance)
        else:
            return bytes(plain(data, limit))
        return bytes(model.SerializeToString()[:limit])
    except (DecodeError, ValueError, RecursionError):  # no model, no UTF-8, JSON without an end
        return bytes(plain(data, limit))


def _change_metadata(entry: Any, chance: random.Random) -> None:
    if chance.random() < 0.5:
        entry.value = chance.choice(VALUES)
    else:
        entry.value = json.dumps([json.loads(entry.value)] * chance.randrange(3))


def _change_tensor(tensor: onnx.TensorProto, chance: random.Random) -> None:
    way = chance.randrange(6)
    if way == 0:
        tensor.dims.append(chance.choice([0, -1, 1, 2, 1 << 20, 1 << 62]))
    elif way == 1:
        tensor.data_type = chance.randrange(30)
    elif way == 2:
        tensor.external_data.add(key="location", value=chance.choice(["/etc/hostname", "../x"]))
        tensor.data_location = TensorProto.EXTERNAL
    elif way == 3:
        size = chance.choice([0, 1 << 10, 1 << 27, 1 << 40, -1])
        tensor.raw_data = np.int64(size).tobytes() * chance.randrange(4)
    elif way == 4:
        tensor.name = chance.choice(["zero", "lge", "", "x"])
    else:
        del tensor.dims[:]


def _change_node(node: onnx.NodeProto, chance: random.Random) -> None:
    way = chance.randrange(6)
    if way == 0:
        node.op_type = chance.choice(OPERATORS)
    elif way == 5 and node.input:
        place = chance.randrange(len(node.input))
        kept = list(node.input)
        node.input[:] = chance.choice([kept[:place], [*kept[:place], "", *kept[place + 1 :]]])
    elif way == 1:
        node.domain = chance.choice(["", "ai.onnx", "com.microsoft", "evil", "ai.onnx.ml"])
    elif way == 2:
        node.attribute.append(helper.make_attribute("to", chance.randrange(25)))
    elif way == 3:
        names = ["zero", "lge", "ecg", "labels", "", *node.output]
        node.input.append(chance.choice(names))
    else:
        node.output.append(chance.choice(["labels", "extra", *node.input]))
