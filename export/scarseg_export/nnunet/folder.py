"""Plan, labels and facts of an nnU-Net v2 trained model, checked before anything is built."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from scarseg_export.deploy.described import INTENDED_USE, NEVER_FLAGGED, class_entries
from scarseg_export.nnunet.graph import Plan
from scarseg_export.nnunet.trained import CONFIGURATION, check_trained
from scarseg_runtime.contract import Label
from scarseg_runtime.edited_text import read_json, read_toml
from scarseg_runtime.errors import ModelError

CLASSES = {
    "background": Label.BACKGROUND,
    "cavity": Label.LV_CAVITY,
    "myocardium": Label.VIABLE_MYOCARDIUM,
    "scar": Label.SCAR,
    "rv": Label.RV_CAVITY,
}
ARCHITECTURES = ("PlainConvUNet", "ResidualEncoderUNet")
"""Of the package dynamic_network_architectures, which nnU-Net itself builds them with."""
DESCRIBED = ("spacing", "patch_size", "normalization_schemes", "use_mask_for_norm")
"""Entries of a configuration on which the labels depend beside the network."""
CUBIC = 3
_PICTURES = ("NaturalImage2DIO",)
_SAME_RESAMPLING = {
    "preprocessor_name": "DefaultPreprocessor",
    "resampling_fn_data": "resample_data_or_seg_to_shape",
}
"""Work of the exported graph, as nnU-Net's planners ask for it."""
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

    configuration: str
    """Its name in plans.json."""
    plan: Plan
    labels: list[Label]
    architecture: Mapping[str, Any]
    facts: dict[str, Any]
    described: dict[str, Any]
    """Facts that a checkpoint of this model states, too: labels, and the plan by key."""


def read_folder(folder: Path, description: Path) -> Source:
    """Plan, label mapping and facts of a trained-model folder. Raises ModelError."""
    check_trained(folder)
    plans = _read_json(folder / "plans.json")
    dataset = _read_json(folder / "dataset.json")
    entries = _read_toml(description)
    try:
        name, configuration = _configuration(plans, folder.resolve().name)
        plan = _plan(plans, configuration)
        channels = len(dataset.get("channel_names", dataset.get("modality", {})))
        labels = _labels(dataset, _classes(entries))
        architecture = _architecture(configuration)
    except ModelError:  # a ValueError, too
        raise
    except KeyError as error:
        raise ModelError(
            f"plans.json or dataset.json lack something: {error}", "Is this nnU-Net v2?"
        ) from error
    except (TypeError, IndexError, ValueError, AttributeError, StopIteration) as error:
        raise ModelError(
            "plans.json or dataset.json are not as nnU-Net v2 writes them",
            "Pass them as they were beside the checkpoint in training",
        ) from error
    if channels != 1:
        raise ModelError("the nnU-Net model wants several channels", "Only LGE alone is supported")
    described = {"labels": dataset["labels"]} | {key: configuration.get(key) for key in DESCRIBED}
    return Source(name, plan, labels, architecture, _facts(entries, plan), described)


def _configuration(plans: Mapping[str, Any], folder_name: str) -> tuple[str, dict[str, Any]]:
    """Name of the 2-D configuration and its content with what it inherits.

    It is the one that the folder's name ends in, where that is known to the plan; else ``2d``.
    """
    known = plans["configurations"]
    suffix = folder_name.rsplit("__", 1)[-1]
    name = suffix if suffix in known else CONFIGURATION
    if name not in known:
        raise ModelError("plans.json has no 2-D configuration", "Train nnU-Net's 2d")
    found: dict[str, Any] = {}
    chain: list[Any] = [name]
    while chain[-1] is not None:
        if chain[-1] not in known or chain[-1] in chain[:-1]:
            raise ModelError(
                f"configuration {name} of plans.json inherits from one that is not there",
                "Pass plans.json as it was in training",
            )
        level = known[chain[-1]]
        found = {**level, **found}
        chain.append(level.get("inherits_from"))
    if len(found["patch_size"]) != 2:
        raise ModelError(
            f"the folder is of the configuration {name}, whose weights are 3-D",
            "Pass a training of nnU-Net's 2d configuration, the only one that is supported",
        )
    return name, found


