"""The FP16 variant: what is in FP16 and what is not, on real arithmetic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from scarseg_export.deploy.half import (
    CONVOLUTIONS,
    convert_to_half,
    half_convolutions,
    write_half_variant,
)
from scarseg_export.deploy.model_io import load_model
from scarseg_export.verify.studies import Study, edge_studies
from scarseg_infer.models import model_path
from scarseg_runtime.contract import Label
from scarseg_runtime.errors import ModelError
from scarseg_runtime.model import Model
from scarseg_runtime.model_file.read import read_model_file
from scarseg_runtime.providers.onnxruntime.api import import_onnxruntime


@pytest.fixture(scope="module")
def shipped() -> Path:
    with model_path(None) as path:
        return path


@pytest.fixture(scope="module")
def half(shipped: Path) -> onnx.ModelProto:
    return convert_to_half(load_model(shipped))


def types_of(model: onnx.ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    values = (*inferred.value_info, *inferred.input, *inferred.output)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return types | {i.name: i.data_type for i in inferred.initializer}


def test_inputs_and_outputs_keep_their_types(shipped: Path, half: onnx.ModelProto) -> None:
    before = load_model(shipped).graph
    assert list(half.graph.input) == list(before.input)
    assert list(half.graph.output) == list(before.output)


def test_image_convolutions_compute_in_fp16_and_nothing_else_does(half: onnx.ModelProto) -> None:
    types = types_of(half)
    in_half = {n.op_type for n in half.graph.node if types[n.output[0]] == TensorProto.FLOAT16}
    assert in_half <= {"Conv", "Relu", "MaxPool", "Resize", "Concat", "Cast"}
    convolutions = [n for n in half.graph.node if n.op_type in CONVOLUTIONS]
    wide = [n for n in convolutions if types[n.output[0]] == TensorProto.FLOAT16]
    assert len(wide) == half_convolutions(half.graph) == 20
    square = [n.input[1] for n in convolutions if n not in wide and _kernel(half, n) == [3, 3]]
    assert {name.split(".")[0] for name in square} == {"localiser"}


def test_the_place_of_the_heart_is_not_rounded(half: onnx.ModelProto) -> None:
    """An error of the localiser moves the crop, and with it every border."""
    types = types_of(half)
    first = next(n for n in half.graph.node if n.input[1:2] == ["image.unet.down.0.0.weight"])
    before = half.graph.node[: list(half.graph.node).index(first)]
    rounded = [n.op_type for n in before if types[n.output[0]] == TensorProto.FLOAT16]
    assert rounded == ["Cast"]  # of the crop itself


def _kernel(model: onnx.ModelProto, node: onnx.NodeProto) -> list[int]:
    return next(list(i.dims[2:]) for i in model.graph.initializer if i.name == node.input[1])


def test_statistics_logits_and_time_stay_in_fp32(half: onnx.ModelProto) -> None:
    types = types_of(half)
    for node in half.graph.node:
        if node.op_type in ("ReduceSum", "ReduceMin", "ReduceMax", "Exp", "Softmax", "Sigmoid",
                            "GridSample", "Sqrt", "Div", "Gemm", "MatMul"):  # fmt: skip
            assert types[node.output[0]] in (TensorProto.FLOAT, TensorProto.INT64), node.op_type


def test_weights_are_rounded_to_nearest(shipped: Path, half: onnx.ModelProto) -> None:
    before = {i.name: numpy_helper.to_array(i) for i in load_model(shipped).graph.initializer}
    for constant in half.graph.initializer:
        if constant.data_type == TensorProto.FLOAT16:
            ours = numpy_helper.to_array(constant)
            assert np.array_equal(ours, before[constant.name].astype(np.float16))
            assert np.abs(ours - before[constant.name]).max() < 1e-2


def test_a_variant_names_the_file_it_stems_from(shipped: Path, tmp_path: Path) -> None:
    variant = read_model_file(write_half_variant(shipped, tmp_path / "v.onnx"))
    assert variant.metadata.precision == "fp16"
    assert variant.metadata.fp32_graph_sha256 == read_model_file(shipped).graph_sha256
    assert variant.metadata.half_convolutions == 20
    assert variant.metadata.verification == {}
    assert variant.metadata.tau_days == read_model_file(shipped).metadata.tau_days
    with pytest.raises(ModelError, match="no image convolution in FP32"):
        write_half_variant(tmp_path / "v.onnx", tmp_path / "w.onnx")


def test_a_weight_beyond_fp16_is_named(shipped: Path) -> None:
    model = load_model(shipped)
    weight = next(i for i in model.graph.initializer if i.name == "image.scar.0.weight")
    values = numpy_helper.to_array(weight) * np.float32(1e7)
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    with pytest.raises(ModelError, match=f"weight {weight.name} does not fit"):
        convert_to_half(model)


def test_a_tiny_graph_gets_casts_where_types_meet() -> None:
    ones = numpy_helper.from_array(np.ones((2, 1, 3, 3), np.float32), "w")
    last = numpy_helper.from_array(np.ones((1, 2, 1, 1), np.float32), "v")
    nodes = [
        helper.make_node("Mul", ["x", "x"], ["squared"]),
        helper.make_node("Conv", ["squared", "w"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "v"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["y"]),
    ]
    value = [helper.make_tensor_value_info(n, 1, [1, 1, 8, 8]) for n in ("x", "y")]
    graph = helper.make_graph(nodes, "g", value[:1], value[1:], [ones, last])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    types = types_of(convert_to_half(model))
    kinds = {n: types[n] for n in ("squared", "a", "b", "logit", "y")}
    half, single = TensorProto.FLOAT16, TensorProto.FLOAT
    assert kinds == {"squared": single, "a": half, "b": half, "logit": single, "y": single}


def test_normalisation_between_convolutions_stays_in_fp32_and_does_not_end_the_trunk() -> None:
    """As nnU-Net is built: convolution, instance normalisation, activation; a residual sum."""
    rng = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> TensorProto:
        return numpy_helper.from_array(rng.normal(0, 0.3, shape).astype(np.float32), name)

    constants = [weight("w1", 4, 1, 3, 3), weight("w2", 4, 4, 3, 3), weight("w3", 2, 4, 1, 1),
                 weight("scale", 4), weight("bias", 4)]  # fmt: skip
    pads = {"pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], **pads),
        helper.make_node("InstanceNormalization", ["a", "scale", "bias"], ["b"]),
        helper.make_node("LeakyRelu", ["b"], ["c"]),
        helper.make_node("Conv", ["c", "w2"], ["d"], **pads),
        helper.make_node("InstanceNormalization", ["d", "scale", "bias"], ["e"]),
        helper.make_node("Add", ["e", "c"], ["f"]),
        helper.make_node("LeakyRelu", ["f"], ["g"]),
        helper.make_node("Conv", ["g", "w3"], ["logits"]),
        helper.make_node("Add", ["logits", "logits"], ["y"]),
    ]
    values = [helper.make_tensor_value_info(n, 1, [1, k, 8, 8]) for n, k in (("x", 1), ("y", 2))]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    half = convert_to_half(model)
    types = types_of(half)
    in_half = {name for name in "abcdefg" if types[name] == TensorProto.FLOAT16}
    assert in_half == {"a", "c", "d", "f", "g"}
    assert types["logits"] == types["y"] == TensorProto.FLOAT
    assert half_convolutions(half.graph) == 2
    x = rng.normal(0, 1, (1, 1, 8, 8)).astype(np.float32)
    answers = [
        import_onnxruntime().InferenceSession(one.SerializeToString()).run(None, {"x": x})[0]
        for one in (model, half)
    ]
    assert np.abs(answers[0] - answers[1]).max() < 0.02


EDGES = ("one slice", "30 slices", "blank", "constant", "faint", "from -65504 to 65504",
         "beyond the range of FP16", "one bright pixel", "silent ECG")  # fmt: skip
"""Names alone: the studies are drawn when they are asked for, not whenever tests are counted."""


@pytest.fixture(scope="module")
def edges() -> dict[str, Study]:
    return {study.name: study for study in edge_studies()}


@pytest.fixture(scope="module")
def both(shipped: Path) -> list[Model]:
    return [Model.load(shipped, "cpu", precision) for precision in ("fp32", "fp16")]


def test_every_edge_is_tested(edges: dict[str, Study]) -> None:
    assert tuple(edges) == EDGES


@pytest.mark.parametrize("name", EDGES)
def test_extreme_pixels_survive_fp16_arithmetic(
    both: list[Model], edges: dict[str, Study], name: str
) -> None:
    """The FP16 graph on a CPU that really rounds to FP16, against the FP32 graph."""
    study = edges[name]
    theirs, ours = (model.session.execute(study.arrays()) for model in both)
    assert all(np.isfinite(value).all() for value in ours.values())
    assert (ours["labels"] == theirs["labels"]).mean() >= 0.999
    assert np.abs(ours["ecg_weight"] - theirs["ecg_weight"]).max() == 0.0
    if name in ("blank", "constant"):
        assert (ours["labels"] == Label.BACKGROUND).all()
    else:
        assert (ours["labels"] == Label.LV_CAVITY).any()
