"""Model files from elsewhere: refused with one clear error, before any library loads a graph."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import io
import json
import os
import pickle
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import helper

from scarseg_runtime.errors import ModelError, ProviderError
from scarseg_runtime.model import Model
from scarseg_runtime.model_file.gates import gate_reason
from scarseg_runtime.model_file.operators import FEWEST_INPUTS
from scarseg_runtime.model_file.read import PREFIX, ModelFile, read_model_file
from scarseg_runtime.providers.engine_cache import beside_model, beside_path
from scarseg_runtime.providers.engine_file import write_pair
from scarseg_runtime.providers.gpu import Gpu
from scarseg_runtime.providers.onnxruntime.api import import_onnxruntime
from scarseg_runtime.providers.onnxruntime.session import OnnxSession

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "scarseg_infer" / "models"
ODD = {
    "tau_days": ["NaN", "Infinity", "1e999", "true", '"120"', "0", "-1", "9" * 4000],
    "delta_max": ["NaN", "[]"],
    "name": ["1", "null", '"\\u001b[2J"', '"two\\nlines"', json.dumps("x" * 5000)],
    "training_data": [json.dumps("x" * (2 << 20))],
    "classes": ["{}", '[{"value": 1e400}]', "[[]]", "null"],
    "image_only": ['"no"', "0"],
    "half_convolutions": ["-1", "1.5", '"2"', "true"],
    "verification": ["[]", '{"rows": []}', '{"rows": {"cpu fp32": 1}}', "null"],
    "recipe": ["[]", "[" * 100_000, '{"a":' * 100_000],
    "twin_scores": ["9" * 100_000],
    "precision": ["[]", '"int8"'],
    "format_version": ['"99\\n"', json.dumps("9" * 10_000), "[" * 100_000],
}


@pytest.mark.parametrize(("key", "text"), [(k, text) for k, texts in ODD.items() for text in texts])
def test_odd_metadata(
    model: onnx.ModelProto, refusal: Callable[..., str], key: str, text: str
) -> None:
    for entry in model.metadata_props:
        if entry.key == PREFIX + key:
            entry.value = text
    refusal(model)


def test_a_colour_that_is_none_would_stand_in_the_page(
    model: onnx.ModelProto, refusal: Callable[..., str]
) -> None:
    for entry in model.metadata_props:
        if entry.key == PREFIX + "classes":
            entry.value = re.sub("#[0-9a-f]{6}", "red;}</style><script>", entry.value, count=1)
    assert "classes" in refusal(model)


def test_files_of_other_kinds(tmp_path: Path, refusal: Callable[..., str]) -> None:
    zipped, marker = io.BytesIO(), tmp_path / "executed"

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(marker),)

    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Evil()))
    for content in (zipped.getvalue(), pickle.dumps(Evil()), b"", b"\x80\x02", b"MZ" + bytes(99)):
        assert "it is no ONNX file" in refusal(content)
    assert not marker.exists()


def test_a_file_that_onnx_runtime_takes_for_its_own_format(
    shipped: onnx.ModelProto, refusal: Callable[..., str]
) -> None:
    """Four bytes say so, which may stand in an ONNX file: the graph that was checked would not
    be the one that runs."""
    named = onnx.ModelProto(ir_version=10, producer_name="ORTM").SerializeToString()
    assert named[4:8] == b"ORTM"
    assert "it is no ONNX file" in refusal(named + shipped.SerializeToString())


def test_onnx_runtime_loads_its_own_format_never(tmp_path: Path) -> None:
    path = tmp_path / "m.ort"
    options = import_onnxruntime().SessionOptions()
    options.optimized_model_filepath = str(path)
    options.add_session_config_entry("session.save_model_format", "ORT")
    import_onnxruntime().InferenceSession(
        FOLDER / "reference.onnx", options, providers=["CPUExecutionProvider"]
    )
    content = path.read_bytes()
    assert content[4:8] == b"ORTM"
    passed = dataclasses.replace(  # as if it had been checked
        read_model_file(FOLDER / "reference.onnx"),
        path=path,
        sha256=hashlib.sha256(content).hexdigest(),
    )
    with pytest.raises(ModelError, match="cannot be loaded by ONNX Runtime"):
        OnnxSession.open(passed, "cpu")


def test_a_file_cut_short_anywhere(shipped: onnx.ModelProto, refusal: Callable[..., str]) -> None:
    content = shipped.SerializeToString()
    for share in range(1, 20):
        refusal(content[: len(content) * share // 20])


def test_every_model_of_ours_passes() -> None:
    for path in sorted(FOLDER.glob("*.onnx")):
        used = {node.op_type.encode() for node in onnx.load(path).graph.node}
        assert used <= FEWEST_INPUTS.keys()
        assert read_model_file(path).metadata.name == "scarseg-reference"


def test_a_file_exchanged_after_it_was_checked_does_not_load(
    model: onnx.ModelProto, tmp_path: Path
) -> None:
    path = tmp_path / "m.onnx"
    shutil.copy(FOLDER / "reference.onnx", path)
    checked = read_model_file(path)
    model.graph.node.insert(0, helper.make_node("Relu", ["lge"], ["x"], domain="evil"))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="has changed since"):
        OnnxSession.open(checked, "cpu")


def test_the_table_of_verification_does_not_cover_another_graph(
    model: onnx.ModelProto, tmp_path: Path
) -> None:
    path = tmp_path / "m.onnx"
    model.graph.node.insert(0, helper.make_node("Relu", ["lge"], ["x"]))
    path.write_bytes(model.SerializeToString())
    found = read_model_file(path)
    gate = gate_reason(found.metadata.verification, found.graph_sha256, "cpu", "fp32")
    assert gate is not None and "other weights" in gate
    with pytest.raises(ProviderError, match="other weights"):
        Model.load(path)


def test_an_engine_of_another_model_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    shutil.copy(FOLDER / "reference.fp16.onnx", path)
    model = read_model_file(path)
    place = beside_path(path, "tensorrt-rtx")

    def found(onnx_sha256: str, file: ModelFile = model) -> bool:
        target = {"gpus": [], "portable": False, "any_version": False}
        sidecar = {"onnx_sha256": onnx_sha256, "runtime": "tensorrt-rtx", "version": "1.7",
                   "target": target, "built_on": None}  # fmt: skip
        write_pair(place, b"engine", sidecar)
        return beside_model(file, "tensorrt-rtx", Gpu("GPU", (8, 9), 13000), "1.7") is not None

    assert found(model.sha256)
    assert not found("0" * 64)
    place.write_bytes(place.read_bytes() + b"x")
    assert beside_model(model, "tensorrt-rtx", None, "1.7") is None


def test_no_library_of_operators_is_ever_registered() -> None:
    """ONNX Runtime would run code of whoever made such a library."""
    names = {"register_custom_ops_library", "add_extension", "load_plugin_library",
             "register_execution_provider_library"}  # fmt: skip
    for source in sorted((ROOT / "runtime").rglob("*.py")) + sorted(
        (ROOT / "scarseg_infer").rglob("*.py")
    ):
        tree = ast.parse(source.read_text(encoding="utf-8"))
        used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert not used & names, source.name
