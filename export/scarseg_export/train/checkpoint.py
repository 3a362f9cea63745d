"""Checkpoints of training: the network, the heads for comparison, and how they were made."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from scarseg_export.net.fold import fold_batch_norm
from scarseg_export.net.network import ScarNet
from scarseg_export.train.fusion import Ablations
from scarseg_export.train.recipe import network_config
from scarseg_runtime.errors import ModelError
from scarseg_runtime.whole import whole_file


@dataclass(frozen=True)
class Checkpoint:
    """A trained model; networks are in evaluation mode."""

    net: ScarNet
    ablations: Ablations
    recipe: dict[str, Any]
    disagreement_threshold: float
    ecg_scores: dict[str, Any] = field(default_factory=dict)
    """Of the ECG branch on real ECGs (metadata of the same name); empty without any."""
    folded: bool = False
    """True where BatchNorm is folded into the convolutions: the training began with a model
    file."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Facts that a model file made of this must say instead of what follows from the recipe."""


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write ``path``."""
    content = {
        "recipe": checkpoint.recipe,
        "state": checkpoint.net.state_dict(),
        "ablations": checkpoint.ablations.state_dict(),
        "disagreement_threshold": checkpoint.disagreement_threshold,
        "ecg_scores": checkpoint.ecg_scores,
        "folded": checkpoint.folded,
        "facts": checkpoint.facts,
    }
    with whole_file(path) as part:
        torch.save(content, part)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read what training wrote.

    Raises:
        ModelError: the file is missing, damaged, or of another network.
    """
    try:
        content = torch.load(path, weights_only=True)
        net = ScarNet(network_config(content["recipe"]["network"]))
        folded = bool(content.get("folded", False))
        if folded:
            fold_batch_norm(net.eval())
        net.load_state_dict(content["state"])
        ablations = Ablations(net)
        ablations.load_state_dict(content["ablations"])
        threshold = float(content["disagreement_threshold"])
        scores = dict(content.get("ecg_scores", {}))
        facts = dict(content.get("facts", {}))
    except (OSError, KeyError, TypeError, RuntimeError, UnpicklingError) as error:
        raise ModelError(
            "the checkpoint is missing, damaged, or not one of this network",
            "Pass the model.pt that scarseg-export train wrote",
        ) from error
    return Checkpoint(
        net.eval(), ablations.eval(), content["recipe"], threshold, scores, folded, facts
    )
