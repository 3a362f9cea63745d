"""A trained checkpoint as the one self-describing ONNX file."""

from __future__ import annotations

import logging
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from tqdm import tqdm

from scarseg_export.deploy.described import INTENDED_USE, load_described
from scarseg_export.deploy.merge import merge_operators
from scarseg_export.deploy.model_io import load_model, set_metadata, write_model
from scarseg_export.deploy.onnx_weights import name_weights, network_of
from scarseg_export.evaluation.model_file import score_model
from scarseg_export.net.fold import fold_batch_norm
from scarseg_export.verify.parity import verify
from scarseg_export.verify.studies import TWIN_CASES
from scarseg_runtime.contract import BEAT_SAMPLES, INPUTS, OUTPUTS, TensorSpec
from scarseg_runtime.model_file.read import read_model_file

OPSET = 20


def export_onnx(
    checkpoint: Path, target: Path, *, min_scar_ml: float, cases: int = TWIN_CASES
) -> Path:
    """Write ``target`` from ``checkpoint``: BatchNorm folded, contract names, metadata, and the
    verification table of what runs here.

    Args:
        min_scar_ml: smaller islands of scar count as noise, unless the checkpoint's TOML says.
        cases: twin patients to verify on.

    Raises:
        ModelError: the checkpoint cannot be read or does not fit the network.
    """
    described = load_described(checkpoint)
    net = described.net
    tau, delta = net.taff.tau_days, net.config.delta_max
    fold_batch_norm(net)
    model = exported_graph(net, example_inputs(), _dynamic_shapes(), INPUTS)
    same_as = name_weights(model, net)
    metadata = {
        "intended_use": INTENDED_USE,
        "recipe_revision": _revision(),
        "tau_days": tau,
        "delta_max": delta,
        "working_spacing_mm": net.config.crop_spacing_mm,
        "min_scar_ml": min_scar_ml,
        **described.facts,
    }
    if same_as:
        metadata["recipe"] = {**described.facts["recipe"], "same_as": same_as}
    save_model(model, metadata, target)
    _check_weights(net, target)
    verify(target, cases=cases)
    return target


def _check_weights(net: nn.Module, target: Path) -> None:
    """Verification compares the file with PyTorch rebuilt from it: so what is rebuilt must be what
    was exported. Raises RuntimeError."""
    rebuilt = network_of(load_model(target), read_model_file(target).metadata).state_dict()
    for name, value in net.state_dict().items():
        if not torch.allclose(value, rebuilt[name], rtol=1e-6, atol=0.0):
            raise RuntimeError(f"the exported file holds another {name} than the checkpoint")


def exported_graph(
    net: nn.Module,
    inputs: tuple[Tensor, ...],
    dynamic_shapes: tuple[dict[int, Any], ...],
    specs: tuple[TensorSpec, ...],
) -> onnx.ModelProto:
    """The graph of ``net`` with the contract's names, without the exporter's notes."""
    # PyTorch's exporter tells nothing meanwhile.
    tqdm.write("Exporting the graph; a large network takes minutes", file=sys.stderr)
    program = _quiet_export(
        net,
        inputs,
        dynamo=True,
        opset_version=OPSET,
        input_names=[spec.name for spec in specs],
        output_names=[spec.name for spec in OUTPUTS],
        dynamic_shapes=dynamic_shapes,
        verbose=False,
    )
    if program is None:  # torch returns None only where it is given a target file
        raise RuntimeError("torch.onnx.export returned no program")
    merge_operators(program.model)
    model: onnx.ModelProto = program.model_proto
    _name_axes(model)
    _strip_notes(model)
    return model


def _strip_notes(model: onnx.ModelProto) -> None:
    """Drop what the exporter notes on every node and value: stack traces of the exporting
    machine, half a megabyte of them."""
    del model.graph.value_info[:]  # inferred again by whoever needs it
    model.graph.doc_string = ""
    del model.graph.metadata_props[:]
    for item in (*model.graph.node, *model.graph.input, *model.graph.output):
        item.doc_string = ""
        del item.metadata_props[:]
    for constant in model.graph.initializer:
        constant.doc_string = ""
        del constant.metadata_props[:]


def save_model(model: onnx.ModelProto, metadata: dict[str, Any], target: Path) -> None:
    """Check and write a model file, whole or not at all; nothing is verified yet.

    Raises:
        OutputError: the file cannot be written.
    """
    defaults = {
        "precision": "fp32", "half_convolutions": 0, "image_only": False,
        "fp32_graph_sha256": "", "twin_scores": {}, "ecg_scores": {}, "verification": {},
        "largest_field_mm": [],
    }  # fmt: skip
    set_metadata(model, defaults | metadata)
    onnx.checker.check_model(model, full_check=True)
    write_model(model, target)


def record_scores(path: Path, cases: int) -> None:
    """Evaluate a model file on the twin and write the scores into its metadata."""
    scores = score_model(path, cases) | {
        "command": f"scarseg-export onnx CHECKPOINT -o MODEL --test-cases {cases}",
        "test_set": "unseen patients of the digital twin, clinical mix of gaps",
    }
    model = load_model(path)
    set_metadata(model, {"twin_scores": scores})
    write_model(model, path)


def _quiet_export(*arguments: Any, **options: Any) -> torch.onnx.ONNXProgram | None:
    """``torch.onnx.export`` without its remarks on packages that we do not use."""
    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registration.level
    registration.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            return torch.onnx.export(*arguments, **options)
    finally:
        registration.setLevel(level)


def example_inputs() -> tuple[Tensor, ...]:
    """Inputs of distinct sizes, so that the exporter cannot mistake one axis for another."""
    rng = np.random.default_rng(0)
    arrays = (
        rng.uniform(0, 1000, (7, 168, 152)),
        np.array([1.5, 1.4]),
        np.linspace(0, 1, 7),
        rng.normal(0, 0.3, (12, BEAT_SAMPLES)),
        np.array([3.0]),
        np.array([1.0]),
    )
    return tuple(torch.from_numpy(array.astype(np.float32)) for array in arrays)


def _dynamic_shapes() -> tuple[dict[int, Any], ...]:
    slices = torch.export.Dim("S", min=1, max=4096)
    height = torch.export.Dim("H", min=16, max=8192)
    width = torch.export.Dim("W", min=16, max=8192)
    return ({0: slices, 1: height, 2: width}, {}, {0: slices}, {}, {}, {})


def _name_axes(model: onnx.ModelProto) -> None:
    """Give the dynamic axes of inputs and outputs the contract's names."""
    specs = {spec.name: spec for spec in (*INPUTS, *OUTPUTS)}
    for value in (*model.graph.input, *model.graph.output):
        axes = value.type.tensor_type.shape.dim
        for axis, name in zip(axes, specs[value.name].shape, strict=True):
            if isinstance(name, str):
                axis.dim_param = name


def _revision() -> str:
    """Revision of the recipe's source, or ``unknown`` outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short=12", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
