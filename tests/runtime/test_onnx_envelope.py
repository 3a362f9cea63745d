"""The outer layer of ONNX files, against the onnx package and against garbage."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scarseg_infer.models import model_path
from scarseg_runtime.errors import ModelError
from scarseg_runtime.model_file.envelope import MAX_MODEL_BYTES, read_envelope


@pytest.fixture(scope="module")
def shipped() -> Path:
    with model_path(None) as path:
        return path


def test_it_reads_what_the_onnx_package_reads(shipped: Path) -> None:
    model, envelope = onnx.load(shipped), read_envelope(shipped)
    assert envelope.properties == {entry.key: entry.value for entry in model.metadata_props}
    graph = model.graph.SerializeToString()
    assert envelope.graph_sha256 == hashlib.sha256(graph).hexdigest()
    assert envelope.sha256 == hashlib.sha256(shipped.read_bytes()).hexdigest()


def test_only_the_graph_changes_the_hash_of_the_graph(shipped: Path, tmp_path: Path) -> None:
    model = onnx.load(shipped)
    onnx.helper.set_model_props(model, {"anything": "else"})
    onnx.save(model, tmp_path / "other.onnx")
    before, after = read_envelope(shipped), read_envelope(tmp_path / "other.onnx")
    assert before.graph_sha256 == after.graph_sha256
    assert before.sha256 != after.sha256
    model.graph.initializer[0].doc_string += "x"
    onnx.save(model, tmp_path / "other.onnx")
    assert read_envelope(tmp_path / "other.onnx").graph_sha256 != before.graph_sha256


@settings(max_examples=60)
@given(st.dictionaries(st.text(max_size=9), st.text(max_size=300), max_size=5), st.text())
def test_any_metadata_comes_back(
    tmp_path_factory: pytest.TempPathFactory, properties: dict[str, str], name: str
) -> None:
    model = onnx.ModelProto(ir_version=10, producer_name=name, model_version=-(2**40))
    model.graph.name = "g"
    onnx.helper.set_model_props(model, properties)
    path = tmp_path_factory.mktemp("m") / "m.onnx"
    path.write_bytes(model.SerializeToString())
    assert read_envelope(path).properties == properties


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_garbage_gives_one_clear_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("m") / "m.onnx"
    path.write_bytes(content)
    try:
        read_envelope(path)
    except ModelError as error:
        assert "cannot be loaded" in str(error)


@pytest.mark.parametrize("cut", [0, 1, 100, 10_000, -1])
def test_a_file_cut_short_is_refused(shipped: Path, tmp_path: Path, cut: int) -> None:
    (tmp_path / "cut.onnx").write_bytes(shipped.read_bytes()[:cut])
    with pytest.raises(ModelError, match="cannot be loaded"):
        read_envelope(tmp_path / "cut.onnx")


def test_a_folder_or_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        read_envelope(tmp_path)
    with pytest.raises(ModelError, match="does not exist"):
        read_envelope(tmp_path / "nowhere.onnx")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_or_a_device_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    for path in (tmp_path / "pipe.onnx", Path("/dev/zero"), Path("/dev/null")):
        with pytest.raises(ModelError, match="the model file cannot be read"):
            read_envelope(path)


def test_more_than_an_onnx_file_can_be_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "large.onnx").open("wb") as file:
        file.truncate(MAX_MODEL_BYTES + 1)
    with pytest.raises(ModelError, match="larger than an ONNX file"):
        read_envelope(tmp_path / "large.onnx")
