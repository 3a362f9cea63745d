"""Contents of an nnU-Net v2 trained-model folder, checked before anything is built from it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from scarseg_export.deploy.described import INTENDED_USE, NEVER_FLAGGED, class_entries
from scarseg_export.nnunet.graph import Plan
from scarseg_runtime.contract import Label
from scarseg_runtime.errors import ModelError

CONFIGURATION = "2d"
CLASSES = {
    "background": Label.BACKGROUND,
    "cavity": Label.LV_CAVITY,
    "myocardium": Label.VIABLE_MYOCARDIUM,
    "scar": Label.SCAR,
    "rv": Label.RV_CAVITY,
}
ARCHITECTURES = ("PlainConvUNet", "ResidualEncoderUNet")
"""Of the package dynamic_network_architectures, which nnU-Net itself builds them with."""
_WEIGHT_DIMENSIONS_3D = 5
"""Of a convolution: output and input channels, and three of space."""
_PARTS = {
    "torch.nn.modules.conv.Conv2d": nn.Conv2d,
    "torch.nn.modules.instancenorm.InstanceNorm2d": nn.InstanceNorm2d,
    "torch.nn.modules.batchnorm.BatchNorm2d": nn.BatchNorm2d,
    "torch.nn.LeakyReLU": nn.LeakyReLU,
    "torch.nn.ReLU": nn.ReLU,
}


@dataclass(frozen=True, slots=True)
class Source:
    """Contents of the folder and the TOML."""

    plan: Plan
    labels: list[Label]
    architecture: Mapping[str, Any]
    facts: dict[str, Any]


def read_folder(folder: Path, description: Path) -> Source:
    """Plan, label mapping and facts of a trained-model folder. Raises ModelError."""
    _check_trained(folder)
    plans = _read_json(folder / "plans.json")
    dataset = _read_json(folder / "dataset.json")
    entries = _read_toml(description)
    try:
        configuration = _configuration(plans)
        plan = _plan(plans, configuration)
        labels = _labels(dataset, entries)
        architecture = _architecture(configuration)
    except (KeyError, TypeError, IndexError) as error:
        raise ModelError(
            f"plans.json or dataset.json lack something: {error}", "Is this nnU-Net v2?"
        ) from error
    if len(dataset.get("channel_names", dataset.get("modality", {}))) != 1:
        raise ModelError("the nnU-Net model wants several channels", "Only LGE alone is supported")
    return Source(plan, labels, architecture, _facts(entries, plan))


def _check_trained(folder: Path) -> None:
    """Check that it can be a trained-model folder. Raises ModelError that says where one may
    lie."""
    advice = (
        "Pass the folder of the trained model, whose name ends in __2d; it holds plans.json, "
        "dataset.json and fold_0"
    )
    if not folder.is_dir():
        raise ModelError(f"{folder} is no folder", advice)
    if (folder / "plans.json").is_file() and (folder / "dataset.json").is_file():
        return
    inside = sorted(path.name for path in folder.glob("*__*__*") if path.is_dir())
    flat = [name for name in inside if name.endswith(f"__{CONFIGURATION}")]
    if flat:
        advice = f"Pass the trained model in it: {folder / flat[0]}"
    elif inside:
        advice = f"It holds no model of the configuration 2d, but {inside[0]}: train nnU-Net's 2d"
    raise ModelError(f"{folder} is not the folder of a trained model", advice)


def _configuration(plans: Mapping[str, Any]) -> dict[str, Any]:
    """The 2-D configuration with what it inherits."""
    found: dict[str, Any] = {}
    name: str | None = CONFIGURATION
    while name is not None:
        if name not in plans["configurations"]:
            raise ModelError("plans.json has no 2-D configuration", "Train nnU-Net's 2d")
        level = plans["configurations"][name]
        found = {**level, **found}
        name = level.get("inherits_from")
    return found


def _plan(plans: Mapping[str, Any], configuration: Mapping[str, Any]) -> Plan:
    scheme = next(iter(configuration["normalization_schemes"]))
    if scheme not in ("ZScoreNormalization", "NoNormalization"):
        raise ModelError(f"normalisation {scheme} is not supported", "Use ZScoreNormalization")
    if list(plans.get("transpose_forward", [0, 1, 2])) != [0, 1, 2]:
        raise ModelError(
            "the plan swaps axes: its slices are not those of the images",
            "Plan again on images whose slice axis is their coarsest",
        )
    high, wide = configuration["patch_size"]
    row, column = configuration["spacing"][-2:]
    return Plan(
        (int(high), int(wide)), (float(row), float(column)),
        scheme == "ZScoreNormalization", bool(configuration["use_mask_for_norm"][0]),
    )  # fmt: skip


def _labels(dataset: Mapping[str, Any], entries: Mapping[str, Any]) -> list[Label]:
    """Our label of each nnU-Net class, in its order."""
    mapping = entries.get("classes", {})
    found: dict[int, Label] = {}
    for name, value in dataset["labels"].items():
        if not isinstance(value, int):
            raise ModelError(f"label {name} is a region", "Region-based training is not supported")
        if name == "ignore":
            continue
        if name not in mapping:
            raise ModelError(f"the TOML does not say what label {name} is", "Add it to [classes]")
        if mapping[name] not in CLASSES:
            raise ModelError(
                f"the TOML maps {name} to an unknown class", f"Known: {', '.join(CLASSES)}"
            )
        found[value] = CLASSES[mapping[name]]
    unknown = sorted(set(mapping) - set(dataset["labels"]))
    if unknown:
        raise ModelError(f"dataset.json has no label {unknown[0]}", "Correct [classes]")
    return [found[value] for value in range(len(found))]


def _architecture(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Class name and arguments; plans before nnU-Net 2.4 spell them differently."""
    if "architecture" in configuration:
        described = configuration["architecture"]
        name = str(described["network_class_name"]).rsplit(".", 1)[-1]
        arguments = dict(described["arch_kwargs"])
        for key in described["_kw_requires_import"]:
            if arguments[key] is not None and arguments[key] not in _PARTS:
                raise ModelError(f"the plan's {key} is not supported", "Use nnU-Net's default")
            arguments[key] = _PARTS.get(arguments[key])
    else:
        name = configuration["UNet_class_name"]
        arguments = _old_arguments(configuration, name)
    if name not in ARCHITECTURES:
        raise ModelError(
            f"architecture {name} is not supported", f"Known: {', '.join(ARCHITECTURES)}"
        )
    return {"name": name, "arguments": arguments}


