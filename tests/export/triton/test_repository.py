"""The model repository: its configuration by Triton's own protobuf definition, and its files."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from google.protobuf import text_format

from scarseg_export.cli import main
from scarseg_export.triton import repository
from scarseg_export.triton.warmup import warmup_inputs
from scarseg_infer.models import model_path
from scarseg_runtime.atlas import SEGMENT_NAMES
from scarseg_runtime.contract import IMAGE_INPUTS, INPUTS, OUTPUTS, Label
from scarseg_runtime.model import Model
from scarseg_runtime.model_file.read import read_model_file
from scarseg_runtime.providers.gpu import nvidia_gpu
from scarseg_runtime.taff import decide

BACKENDS = {"config.pbtxt": "onnxruntime", "configs/tensorrt.pbtxt": "tensorrt"}
TYPES = {"tensor(float)": "TYPE_FP32", "tensor(uint8)": "TYPE_UINT8"}


@pytest.fixture(scope="session")
def model_config() -> ModuleType:
    """The published definition; the rest of the client would need gRPC."""
    (file,) = (
        one
        for one in importlib.metadata.files("tritonclient") or ()
        if one.parts[-3:] == ("tritonclient", "grpc", "model_config_pb2.py")
    )
    spec = importlib.util.spec_from_file_location("model_config_pb2", str(file.locate()))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def shipped() -> Path:
    with model_path(None) as path:
        return path


@pytest.fixture(scope="module")
def folder(shipped: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the model in a repository, which was written without torch."""
    out = tmp_path_factory.mktemp("triton") / "repository"
    code = (
        "import sys; from scarseg_export.cli import main;"
        f"code = main(['triton', {str(shipped)!r}, '-o', {str(out)!r}]);"
        "print(code, 'torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "0 False"
    (found,) = out.iterdir()
    return found


def read(module: ModuleType, path: Path) -> Any:
    return text_format.Parse(path.read_text(encoding="utf-8"), module.ModelConfig())


@pytest.mark.parametrize("file", BACKENDS)
def test_the_configuration_is_what_the_graph_says(
    folder: Path, model_config: ModuleType, file: str
) -> None:
    found = read(model_config, folder / file)
    assert (found.name, found.backend, found.max_batch_size) == (folder.name, BACKENDS[file], 0)
    graph = onnx.load(folder / "1" / "model.onnx").graph
    kinds = {onnx.TensorProto.FLOAT: "TYPE_FP32", onnx.TensorProto.UINT8: "TYPE_UINT8"}
    for said, tensors in ((found.input, graph.input), (found.output, graph.output)):
        assert [one.name for one in said] == [one.name for one in tensors]
        for one, tensor in zip(said, tensors, strict=True):
            axes = tensor.type.tensor_type.shape.dim
            assert list(one.dims) == [-1 if axis.dim_param else axis.dim_value for axis in axes]
            kind = model_config.DataType.Name(one.data_type)
            assert kind == kinds[tensor.type.tensor_type.elem_type]


def test_file_names(folder: Path, model_config: ModuleType, shipped: Path) -> None:
    found = read(model_config, folder / "config.pbtxt")
    served = folder / "1" / found.default_model_filename
    assert served.read_bytes() == shipped.read_bytes()
    labelled = {one.name: one.label_filename for one in found.output if one.label_filename}
    assert labelled.keys() == {"segment_burden", "ecg_segment_belief"}
    for file in labelled.values():
        assert (folder / file).read_text(encoding="utf-8").split("\n")[:-1] == [*SEGMENT_NAMES]
    classes = (folder / "classes.txt").read_text(encoding="utf-8").splitlines()
    assert [int(line.split()[0]) for line in classes] == sorted(map(int, Label))
    plan = read(model_config, folder / "configs/tensorrt.pbtxt").default_model_filename
    can_be_made = nvidia_gpu() is not None and importlib.util.find_spec("tensorrt") is not None
    assert (folder / "1" / plan).exists() is can_be_made


def test_the_warm_up_is_a_study_in_which_the_model_finds_a_heart(
    folder: Path, model_config: ModuleType, shipped: Path
) -> None:
    found = read(model_config, folder / "config.pbtxt")
    (warmup,) = found.model_warmup
    assert warmup.batch_size == 1
    arrays = {}
    for name, said in warmup.inputs.items():
        assert model_config.DataType.Name(said.data_type) == "TYPE_FP32"
        data = np.fromfile(folder / "warmup" / said.input_data_file, "<f4")
        arrays[name] = data.reshape(tuple(said.dims))
    assert arrays.keys() == {spec.name for spec in INPUTS}
    expected, sizes = warmup_inputs()
    for name, array in arrays.items():
        assert np.array_equal(array, expected[name])
    model = Model.load(shipped, "cpu", "fp32", threads=1)
    output = model.run(
        arrays["lge"], tuple(arrays["pixel_spacing"]), arrays["slice_level"], arrays["ecg"],
        decide(float(arrays["gap_days"][0]), ecg_given=True),
    )  # fmt: skip
    assert output.labels.shape == (sizes["S"], sizes["H"], sizes["W"])
    assert (output.labels == Label.VIABLE_MYOCARDIUM).sum() > 1000
    assert output.ecg_weight > 0.5


def test_the_readme_names_every_tensor_and_what_it_is_for(folder: Path, shipped: Path) -> None:
    text = (folder / "README.md").read_text(encoding="utf-8")
    metadata = read_model_file(shipped).metadata
    assert metadata.intended_use in text and "Research use only" in text
    for spec in (*INPUTS, *OUTPUTS):
        shape = ", ".join(map(str, spec.shape))
        assert f"| `{spec.name}` | {TYPES[spec.type][5:]} | [{shape}] |" in text
    assert "--optShapes=lge:12x256x216,slice_level:12" in text
    assert "No plan lies here" in text or "model.plan` was made with" in text


def test_an_image_only_model_has_no_ecg(
    shipped: Path, tmp_path: Path, model_config: ModuleType
) -> None:
    """The shipped file with its ECG inputs taken for constants."""
    model = onnx.load(shipped)
    kept = {spec.name for spec in IMAGE_INPUTS}
    for value in [one for one in model.graph.input if one.name not in kept]:
        shape = [axis.dim_value for axis in value.type.tensor_type.shape.dim]
        zero = onnx.numpy_helper.from_array(np.zeros(shape, np.float32), value.name)
        model.graph.initializer.append(zero)
        model.graph.input.remove(value)
    for entry in model.metadata_props:
        if entry.key == "scarseg.image_only":
            entry.value = "true"
    onnx.save(model, tmp_path / "image.onnx")
    found = repository.write_repository(tmp_path / "image.onnx", tmp_path / "out", "image")
    said = read(model_config, found / "config.pbtxt")
    assert [one.name for one in said.input] == [spec.name for spec in IMAGE_INPUTS]
    assert set(said.model_warmup[0].inputs) == kept
    assert {path.name for path in (found / "warmup").iterdir()} == kept
    assert "find the beats" not in (found / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ("out there", 6, "the folder is there already"),
        ("name", 2, "can be no folder"),
        ("no model", 5, "does not exist"),
        ("cut model", 5, "no ONNX file"),
        ("no place", 6, "cannot be written"),
    ],
)
def test_what_cannot_be_written_leaves_nothing(
    shipped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str, code: int,
    said: str,
) -> None:  # fmt: skip
    model, out, more = shipped, tmp_path / "out", []
    if change == "out there":
        out.mkdir()
    if change == "name":
        more = ["--name", "../x"]
    if change == "no model":
        model = tmp_path / "none.onnx"
    if change == "cut model":
        model = tmp_path / "cut.onnx"
        model.write_bytes(shipped.read_bytes()[:5000])
    if change == "no place":
        (tmp_path / "file").touch()
        out = tmp_path / "file" / "out"
    before = sorted(path.name for path in tmp_path.iterdir())
    assert main(["triton", str(model), "-o", str(out), *more]) == code
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_nothing_is_left_where_the_disk_is_full(
    monkeypatch: pytest.MonkeyPatch, shipped: Path, tmp_path: Path
) -> None:
    def full(*_: Any) -> str | None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(repository, "_write_plan", full)
    assert main(["triton", str(shipped), "-o", str(tmp_path / "out")]) == 6
    assert list(tmp_path.iterdir()) == []