def _plan(plans: Mapping[str, Any], configuration: Mapping[str, Any]) -> Plan:
    if plans.get("image_reader_writer") in _PICTURES:
        raise ModelError(
            "the model was trained on pictures (PNG, JPEG), whose pixels have no size in mm",
            "Train it on NIfTI files with the pixel size of the scanner",
        )
    scheme = next(iter(configuration["normalization_schemes"]))
    if scheme not in ("ZScoreNormalization", "NoNormalization"):
        raise ModelError(f"normalisation {scheme} is not supported", "Use ZScoreNormalization")
    if list(plans.get("transpose_forward", [0, 1, 2])) != [0, 1, 2]:
        raise ModelError(
            "the plan swaps axes: its slices are not those of the images",
            "Plan again on images whose slice axis is their coarsest",
        )
    for key, expected in _SAME_RESAMPLING.items():
        if configuration.get(key, expected) != expected:
            raise ModelError(
                f"the plan's {key} is {configuration[key]}, which is not supported",
                f"Use nnU-Net's default, {expected}",
            )
    if configuration.get("resampling_fn_data_kwargs", {}).get("order", CUBIC) != CUBIC:
        raise ModelError("the plan does not resample images by cubic splines", "Use order 3")
    high, wide = configuration["patch_size"]
    row, column = configuration["spacing"][-2:]
    return Plan(
        (int(high), int(wide)), (float(row), float(column)),
        scheme == "ZScoreNormalization", bool(configuration["use_mask_for_norm"][0]),
    )  # fmt: skip


def _classes(entries: Mapping[str, Any]) -> Mapping[str, str]:
    """Meaning of each nnU-Net label, by its name."""
    mapping = entries.get("classes", {})
    if not isinstance(mapping, dict) or not all(isinstance(v, str) for v in mapping.values()):
        raise ModelError(
            "[classes] in the TOML is no table of names", f"Known: {', '.join(CLASSES)}"
        )
    return mapping


def _labels(dataset: Mapping[str, Any], mapping: Mapping[str, str]) -> list[Label]:
    """Our label of each nnU-Net class, in its order."""
    if all(name.isdecimal() for name in dataset["labels"]):
        raise ModelError(
            "dataset.json lists labels by number, as nnU-Net v1 did",
            "Pass the dataset.json of the trained model, which nnU-Net v2 wrote",
        )
    found: dict[int, Label] = {}
    for name, value in dataset["labels"].items():
        if isinstance(value, list):
            raise ModelError(f"label {name} is a region", "Region-based training is not supported")
        if not isinstance(value, int):
            raise ModelError(f"the value of label {name} is no whole number", "Correct it")
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
    if sorted(found) != list(range(len(found))):
        raise ModelError("the labels of dataset.json are not 0, 1, 2 … without a gap", "Correct it")
    for needed in ("myocardium", "scar"):
        if CLASSES[needed] not in found.values():
            raise ModelError(
                f"no label means {needed}, so there would be no scar in percent of the wall",
                "Add it to [classes], or train with it",
            )
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


def _facts(entries: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
    for key in ("name", "version", "training_data", "licence"):
        if not isinstance(entries.get(key), str):
            raise ModelError(f"the TOML has no text {key}", "See scarseg-export nnunet --help")
    if not entries["training_data"].strip():  # as data to-nnunet writes it
        raise ModelError(
            "training_data of the TOML is empty",
            "Every report prints it: say what the network was trained on",
        )
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
        "min_scar_ml": _min_scar_ml(entries),
        "image_only": True,
    }


def _min_scar_ml(entries: Mapping[str, Any]) -> float:
    value = entries.get("min_scar_ml", 0.0)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ModelError("min_scar_ml in the TOML is no number", "Write it as 0.3")
    if not 0.0 <= value < math.inf:
        raise ModelError("min_scar_ml in the TOML is not 0 or more", "Write it as 0.3")
    return float(value)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path.name} is missing or damaged", "Pass nnU-Net's trained-model folder"
        ) from error
    if not isinstance(content, dict):
        raise ModelError(f"{path.name} is no JSON object", "Pass nnU-Net's trained-model folder")
    return content


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return read_toml(path)
    except OSError as error:
        raise ModelError(
            f"the TOML of --classes, {path}, cannot be read ({error.strerror})", "Check its path"
        ) from error
    except ValueError as error:
        raise ModelError(f"{path} is not TOML ({error})", "Correct it") from error
