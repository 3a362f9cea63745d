"""Graphs from elsewhere: what no model of ours holds is refused before any library loads it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from scarseg_runtime.model_file.guard import MAX_NODES
from scarseg_runtime.model_file.operators import FEWEST_INPUTS, MAX_OPSET, MIN_OPSET
from scarseg_runtime.model_file.read import read_model_file

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "scarseg_infer" / "models"
GB = 1 << 30


def insert(model: onnx.ModelProto, *nodes: onnx.NodeProto) -> None:
    """Nodes in front of the graph; nothing uses what they make."""
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *rest])


def constant(
    model: onnx.ModelProto,
    name: str,
    *values: float,
    kind: type[np.number] = np.int64,
    text: str = "",
) -> str:
    tensor = numpy_helper.from_array(np.array(values, kind), name)
    tensor.doc_string = text
    model.graph.initializer.append(tensor)
    return name


def limits(model: onnx.ModelProto, kind: type[np.number], limit: float, step: float) -> list[str]:
    """The inputs of a Range."""
    values = {"start": 0, "limit": limit, "step": step}
    return [constant(model, name, value, kind=kind) for name, value in values.items()]


@pytest.mark.parametrize(
    "location", ["weights.bin", "../weights.bin", "/etc/hostname", "C:\\x", "//host/share/x"]
)
@pytest.mark.parametrize("flagged", [True, False])
def test_data_outside_of_the_file(
    model: onnx.ModelProto,
    tmp_path: Path,
    location: str,
    flagged: bool,
    refusal: Callable[..., str],
) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.external_data.add(key="location", value=location)
    if flagged:
        tensor.data_location = TensorProto.EXTERNAL
    (tmp_path / "weights.bin").write_bytes(bytes(1 << 20))
    assert "data outside of the file" in refusal(model)


def test_data_outside_of_the_file_by_the_flag_alone_or_in_an_attribute(
    model: onnx.ModelProto, refusal: Callable[..., str]
) -> None:
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    assert "data outside of the file" in refusal(model)
    model.graph.initializer[0].data_location = TensorProto.DEFAULT
    outside = TensorProto(dims=[1], data_type=TensorProto.FLOAT)
    outside.external_data.add(key="location", value="weights.bin")
    insert(model, helper.make_node("Constant", [], ["c"], value=outside))
    assert "data outside of the file" in refusal(model)


@pytest.mark.parametrize("domain", ["com.microsoft", "ai.onnx.ml", "evil", "ai.onnx.training"])
def test_operators_of_another_domain(
    model: onnx.ModelProto, refusal: Callable[..., str], domain: str
) -> None:
    model.opset_import.append(helper.make_opsetid(domain, 1))
    assert "not of ONNX itself" in refusal(model)
    del model.opset_import[-1]
    insert(model, helper.make_node("Add", ["lge", "lge"], ["x"], domain=domain))
    assert "not of ONNX itself" in refusal(model)


def _subgraph(name: str) -> onnx.GraphProto:
    flag = helper.make_tensor_value_info("go", TensorProto.BOOL, [])
    return helper.make_graph([helper.make_node("Identity", ["go"], ["on"])], name, [flag], [flag])


GRAPH = _subgraph("b")


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("Loop", ["", "go"], ["x"], body=_subgraph("for ever")),
        helper.make_node("If", ["go"], ["x"], then_branch=_subgraph("a"), else_branch=GRAPH),
        helper.make_node("Scan", ["lge"], ["x"], body=_subgraph("s"), num_scan_inputs=1),
        helper.make_node("Add", ["lge", "lge"], ["x"], body=_subgraph("hidden")),
        helper.make_node("RandomNormal", [], ["x"], shape=[4]),
        helper.make_node("StringConcat", ["lge", "lge"], ["x"]),
        helper.make_node("PyOp", ["lge"], ["x"]),
        helper.make_node("", ["lge"], ["x"]),
    ],
    ids=["Loop", "If", "Scan", "graph in Add", "RandomNormal", "StringConcat", "PyOp", "nameless"],
)  # fmt: skip
def test_operators_that_no_model_of_ours_has(
    model: onnx.ModelProto, refusal: Callable[..., str], node: onnx.NodeProto
) -> None:
    insert(model, node)
    assert re.search("no model of ours|graphs inside", refusal(model))


def test_functions_training_and_other_parts_of_onnx(
    model: onnx.ModelProto, refusal: Callable[..., str]
) -> None:
    model.functions.append(
        helper.make_function(
            "evil", "F", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])],
            [helper.make_opsetid("", 20)],
        )
    )  # fmt: skip
    assert "functions" in refusal(model)
    del model.functions[:]
    model.training_info.add()
    assert "training" in refusal(model)
    del model.training_info[:]
    model.graph.sparse_initializer.add()
    assert "sparse" in refusal(model)


def test_two_graphs_which_a_library_would_merge(
    shipped: onnx.ModelProto, model: onnx.ModelProto, refusal: Callable[..., str]
) -> None:
    """The table of verification would be bound to the second alone."""
    extra = onnx.ModelProto()
    extra.graph.node.append(helper.make_node("Relu", ["lge"], ["x"]))
    doubled = extra.SerializeToString() + shipped.SerializeToString()
    model.ParseFromString(doubled)
    assert len(model.graph.node) == len(shipped.graph.node) + 1
    assert "more than one graph" in refusal(doubled)


Bomb = Callable[[onnx.ModelProto], onnx.NodeProto]
BOMBS: dict[str, Bomb] = {
    "Expand": lambda m: helper.make_node("Expand", ["lge", constant(m, "n", GB, GB)], ["x"]),
    "ConstantOfShape": lambda m: helper.make_node(
        "ConstantOfShape", [constant(m, "n", 1 << 20, 1 << 20)], ["x"]
    ),
    "ConstantOfShape, described at length": lambda m: helper.make_node(
        "ConstantOfShape", [constant(m, "n", 1 << 20, 1 << 20, text="x" * 200)], ["x"]
    ),
    "ConstantOfShape of many axes": lambda m: helper.make_node(
        "ConstantOfShape", [constant(m, "n", *[1] * 40, GB, GB)], ["x"]
    ),
    "Range": lambda m: helper.make_node("Range", limits(m, np.int64, 1 << 42, 1), ["x"]),
    "Range of int32": lambda m: helper.make_node("Range", limits(m, np.int32, 2**31 - 1, 1), ["x"]),
    "Range of double": lambda m: helper.make_node("Range", limits(m, np.float64, 1, 1e-12), ["x"]),
    "Range of float16": lambda m: helper.make_node("Range", limits(m, np.float16, 1, 1), ["x"]),
    "Pad": lambda m: helper.make_node("Pad", ["lge", constant(m, "n", 0, 0, 0, 1, GB, 0)], ["x"]),
    "Pad by an attribute": lambda m: helper.make_node("Pad", ["lge"], ["x"], pads=[0, GB]),
    "AveragePool": lambda m: helper.make_node(
        "AveragePool", ["lge"], ["x"], kernel_shape=[1, 1], pads=[0, 0, 20_000, 20_000]
    ),
    "ConvTranspose": lambda m: helper.make_node(
        "ConvTranspose", ["lge", "w"], ["x"], output_shape=[GB, GB]
    ),
    "Tile": lambda m: helper.make_node("Tile", ["lge", constant(m, "n", 1, GB, GB)], ["x"]),
    "Resize": lambda m: helper.make_node(
        "Resize", ["lge", "", "", constant(m, "n", 1, GB, GB)], ["x"]
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_tensors_of_terabytes(
    model: onnx.ModelProto, refusal: Callable[..., str], name: str
) -> None:
    insert(model, BOMBS[name](model))
    assert "larger than any study" in refusal(model)


def test_a_size_that_comes_from_a_constant_node(
    model: onnx.ModelProto, refusal: Callable[..., str]
) -> None:
    shape = numpy_helper.from_array(np.array([GB, GB], np.int64))
    for given in ({"value": shape}, {"value_ints": [GB, GB]}):
        made = helper.make_node("Constant", [], ["n"], **given)
        insert(model, made, helper.make_node("ConstantOfShape", ["n"], ["x"]))
        assert "larger than any study" in refusal(model)
        del model.graph.node[:2]


@pytest.mark.parametrize("dims", [[GB, GB], [1 << 62, 1 << 62], [-1], [2] * 100_000])
def test_tensors_that_declare_more_than_they_hold(
    model: onnx.ModelProto, refusal: Callable[..., str], dims: list[int]
) -> None:
    model.graph.initializer.append(TensorProto(name="x", data_type=1, dims=dims, raw_data=b"1234"))
    assert "larger than their data" in refusal(model)


def repeated(shipped: onnx.ModelProto, graph: bytes) -> bytes:
    """The file with serialised fields of a graph behind those of its own."""
    whole = shipped.graph.SerializeToString() + graph
    rest = onnx.ModelProto()
    rest.CopyFrom(shipped)
    rest.ClearField("graph")
    return rest.SerializeToString() + field(7, whole)


def field(number: int, content: bytes) -> bytes:
    """A field with a length of its own."""
    length, size = b"", len(content)
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


SIZES = TensorProto(name="n", data_type=7, dims=[2], int64_data=[GB, GB]).SerializeToString()
LARGE = TensorProto(name="n", data_type=1, dims=[1 << 40], raw_data=b"1234").SerializeToString()
INITIALIZER, NODE = 5, 1
INTS = onnx.AttributeProto.INTS
MADE = helper.make_node("ConstantOfShape", ["n"], ["x"])


@pytest.mark.parametrize(
    "twisted",
    [
        SIZES + b"\x12\x01x",  # a type that is text
        LARGE + b"\x09" + bytes(8),  # a size of eight bytes
        SIZES + b"\x39" + bytes(8),  # data of eight bytes
        SIZES + TensorProto(raw_data=bytes(16)).SerializeToString(),
        SIZES + b"\x2a\x01\x00",  # of int32 beside int64
        TensorProto(name="n", data_type=1, dims=[1 << 32, 1 << 32, 0]).SerializeToString(),
    ],
    ids=["type", "dims", "data", "raw", "int32", "an axis of 0"],
)
def test_a_tensor_that_libraries_read_otherwise_than_we(
    shipped: onnx.ModelProto, refusal: Callable[..., str], twisted: bytes
) -> None:
    content = field(INITIALIZER, twisted) + field(NODE, MADE.SerializeToString())
    message = refusal(repeated(shipped, content))
    assert re.search("no ONNX file|more than one value|larger than their data", message)


@pytest.mark.parametrize(
    "twisted",
    [
        b"\x18\x00\x18\x80\x80\x80\x80\x20",  # i twice: 0, then 2^33
        b"\x40\x80\x80\x80\x80\x20\x18\x00",  # ints, then i
        b"\x42\x05\x80\x80\x80\x80\x20\x1a\x01\x00",  # ints, then i as if packed
    ],
    ids=["twice", "two kinds", "another wire type"],
)
def test_an_attribute_that_libraries_read_otherwise_than_we(
    shipped: onnx.ModelProto, refusal: Callable[..., str], twisted: bytes
) -> None:
    made = helper.make_node("Constant", [], ["n"]).SerializeToString() + field(5, twisted)
    content = field(NODE, made) + field(NODE, MADE.SerializeToString())
    message = refusal(repeated(shipped, content))
    assert re.search("no ONNX file|more than one value", message)


def test_two_constants_of_one_name(model: onnx.ModelProto, refusal: Callable[..., str]) -> None:
    constant(model, "n", GB, GB)
    constant(model, "n", 1)
    insert(model, MADE)
    assert "more than one value" in refusal(model)
    del model.graph.initializer[-2:]
    values = {"value_ints": [GB, GB], "value_int": 1}
    insert(model, helper.make_node("Constant", [], ["n"], **values))
    assert "more than one value" in refusal(model)


def test_sizes_as_a_network_has_them_pass(model: onnx.ModelProto, tmp_path: Path) -> None:
    size = constant(model, "size", 4, 4)
    scalar = helper.make_node("Constant", [], ["scalar"])
    scalar.attribute.append(helper.make_attribute("value_ints", [], attr_type=INTS))
    insert(
        model,
        helper.make_node("ConstantOfShape", [size], ["a"]),
        scalar,
        helper.make_node("Expand", ["lge", "scalar"], ["b"]),
        helper.make_node("Range", limits(model, np.float32, 64, 0.5), ["c"]),
        helper.make_node("Pad", ["a", constant(model, "pads", 1, 1, -1, 2)], ["d"]),
        helper.make_node("Resize", ["a", "", constant(model, "s", 2, 2, kind=np.float32)], ["e"]),
        helper.make_node("AveragePool", ["lge"], ["f"], kernel_shape=[7, 7], pads=[3, 3, 3, 3]),
    )
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    assert read_model_file(tmp_path / "m.onnx").metadata.name == "scarseg-reference"


def test_more_operators_than_any_network(
    model: onnx.ModelProto, refusal: Callable[..., str]
) -> None:
    node = helper.make_node("Relu", ["lge"], ["x"])
    model.graph.node.extend([node] * MAX_NODES)
    assert "too many operators" in refusal(model)


def test_inputs_that_an_operator_needs_are_counted_as_onnx_does() -> None:
    history: dict[str, dict[int, onnx.defs.OpSchema]] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain == "":
            history.setdefault(schema.name, {})[schema.since_version] = schema
    for operator, fewest in FEWEST_INPUTS.items():
        versions = history[operator.decode()]
        first = max((since for since in versions if since <= MIN_OPSET), default=0)
        allowed = [schema for since, schema in versions.items() if since >= first]
        assert fewest == min(schema.min_input for schema in allowed), operator


NEEDS, ORDER, TWICE = "input or output that it needs", "out of order", "more than one value"


@pytest.mark.parametrize(
    ("operator", "inputs", "outputs", "what"),
    [
        ("Conv", ["lge"], ["x"], NEEDS),  # OpenVINO 2026.4 crashes
        ("Conv", ["lge", ""], ["x"], NEEDS),
        ("Conv", ["", "lge"], ["x"], NEEDS),
        ("Relu", ["lge"], [], NEEDS),
        ("Relu", ["lge"], [""], NEEDS),
        ("Sum", ["lge", ""], ["x"], NEEDS),  # ONNX Runtime 1.32 crashes
        ("LayerNormalization", ["lge", "lge", ""], ["x"], NEEDS),
        ("Max", ["lge", "x"], ["x"], ORDER),  # OpenVINO crashes
        ("Add", ["lge", "nowhere"], ["x"], ORDER),
        ("Add", ["lge", "later"], ["x"], ORDER),
        ("Relu", ["lge"], ["lge"], TWICE),  # OpenVINO takes the one that was not checked
        ("Relu", ["lge"], ["one"], TWICE),
        ("Split", ["lge"], ["x", "x"], TWICE),
    ],
)
def test_operators_without_what_they_need(
    model: onnx.ModelProto, refusal: Callable[..., str],
    operator: str, inputs: list[str], outputs: list[str], what: str,
) -> None:  # fmt: skip
    constant(model, "one", 1.0)
    insert(
        model,
        helper.make_node(operator, inputs, outputs),
        helper.make_node("Constant", [], ["later"], value_int=1),
    )
    assert what in refusal(model)


@pytest.mark.parametrize(
    ("operator", "inputs"),
    [("Clip", ["lge", "", "one"]), ("Resize", ["lge", "", "sizes"]), ("Sum", ["lge"])],
)
def test_inputs_may_be_left_out_as_exporters_do(
    model: onnx.ModelProto, tmp_path: Path, operator: str, inputs: list[str]
) -> None:
    constant(model, "one", 1.0, kind=np.float32)
    constant(model, "sizes", 1.0, 1.0, 1.0, 2.0, kind=np.float32)
    insert(model, helper.make_node(operator, inputs, ["x"]))
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    read_model_file(tmp_path / "m.onnx")


def test_an_input_of_two_names(shipped: onnx.ModelProto, refusal: Callable[..., str]) -> None:
    """Libraries take the last: OpenVINO 2026.4 hung on a node that takes its own output."""
    model = onnx.ModelProto()
    model.CopyFrom(shipped)
    insert(model, helper.make_node("Relu", ["nowhere"], ["nowhere"]))
    named = field(1, b"nowhere") + model.graph.input[0].SerializeToString()
    del model.graph.input[0]
    assert TWICE in refusal(repeated(model, field(11, named)))


@pytest.mark.parametrize("version", [None, 0, -1, MIN_OPSET - 1, MAX_OPSET + 1, 10**9])
def test_opsets_that_the_counts_of_inputs_are_not_for(
    model: onnx.ModelProto, refusal: Callable[..., str], version: int | None
) -> None:
    model.opset_import[0].ClearField("version")
    if version is not None:
        model.opset_import[0].version = version
    assert f"before {MIN_OPSET} or after {MAX_OPSET}" in refusal(model)


def test_an_opset_is_read_as_libraries_do(
    model: onnx.ModelProto, refusal: Callable[..., str]
) -> None:
    """They cut a number that is too long: this one is 1 to them."""
    del model.opset_import[:]
    long = field(8, b"\x10" + b"\x81" + b"\x80" * 8 + b"\x02")
    assert f"before {MIN_OPSET}" in refusal(model.SerializeToString() + long)


def test_memory_that_a_graph_asks_for_in_vain_is_one_clear_error(tmp_path: Path) -> None:
    """A chain of operators can ask for more than any constant says; ONNX Runtime notices."""
    code = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_AS, (3 << 30,) * 2)\n"
        "from onnx import helper\n"
        "import onnx, numpy as np\n"
        "from pathlib import Path\n"
        "from scarseg_runtime.contract import INPUTS\n"
        "from scarseg_runtime.errors import ProviderError\n"
        "from scarseg_runtime.model_file.read import read_model_file\n"
        "from scarseg_runtime.providers.onnxruntime.session import OnnxSession\n"
        "m = onnx.load(sys.argv[1])\n"
        "last = 'lge'\n"
        "for k in range(40):\n"
        "    m.graph.node.append(helper.make_node('Concat', [last] * 2, [f'd{k}'], axis=2))\n"
        "    last = f'd{k}'\n"
        "for name in [n for n in m.graph.node if 'scar_probability' in n.output]:\n"
        "    name.output[:] = ['was']\n"
        "m.graph.node.append(helper.make_node('ReduceMax', [last], ['top'], keepdims=0))\n"
        "m.graph.node.append(helper.make_node('Add', ['was', 'top'], ['scar_probability']))\n"
        "path = Path(sys.argv[2])\n"
        "path.write_bytes(m.SerializeToString())\n"
        "session = OnnxSession.open(read_model_file(path), 'cpu', 1)\n"
        "size = {'S': 1, 'H': 64, 'W': 64}\n"
        "shapes = {s.name: [size.get(n, n) for n in s.shape] for s in INPUTS}\n"
        "try: session.execute({n: np.ones(s, np.float32) for n, s in shapes.items()})\n"
        "except ProviderError as error: print(error)\n"
    )
    arguments = [sys.executable, "-c", code, str(FOLDER / "reference.onnx"), str(tmp_path / "m")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert "memory enough" in done.stdout


def test_a_model_that_fails_says_one_line(model: onnx.ModelProto, tmp_path: Path) -> None:
    """Sizes that nobody sees beforehand; ONNX Runtime has a log of the process beside its own."""
    sizes = constant(model, "n", 1 << 31, 1 << 31)
    same = helper.make_node("Identity", [sizes], ["same"])
    insert(model, same, helper.make_node("ConstantOfShape", ["same"], ["x"]))
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    study = ROOT / "scarseg_infer" / "demo" / "study"
    command = [sys.executable, "-m", "scarseg_infer.cli", str(study), "--provider", "cpu"]
    files = ["--model", str(tmp_path / "m.onnx"), "-o", str(tmp_path / "out")]
    done = subprocess.run([*command, *files], capture_output=True, text=True, check=False)
    assert done.returncode == 5
    assert done.stderr.count("\n") == 1 and "ONNX Runtime" in done.stderr
