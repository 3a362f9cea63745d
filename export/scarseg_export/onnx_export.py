"""A trained checkpoint as the one self-describing ONNX file."""

from __future__ import annotations

import logging
import subprocess
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from scarseg_export.buffers import TEST, patient_seed
from scarseg_export.checkpoint import load_checkpoint
from scarseg_export.evaluation.model_file import score_model
from scarseg_export.network import ScarNet
from scarseg_export.twin.cohort import beats_of, sample_case
from scarseg_runtime.contract import BEAT_SAMPLES, INPUTS, OUTPUTS
from scarseg_runtime.model_file import PREFIX, encode_metadata
from scarseg_runtime.preprocess import slice_levels
from scarseg_runtime.session import Session
from scarseg_runtime.taff import decide
from scarseg_runtime.version import __version__

OPSET = 20

CLASSES = [
    {"value": 0, "name": "background", "colour": "#000000"},
    {"value": 1, "name": "LV cavity", "colour": "#d55e00"},
    {"value": 2, "name": "viable myocardium", "colour": "#009e73"},
    {"value": 3, "name": "scar", "colour": "#f0e442"},
    {"value": 4, "name": "RV cavity", "colour": "#0072b2"},
]

SIMULATION_ONLY = (
    "Digital twin only: simulated LGE stacks and ECGs. No patient image, ECG or label was used."
)
REAL_BACKGROUNDS = (
    "Digital twin, and CC0 cine frames re-rendered LGE-like. No real LGE, scar or ECG was used."
)
INTENDED_USE = "Research use only. Not a medical device."


def export_onnx(checkpoint: Path, target: Path, *, min_scar_ml: float) -> Path:
    """Write ``target`` from ``checkpoint``: BatchNorm folded, contract names, metadata.

    The file carries the parity of ONNX Runtime on the CPU with PyTorch FP32, measured here.
    """
    trained = load_checkpoint(checkpoint)
    net, recipe = trained.net, trained.recipe
    tau, delta = net.taff.tau_days, net.config.delta_max
    fold_batch_norm(net)
    program = _quiet_export(
        net,
        example_inputs(),
        dynamo=True,
        opset_version=OPSET,
        input_names=[spec.name for spec in INPUTS],
        output_names=[spec.name for spec in OUTPUTS],
        dynamic_shapes=_dynamic_shapes(),
        verbose=False,
    )
    if program is None:  # torch returns None only where it is given a target file
        raise RuntimeError("torch.onnx.export returned no program")
    model = program.model_proto
    _name_axes(model)
    metadata = {
        "name": "scarseg-reference",
        "version": __version__,
        "training_data": REAL_BACKGROUNDS if recipe["cine_share"] else SIMULATION_ONLY,
        "licence": "Apache-2.0",
        "intended_use": INTENDED_USE,
        "recipe_revision": _revision(),
        "recipe": recipe,
        "tau_days": tau,
        "delta_max": delta,
        "disagreement_threshold": trained.disagreement_threshold,
        "working_spacing_mm": net.config.crop_spacing_mm,
        "classes": CLASSES,
        "min_scar_ml": min_scar_ml,
        "twin_scores": {},
        "verification": {},
    }
    set_metadata(model, metadata)
    onnx.checker.check_model(model, full_check=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, target)
    metadata["verification"] = {"cpu fp32": measure_parity(net, target)}
    set_metadata(model, metadata)
    onnx.save(model, target)
    return target


def measure_parity(net: ScarNet, model: Path, cases: int = 5) -> dict[str, float]:
    """Worst difference over twin patients between ``model`` on the CPU and PyTorch FP32."""
    session = Session.load(model, "cpu")
    agreement, probability = 1.0, 0.0
    for index in range(cases):
        case = sample_case(patient_seed(0, TEST, index))
        stack = case.image(144, 1.8, 20.0)
        beat = beats_of([case], np.array([False]))[0]
        spacing = np.full(2, stack.spacing_mm)
        levels = slice_levels(np.arange(len(stack.pixels)))
        decision = decide(10.0, ecg_given=True)
        ours = session.run(stack.pixels, tuple(spacing), levels, beat, decision)
        arrays = (stack.pixels, spacing, levels, beat, np.array([10.0]), np.array([1.0]))
        with torch.no_grad():
            theirs = net(*(torch.from_numpy(np.asarray(a, np.float32)) for a in arrays))
        agreement = min(agreement, float((ours.labels == theirs[0].numpy()).mean()))
        difference = np.abs(ours.scar_probability - theirs[1].numpy()).max()
        probability = max(probability, float(difference))
    return {
        "cases": cases,
        "label_agreement": agreement,
        "max_abs_probability_difference": probability,
    }


def record_scores(path: Path, cases: int) -> None:
    """Evaluate a model file on the twin and write the scores into its metadata."""
    scores = score_model(path, cases) | {
        "command": f"scarseg-export onnx CHECKPOINT -o MODEL --test-cases {cases}",
        "test_set": "unseen patients of the digital twin, clinical mix of gaps",
    }
    model = onnx.load(path)
    entry = encode_metadata({"twin_scores": scores})[PREFIX + "twin_scores"]
    for existing in model.metadata_props:
        if existing.key == PREFIX + "twin_scores":
            existing.value = entry
    onnx.save(model, path)


def set_metadata(model: onnx.ModelProto, metadata: dict[str, Any]) -> None:
    """Replace our metadata entries of a model."""
    entries = encode_metadata(metadata)
    kept = {p.key: p.value for p in model.metadata_props if p.key not in entries}
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, kept | entries)


def fold_batch_norm(module: nn.Module) -> None:
    """Fold every BatchNorm that follows a convolution in a Sequential into it, in place."""
    for child in module.modules():
        if isinstance(child, nn.Sequential):
            _fold_sequence(child)


def _fold_sequence(sequence: nn.Sequential) -> None:
    names = list(sequence._modules)
    for name, following in pairwise(names):
        layer, norm = sequence._modules[name], sequence._modules[following]
        if not isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            continue
        if isinstance(layer, nn.Conv1d | nn.Conv2d):
            sequence._modules[name] = fuse_conv_bn_eval(layer, norm)
            sequence._modules[following] = nn.Identity()


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
