"""The training recipe: every number that makes a model, in one frozen object."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scarseg_export.network import NetworkConfig


@dataclass(frozen=True)
class Recipe:
    """How a model is trained. Seeds of patients are disjoint between all stages."""

    seed: int = 1
    threads: int = 2
    network: NetworkConfig = field(default_factory=NetworkConfig)

    ecg_patients: int = 16000
    ecg_epochs: int = 14
    ecg_rate: float = 2e-3

    localiser_stacks: int = 400
    localiser_steps: int = 900
    localiser_rate: float = 3e-3

    image_stacks: int = 1500
    image_steps: int = 1800
    image_batch_stacks: int = 2
    image_rate: float = 2e-3

    fusion_cases: int = 500
    fusion_epochs: int = 120
    fusion_rate: float = 3e-3
    tau_rate: float = 1e-1

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def load_recipe(path: Path | None) -> Recipe:
    """Recipe from a JSON file that may name any subset of the fields; defaults otherwise."""
    if path is None:
        return Recipe()
    values = json.loads(path.read_text(encoding="utf-8"))
    return Recipe(network=network_config(values.pop("network", {})), **values)


def network_config(values: dict[str, Any]) -> NetworkConfig:
    """Network configuration from plain values, as JSON and checkpoints hold them."""
    plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return NetworkConfig(**plain)
