"""The beginning of a training: a model file or a checkpoint."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from scarseg_export.deploy.described import training_statement
from scarseg_export.deploy.model_io import load_model
from scarseg_export.deploy.onnx_weights import network_of
from scarseg_export.net.fusion import Fusion
from scarseg_export.net.network import ScarNet
from scarseg_export.train.checkpoint import Checkpoint, load_checkpoint
from scarseg_export.train.fusion import Ablations
from scarseg_runtime.errors import ModelError, UsageError
from scarseg_runtime.model_file.read import read_model_file


@dataclass(frozen=True, slots=True)
class Start:
    """A network to begin with, in evaluation mode."""

    net: ScarNet
    ablations: Ablations
    threshold: float
    """Of the disagreement flag."""
    folded: bool
    """True where BatchNorm is folded away: a model file holds nothing else."""
    name: str
    sha256: str
    """Of the file; empty where there is none."""
    training_data: str
    recipe: dict[str, Any]
    ecg_scores: dict[str, Any]

    def fresh(self) -> Start:
        """The same with a network of its own."""
        return copy.deepcopy(self)


def start_from(path: Path) -> Start:
    """Read a model file (.onnx) or a checkpoint of ``scarseg-export train`` (.pt).

    A model file's weights are those that it computes with: BatchNorm is folded into the
    convolutions, and stays so. At step 0 the network gives the answers of the file.

    Raises:
        ModelError: it is missing, damaged, of another architecture, or an image-only model.
    """
    sha256 = _digest(path)
    if path.suffix.lower() == ".onnx":
        file = read_model_file(path)
        metadata = file.metadata
        if metadata.image_only or metadata.precision != "fp32":
            raise ModelError(
                "the model file to begin with is image-only or an FP16 variant",
                "Pass the FP32 file of a fused model of this architecture",
            )
        net = network_of(load_model(path), metadata)
        return Start(
            net, _heads(net), metadata.disagreement_threshold, True,
            f"{metadata.name} {metadata.version}", sha256, metadata.training_data,
            _without(dict(metadata.recipe), "same_as"), dict(metadata.ecg_scores),
        )  # fmt: skip
    found = load_checkpoint(path)
    said = found.facts.get("training_data") or training_statement(found.recipe)
    return Start(
        found.net, found.ablations, found.disagreement_threshold, found.folded,
        str(found.facts.get("name", "a checkpoint")), sha256, said, found.recipe,
        found.ecg_scores,
    )  # fmt: skip


def _heads(net: ScarNet) -> Ablations:
    """Heads for comparison, which no model file holds, begin as the one that is deployed."""
    ablations = Ablations(net)
    for head in ablations.children():
        head.load_state_dict(net.fusion.state_dict())
    return ablations.eval()


def unplaced_head(net: ScarNet) -> nn.Module:
    """A head that is to hear an ECG without a place: the same kind, with the deployed weights."""
    head = Fusion(net.config)
    head.load_state_dict(net.fusion.state_dict())
    return head


def _without(recipe: dict[str, Any], key: str) -> dict[str, Any]:
    """``same_as`` is of the constants of one file, and these weights will be in another."""
    return {name: value for name, value in recipe.items() if name != key}


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ModelError("the model to begin with cannot be read", "Check --from") from error


def checkpoint_of(start: Start, threshold: float, recipe: dict[str, Any]) -> Checkpoint:
    """Checkpoint that a training which began here leaves behind.

    Raises:
        UsageError: ``recipe`` names another network.
    """
    if "network" not in recipe:
        raise UsageError("the recipe names no network", "Begin with another model")
    return Checkpoint(
        start.net.eval(), start.ablations.eval(), recipe, threshold, start.ecg_scores, start.folded
    )