def _old_arguments(configuration: Mapping[str, Any], name: str) -> dict[str, Any]:
    blocks = configuration["n_conv_per_stage_encoder"]
    base, most = configuration["UNet_base_num_features"], configuration["unet_max_num_features"]
    return {
        "n_stages": len(blocks),
        "features_per_stage": [min(base * 2**stage, most) for stage in range(len(blocks))],
        "conv_op": nn.Conv2d,
        "kernel_sizes": configuration["conv_kernel_sizes"],
        "strides": configuration["pool_op_kernel_sizes"],
        "n_conv_per_stage" if name == "PlainConvUNet" else "n_blocks_per_stage": blocks,
        "n_conv_per_stage_decoder": configuration["n_conv_per_stage_decoder"],
        "conv_bias": True,
        "norm_op": nn.InstanceNorm2d,
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": nn.LeakyReLU,
        "nonlin_kwargs": {"inplace": True},
    }


def load_fold(source: Source, checkpoint: Path, classes: int) -> nn.Module:
    """One fold's network. Raises ModelError naming the first tensor that does not fit."""
    from dynamic_network_architectures.architectures import unet

    build = getattr(unet, source.architecture["name"])
    net: nn.Module = build(
        input_channels=1, num_classes=classes, deep_supervision=False,
        **source.architecture["arguments"],
    )  # fmt: skip
    state = _read_checkpoint(checkpoint)
    if any(value.ndim == _WEIGHT_DIMENSIONS_3D for value in state.values()):
        raise ModelError(
            "the weights of the checkpoint are 3-D, as of nnU-Net's 3d_fullres",
            "Pass a training of its 2d configuration, the only one that is supported",
        )
    for name, value in net.state_dict().items():
        if name not in state or state[name].shape != value.shape:
            shape = list(state[name].shape) if name in state else "missing"
            raise ModelError(
                f"tensor {name} of the checkpoint is {shape}, the plan wants {list(value.shape)}",
                "Pass plans.json and checkpoint of one training",
            )
    unknown = sorted(state.keys() - net.state_dict().keys())
    if unknown:
        raise ModelError(
            f"the checkpoint has a tensor {unknown[0]} that the plan does not know",
            "Pass plans.json and checkpoint of one training",
        )
    net.load_state_dict(state)
    return net.eval()


def _read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Network weights; nothing but tensors and plain numbers is unpickled."""
    scalar = np.float64(0).__reduce__()[0]  # numpy moved it between its releases
    numbers: list[Any] = [np.dtype, np.dtypes.Float64DType, np.dtypes.Float32DType, scalar]
    try:
        with torch.serialization.safe_globals(numbers):
            content = torch.load(path, map_location="cpu", weights_only=True)
        state = content["network_weights"]
    except (OSError, KeyError, TypeError, RuntimeError, EOFError, UnpicklingError) as error:
        raise ModelError(
            "the nnU-Net checkpoint is missing, damaged, or holds more than tensors",
            "Check --fold and --checkpoint",
        ) from error
    # torch.compile and distributed training put a prefix before every name.
    return {
        name.removeprefix("module.").removeprefix("_orig_mod."): value
        for name, value in state.items()
    }


def _facts(entries: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
    for key in ("name", "version", "training_data", "licence"):
        if not isinstance(entries.get(key), str):
            raise ModelError(f"the TOML has no text {key}", "See scarseg-export nnunet --help")
    return {
        **{key: entries[key] for key in ("name", "version", "training_data", "licence")},
        "intended_use": INTENDED_USE,
        "recipe_revision": "nnU-Net v2",
        "recipe": {"network": "nnU-Net v2 2-D", "patch": plan.patch, "spacing_mm": plan.spacing_mm},
        "tau_days": 1.0,
        "delta_max": 0.0,
        "disagreement_threshold": NEVER_FLAGGED,
        "working_spacing_mm": plan.spacing_mm[0],
        "classes": class_entries(),
        "min_scar_ml": float(entries.get("min_scar_ml", 0.0)),
        "image_only": True,
    }


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path.name} is missing or damaged", "Pass nnU-Net's trained-model folder"
        ) from error
    if not isinstance(content, dict):
        raise ModelError(f"{path.name} is no JSON object", "Pass nnU-Net's trained-model folder")
    return content


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ModelError(
            f"the TOML of --classes, {path}, cannot be read ({error.strerror})", "Check its path"
        ) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ModelError(f"{path} is not TOML ({error})", "Correct it") from error
