"""Compiling the shipped model with the real TensorRT-RTX, which needs no GPU for it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from scarseg_runtime.errors import ModelError, OutputError, ProviderError, UsageError
from scarseg_runtime.model_file.read import ModelFile, read_model_file
from scarseg_runtime.providers.cuda_buffers import (
    ALIGNMENT,
    cuda_call,
    cuda_runtime,
    lay_out,
)
from scarseg_runtime.providers.engine_file import Built, read_engine, sidecar_path
from scarseg_runtime.providers.gpu import nvidia_gpu
from scarseg_runtime.providers.tensorrt.build import Profile, Target, build_engine, write_engine
from scarseg_runtime.providers.tensorrt.engine import TensorrtSession, check_size

MODELS = Path(__file__).parents[2] / "scarseg_infer" / "models"
FP32_MODEL = MODELS / "reference.onnx"
FP16_MODEL = MODELS / "reference.fp16.onnx"
SMALL = Profile((1, 32, 32), (2, 64, 64), (4, 128, 128))

trt = pytest.importorskip("tensorrt_rtx", reason="needs tensorrt-rtx")
without_gpu = pytest.mark.skipif(nvidia_gpu() is not None, reason="needs a machine without GPU")


@pytest.fixture(scope="module")
def model() -> ModelFile:
    return read_model_file(FP16_MODEL)


@pytest.fixture(scope="module")
def built(model: ModelFile) -> Built:
    return build_engine(model, "tensorrt-rtx")


def changed(source: Path, target: Path, graph: Any = None, **metadata: Any) -> ModelFile:
    """A model file with another graph or other metadata."""
    proto = onnx.load(source)
    if graph is not None:
        graph(proto.graph)
    for entry in proto.metadata_props:
        key = entry.key.removeprefix("scarseg.")
        if key in metadata:
            entry.value = json.dumps(metadata[key])
    onnx.save(proto, target)
    return read_model_file(target)


def test_nvidias_parser_takes_every_operator_of_the_graph(model: ModelFile) -> None:
    logger = trt.Logger(trt.Logger.ERROR)
    network = trt.Builder(logger).create_network(1)
    parser = trt.OnnxParser(network, logger)
    kinds = {node.op_type for node in onnx.load(model.path).graph.node}
    assert [kind for kind in sorted(kinds) if not parser.supports_operator(kind)] == []
    assert parser.parse(model.path.read_bytes())


def test_the_engine_says_what_it_was_made_of(model: ModelFile, built: Built) -> None:
    engine, sidecar = built
    assert len(engine) > 1e6
    assert sidecar["onnx_sha256"] == model.sha256
    assert (sidecar["runtime"], sidecar["version"]) == ("tensorrt-rtx", trt.__version__)
    assert (sidecar["model"], sidecar["model_version"]) == (
        model.metadata.name, model.metadata.version,
    )  # fmt: skip
    assert sidecar["precision"] == "fp16"
    assert sidecar["half_convolutions"] >= model.metadata.half_convolutions > 0
    assert sidecar["profile"] == dataclasses.asdict(Profile())
    assert sidecar["target"] == dataclasses.asdict(Target())


def test_the_engine_file_is_small(model: ModelFile, built: Built, tmp_path: Path) -> None:
    path = tmp_path / "m.engine"
    write_engine(path, *built)
    assert read_engine(path).engine == built[0]
    assert path.stat().st_size <= model.path.stat().st_size + 8e6
    assert path.stat().st_size < 0.4 * len(built[0])


def test_profile_and_gpus_are_the_users_choice(model: ModelFile, built: Built) -> None:
    engine, sidecar = build_engine(model, "tensorrt-rtx", SMALL, Target(gpus=("SM89", "SM120")))
    assert sidecar["profile"]["largest"] == SMALL.largest
    assert sidecar["target"]["gpus"] == ("SM89", "SM120")
    assert engine != built[0]


class Heard:
    """Phases of the compiler, as it tells them."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.steps = 0

    def start(self, phase: str, steps: int) -> None:
        self.begun.append(phase)

    def step(self, phase: str) -> None:
        self.steps += 1

    def finish(self, phase: str) -> None:
        self.ended.append(phase)


def test_an_fp32_model_makes_an_fp32_engine_and_tells_how_far_it_is() -> None:
    heard = Heard()
    model = read_model_file(FP32_MODEL)
    _, sidecar = build_engine(model, "tensorrt-rtx", SMALL, progress=heard)
    assert (sidecar["precision"], sidecar["half_convolutions"]) == ("fp32", 0)
    assert heard.steps > 10
    assert sorted(heard.begun) == sorted(heard.ended) != []


def test_a_graph_of_fp32_that_calls_itself_fp16_is_refused(tmp_path: Path) -> None:
    for number in (38, 0):
        liar = changed(
            FP32_MODEL, tmp_path / "liar.onnx", precision="fp16", half_convolutions=number
        )
        with pytest.raises(ModelError, match=f"0 convolutions .* not {number or 1}"):
            build_engine(liar, "tensorrt-rtx", SMALL)


