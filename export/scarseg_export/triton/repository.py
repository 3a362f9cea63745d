"""Writing a model repository: a folder that Triton serves as it is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from onnx import TensorProto, ValueInfoProto

from scarseg_export.deploy.model_io import load_model
from scarseg_export.triton.config import FILES, SEGMENT_LABELS, model_config
from scarseg_export.triton.readme import CLASS_LABELS, readme
from scarseg_export.triton.warmup import FOLDER, warmup_inputs
from scarseg_runtime.atlas import SEGMENT_NAMES
from scarseg_runtime.contract import IMAGE_INPUTS, INPUTS, OUTPUTS, TensorSpec
from scarseg_runtime.errors import OutputError, UsageError
from scarseg_runtime.model_file.read import (
    ModelFile,
    check_contract,
    checked_bytes,
    read_model_file,
)
from scarseg_runtime.providers.gpu import nvidia_gpu
from scarseg_runtime.providers.tensorrt.build import Profile, build_engine
from scarseg_runtime.whole import not_written, whole_folder

VERSION: Final = "1"
_NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,99}", re.ASCII)
_KINDS: Final[dict[int, str]] = {
    TensorProto.FLOAT: "tensor(float)",
    TensorProto.UINT8: "tensor(uint8)",
}


@dataclass
class _Tensor:
    """In the words of the contract."""

    name: str
    type: str
    shape: list[Any]


def write_repository(model_path: Path, out: Path, name: str | None = None) -> Path:
    """Write folder ``out`` from a model file, whole or not at all.

    It holds one model: configurations for the backends onnxruntime and tensorrt, the ONNX file
    unchanged, a TensorRT plan where one can be made here (a GPU and enterprise TensorRT), inputs
    for the warm-up, names of classes and segments, and README.md.

    Args:
        name: of the model on the server; that of the model file where None.

    Returns:
        Folder of the model in ``out``.

    Raises:
        ModelError: the file is missing, damaged or breaks the contract.
        ProviderError: TensorRT is there but cannot compile the model.
        UsageError: ``name`` can be no name of a model.
        OutputError: ``out`` is there already or cannot be written.
    """
    model = read_model_file(model_path)
    name = _checked_name(name) if name is not None else _name_of(model.metadata.name)
    inputs = IMAGE_INPUTS if model.metadata.image_only else INPUTS
    graph = load_model(model_path).graph
    check_contract(
        [*map(_tensor, graph.input)], [*map(_tensor, graph.output)],
        image_only=model.metadata.image_only,
    )  # fmt: skip
    if out.exists():
        raise OutputError("the folder is there already", "Choose another name (-o)")
    try:
        with whole_folder(out) as part:
            (part / name / VERSION).mkdir(parents=True)
            _write_model(model, part / name, name, inputs)
            profile = Profile()
            plan = _write_plan(model, part / name, profile)
            text = readme(model, name, inputs, OUTPUTS, profile, plan)
            (part / name / "README.md").write_text(text, encoding="utf-8")
    except OSError as error:
        raise not_written("the folder", error) from error
    return out / name


def _write_model(model: ModelFile, folder: Path, name: str, inputs: Sequence[TensorSpec]) -> None:
    """The ONNX file, both configurations, the warm-up and the names."""
    arrays, sizes = warmup_inputs()
    (folder / "configs").mkdir()
    (folder / FOLDER).mkdir()
    (folder / VERSION / FILES["onnxruntime"]).write_bytes(checked_bytes(model))
    texts = {
        "config.pbtxt": model_config(name, "onnxruntime", inputs, OUTPUTS, sizes),
        "configs/tensorrt.pbtxt": model_config(name, "tensorrt", inputs, OUTPUTS, sizes),
        SEGMENT_LABELS: "\n".join([*SEGMENT_NAMES, ""]),
        CLASS_LABELS: "".join(
            f"{entry['value']} {entry['name']}\n"
            for entry in sorted(model.metadata.classes, key=lambda entry: int(entry["value"]))
        ),
    }
    for place, text in texts.items():
        (folder / place).write_text(text, encoding="utf-8")
    for spec in inputs:
        (folder / FOLDER / spec.name).write_bytes(arrays[spec.name].astype("<f4").tobytes())


def _write_plan(model: ModelFile, folder: Path, profile: Profile) -> str | None:
    """A TensorRT plan where this machine can make one; what it was made with."""
    gpu = nvidia_gpu()
    if gpu is None or find_spec("tensorrt") is None:
        return None
    engine, sidecar = build_engine(model, "tensorrt", profile)
    (folder / VERSION / FILES["tensorrt"]).write_bytes(engine)
    return f"TensorRT {sidecar['version']} on {gpu.name}"


def _tensor(value: ValueInfoProto) -> _Tensor:
    tensor = value.type.tensor_type
    shape = [axis.dim_param or axis.dim_value for axis in tensor.shape.dim]
    return _Tensor(value.name, _KINDS.get(tensor.elem_type, str(tensor.elem_type)), shape)


def _name_of(text: str) -> str:
    """A name made of the model file's own."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-._")[:100] or "scarseg"


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise UsageError(
            "the name of the model can be no folder of a repository",
            "Use letters, digits, dots, - and _ (--name)",
        )
    return name
