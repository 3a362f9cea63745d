"""A checkpoint together with what its model file must say: our own, or a user's with a TOML.

``scarseg-export train`` writes all of it into ``model.pt``. A checkpoint of the same architecture
from elsewhere holds a state dict only; the rest stands in a TOML of the same name beside it::

    name = "my-scar-model"
    version = "1.0"
    training_data = "180 patients of ..."
    licence = "CC-BY-4.0"
    tau_days = 90                     # needed where the state has no taff.log_tau
    disagreement_threshold = 0.9      # optional: without it nothing is flagged
    min_scar_ml = 0.3                 # optional
    classes = ["background", "LV cavity", "viable myocardium", "scar", "RV cavity"]  # optional

    [network]                         # what differs from NetworkConfig: widths, spacing ...
    crop_spacing_mm = 1.4

    [ecg]
    leads = ["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"]
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from scarseg_export.deploy.model_io import load_model
from scarseg_export.deploy.onnx_weights import network_of
from scarseg_export.net.config import NetworkConfig
from scarseg_export.net.network import ScarNet
from scarseg_export.train.checkpoint import load_checkpoint
from scarseg_export.train.infarct_codes import PTBXL_STATEMENT
from scarseg_export.train.recipe import network_config
from scarseg_runtime.contract import LEADS, Label
from scarseg_runtime.edited_text import read_toml
from scarseg_runtime.errors import ModelError
from scarseg_runtime.model_file.read import read_model_file
from scarseg_runtime.version import __version__

INTENDED_USE = "Research use only. Not a medical device."
SIMULATION_ONLY = (
    "Digital twin only: simulated LGE stacks and ECGs. No patient image, ECG or label was used."
)
REAL_BACKGROUNDS = (
    "Digital twin, and CC0 cine frames re-rendered LGE-like. No real LGE, scar or ECG was used."
)
REAL_ECGS = f"Digital twin, and real ECGs. No real image or scar was used. {PTBXL_STATEMENT}"
REAL_BACKGROUNDS_AND_ECGS = (
    "Digital twin, CC0 cine frames re-rendered LGE-like, and real ECGs. No real LGE or scar was "
    f"trained on. {PTBXL_STATEMENT}"
)
CLASS_NAMES = ("background", "LV cavity", "viable myocardium", "scar", "RV cavity")
COLOURS = ("#000000", "#d55e00", "#009e73", "#f0e442", "#0072b2")
"""Of the labels 0 … 4; colours that colour-blind readers can tell apart."""
NEVER_FLAGGED = 1.0
TAU = "taff.log_tau"
_STATE_KEYS = ("state", "state_dict", "model_state_dict", "model")


@dataclass(frozen=True, slots=True)
class Described:
    """A network in evaluation mode and the facts that its model file states."""

    net: ScarNet
    facts: dict[str, Any]
    """Metadata (scarseg_runtime.model_file.read.ModelMetadata) that depend on the training."""


def load_described(path: Path) -> Described:
    """Read a checkpoint: with a TOML of its name beside it by that, else as one of our own. A model
    file counts as one: its network and its facts, to be given the graph of this release.

    Raises:
        ModelError: a file is missing or damaged, the TOML lacks or mistypes an entry, or a tensor
            does not fit the network; names entry or tensor.
    """
    if path.suffix == ".onnx":
        return _of_model_file(path)
    description = path.with_suffix(".toml")
    return _by_toml(path, description) if description.is_file() else _our_own(path)


def class_entries(names: tuple[str, ...] = CLASS_NAMES) -> list[dict[str, Any]]:
    """Value, name and colour of every label."""
    return [
        {"value": int(label), "name": name, "colour": colour}
        for label, name, colour in zip(Label, names, COLOURS, strict=True)
    ]


def training_statement(recipe: Mapping[str, Any]) -> str:
    """Data that a recipe trained on; the folder of ECGs asks for an attribution."""
    real_ecgs = bool(recipe.get("ecg_real_steps"))  # which recipes before 0.2 do not name
    if recipe["cine_share"]:
        return REAL_BACKGROUNDS_AND_ECGS if real_ecgs else REAL_BACKGROUNDS
    return REAL_ECGS if real_ecgs else SIMULATION_ONLY


def _our_own(path: Path) -> Described:
    trained = load_checkpoint(path)
    recipe = trained.recipe
    facts = {
        "name": "scarseg-reference",
        "version": __version__,
        "training_data": trained.facts.get("training_data") or training_statement(recipe),
        "licence": "Apache-2.0",
        "recipe": recipe,
        "disagreement_threshold": trained.disagreement_threshold,
        "ecg_scores": trained.ecg_scores,
        "classes": class_entries(),
        **trained.facts,
    }
    return Described(trained.net, facts)


def _of_model_file(path: Path) -> Described:
    metadata = read_model_file(path).metadata
    net = network_of(load_model(path), metadata)
    kept = (
        "name", "version", "training_data", "licence", "recipe_revision", "min_scar_ml",
        "disagreement_threshold", "twin_scores", "ecg_scores",
    )  # fmt: skip
    facts: dict[str, Any] = {name: getattr(metadata, name) for name in kept}
    # Which constants are one and the same depends on the graph.
    recipe = {name: value for name, value in metadata.recipe.items() if name != "same_as"}
    return Described(net, facts | {"recipe": recipe, "classes": list(metadata.classes)})


def _by_toml(path: Path, description: Path) -> Described:
    entries = _read_toml(description)
    config = _network_config(entries)
    net = ScarNet(config)
    _load_state(net, _read_state(path), entries.get("tau_days"))
    names = tuple(_entry(entries, "classes", list, list(CLASS_NAMES)))
    if len(names) != len(Label) or not all(isinstance(name, str) for name in names):
        raise _toml_error(f"classes must be {len(Label)} names, of the labels 0 to 4")
    facts = {
        **{
            key: _entry(entries, key, str)
            for key in ("name", "version", "training_data", "licence")
        },
        "recipe": {"network": dataclasses.asdict(config)},
        "disagreement_threshold": float(
            _entry(entries, "disagreement_threshold", (int, float), NEVER_FLAGGED)
        ),
        "classes": class_entries(names),
    }
    if "min_scar_ml" in entries:
        facts["min_scar_ml"] = float(_entry(entries, "min_scar_ml", (int, float)))
    return Described(net.eval(), facts)


def _read_toml(description: Path) -> dict[str, Any]:
    try:
        return read_toml(description)
    except (OSError, ValueError) as error:
        raise _toml_error(f"it cannot be read: {error}") from error


def _entry(entries: Mapping[str, Any], key: str, kind: Any, default: Any = None) -> Any:
    value = entries.get(key, default)
    if value is None:
        raise _toml_error(f"it has no entry {key}")
    if not isinstance(value, kind):
        raise _toml_error(f"{key} is of a wrong type")
    return value


def _network_config(entries: Mapping[str, Any]) -> NetworkConfig:
    leads = tuple(_entry(_entry(entries, "ecg", dict, {}), "leads", list, list(LEADS)))
    if sorted(map(str, leads)) != sorted(LEADS):
        raise _toml_error(f"ecg.leads must be the twelve {', '.join(LEADS)} in any order")
    try:
        return network_config({**_entry(entries, "network", dict, {}), "ecg_leads": leads})
    except TypeError as error:  # the message names the field
        known = ", ".join(field.name for field in dataclasses.fields(NetworkConfig))
        raise _toml_error(f"network has an unknown entry ({error}); known: {known}") from error


def _read_state(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, weights_only=True, map_location="cpu")
    except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
        raise ModelError(
            "the checkpoint is missing, damaged, or holds more than tensors",
            "Save a state dict with torch.save(net.state_dict(), ...)",
        ) from error
    for key in _STATE_KEYS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise ModelError("the checkpoint holds no state dict", "Save net.state_dict()")
    return content


def _load_state(net: ScarNet, state: dict[str, Tensor], tau_days: object) -> None:
    """Copy ``state`` into ``net``. Raises ModelError naming the first tensor that does not fit."""
    if tau_days is not None:
        if not isinstance(tau_days, int | float) or not tau_days > 0:
            raise _toml_error("tau_days must be a positive number")
        state = {**state, TAU: torch.tensor(math.log(tau_days))}
    wanted = net.state_dict()
    for name, value in wanted.items():
        if name not in state:
            advice = "Give tau_days in the TOML" if name == TAU else "Check [network] in the TOML"
            raise ModelError(f"the checkpoint has no tensor {name}", advice)
        if state[name].shape != value.shape:
            raise ModelError(
                f"tensor {name} of the checkpoint is of shape {list(state[name].shape)}, "
                f"the network wants {list(value.shape)}",
                "Check [network] in the TOML",
            )
    unknown = sorted(state.keys() - wanted.keys())
    if unknown:
        raise ModelError(
            f"the checkpoint has a tensor {unknown[0]} that the network does not know",
            "Check [network] in the TOML",
        )
    net.load_state_dict(state)


def _toml_error(what: str) -> ModelError:
    return ModelError(
        f"the TOML beside the checkpoint: {what}", "See scarseg-export onnx --help for its entries"
    )