def test_an_image_only_model_has_three_inputs(tmp_path: Path) -> None:
    def without_ecg(graph: onnx.GraphProto) -> None:
        for name, shape in (("ecg", (12, 512)), ("gap_days", (1,)), ("ecg_valid", (1,))):
            graph.initializer.append(numpy_helper.from_array(np.zeros(shape, np.float32), name))
        del graph.input[3:]

    model = changed(FP16_MODEL, tmp_path / "image.onnx", without_ecg, image_only=True)
    assert build_engine(model, "tensorrt-rtx", SMALL)[1]["onnx_sha256"] == model.sha256
    misnamed = changed(FP16_MODEL, tmp_path / "misnamed.onnx", image_only=True)
    with pytest.raises(ModelError, match="unknown input ecg"):
        build_engine(misnamed, "tensorrt-rtx", SMALL)


def test_an_operator_that_nvidia_does_not_know_is_named(tmp_path: Path) -> None:
    """A model file with this operator is refused before; here as if it had been let through."""
    proto = onnx.load(FP16_MODEL)
    next(node for node in proto.graph.node if node.op_type == "Relu").op_type = "Det"
    content = proto.SerializeToString()
    path = tmp_path / "det.onnx"
    path.write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    model = dataclasses.replace(read_model_file(FP16_MODEL), path=path, sha256=sha256)
    with pytest.raises(ModelError, match="refuses operator Det"):
        build_engine(model, "tensorrt-rtx", SMALL)


def test_a_model_file_that_changed_meanwhile_is_refused(tmp_path: Path) -> None:
    copy = tmp_path / "model.onnx"
    copy.write_bytes(FP16_MODEL.read_bytes())
    model = read_model_file(copy)
    changed(FP16_MODEL, copy, licence="another")
    with pytest.raises(ModelError, match="has changed"):
        build_engine(model, "tensorrt-rtx", SMALL)
    copy.unlink()
    with pytest.raises(ModelError, match="does not exist"):
        build_engine(model, "tensorrt-rtx", SMALL)


def test_gpus_it_cannot_compile_for_are_refused_with_those_it_can(model: ModelFile) -> None:
    for name in ("SM42", "CURRENT"):
        with pytest.raises(ProviderError, match=r"no GPU .*SM89"):
            build_engine(model, "tensorrt-rtx", SMALL, Target(gpus=(name,)))


def test_options_of_the_other_flavour_are_refused(model: ModelFile) -> None:
    for target in (Target(portable=True), Target(any_version=True)):
        with pytest.raises(UsageError, match="TensorRT-RTX"):
            build_engine(model, "tensorrt-rtx", SMALL, target)


def test_sizes_that_do_not_rise_are_refused() -> None:
    with pytest.raises(UsageError, match="do not rise"):
        Profile((1, 16, 16), (12, 256, 216), (10, 512, 512))
    with pytest.raises(UsageError, match="do not rise"):
        Profile((0, 16, 16))


def test_a_stack_outside_the_engines_sizes_is_refused_with_them() -> None:
    check_size((4, 128, 128), SMALL.smallest, SMALL.largest)
    with pytest.raises(ProviderError, match="at most 4 slices of 128 × 128"):
        check_size((4, 129, 10), SMALL.smallest, SMALL.largest)
    with pytest.raises(ProviderError, match="at least 1 slices of 32 × 32"):
        check_size((1, 32, 31), SMALL.smallest, SMALL.largest)


def test_engine_and_sidecar_are_read_back(tmp_path: Path, built: Built) -> None:
    path = tmp_path / "new" / "model.engine"
    write_engine(path, *built)
    stored = read_engine(path)
    assert stored.engine == built[0]
    assert stored.sidecar["onnx_sha256"] == built[1]["onnx_sha256"]
    assert sorted(p.name for p in path.parent.iterdir()) == ["model.engine", "model.engine.json"]
    path.write_bytes(built[0][:-1])
    with pytest.raises(ModelError, match="is damaged"):
        read_engine(path)
    sidecar_path(path).unlink()
    with pytest.raises(ModelError, match="lacks one"):
        read_engine(path)
    path.unlink()
    with pytest.raises(ModelError, match="does not exist"):
        read_engine(path)


def test_a_place_that_takes_no_files_is_said_without_its_name(tmp_path: Path) -> None:
    (tmp_path / "Doe^John").touch()
    with pytest.raises(OutputError, match="cannot be written") as caught:
        write_engine(tmp_path / "Doe^John" / "model.engine", b"engine", {})
    assert "Doe" not in str(caught.value)


def test_tensors_lie_aligned_and_apart() -> None:
    slots, size = lay_out([("a", (3, 5), "f4"), ("b", (1,), "u1"), ("c", (300,), "u1")])
    assert [slot.offset for slot in slots.values()] == [0, ALIGNMENT, 2 * ALIGNMENT]
    assert size == 4 * ALIGNMENT


@without_gpu
def test_without_a_gpu_a_session_is_refused_in_one_line(model: ModelFile) -> None:
    for flavour in ("tensorrt-rtx", "tensorrt"):
        with pytest.raises(ProviderError, match="no NVIDIA GPU or driver") as caught:
            TensorrtSession.open(model, flavour)
        assert "\n" not in str(caught.value)


@without_gpu
def test_enterprise_tensorrt_compiles_only_on_a_gpu(model: ModelFile) -> None:
    with pytest.raises(ProviderError, match="only on the NVIDIA GPU"):
        build_engine(model, "tensorrt")


@without_gpu
def test_cuda_errors_carry_cudas_name() -> None:
    pytest.importorskip("cuda.bindings.runtime", reason="needs cuda-python")
    with pytest.raises(ProviderError, match="cudaError"):
        cuda_call(cuda_runtime().cudaMalloc(16))
