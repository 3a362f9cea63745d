"""How much may an ECG change? Gain of the right ECG against damage by another patient's.

Trains the fusion stage again for every setting on the same patients and measures both on
validation patients, pixel by pixel inside the predicted wall. No test patient is involved.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scarseg_export.buffers import FUSION, VALIDATION
from scarseg_export.network import ScarNet
from scarseg_export.paired import OWN, STALE, Patient, load_patients
from scarseg_export.recipe import Recipe
from scarseg_export.taff import mix
from scarseg_export.train_fusion import Ablations, fit_fusion

FALSE_ALARM_PIXELS = 25
"""On the 1.5 mm crop grid about 0.5 mL: a scar-free heart with more counts as a false alarm."""

Counts = tuple[float, float, float]
"""Pixels hit, called scar, and truly scar."""


@dataclass(frozen=True)
class Setting:
    """What bounds the ECG's influence."""

    delta_max: float
    agreement_gate: float
    swap_share: float


def measure_settings(
    net: ScarNet, recipe: Recipe, run: Path, settings: list[Setting], validation: int = 300
) -> list[dict[str, Any]]:
    """One row of scores per setting; ``net`` serves as the frozen image network and encoder."""
    patients = load_patients(net, recipe, run / "fusion", FUSION, recipe.fusion_cases)
    held_out = load_patients(net, recipe, run / "validation", VALIDATION, validation, share=1.0)
    return [_row(net, recipe, run, setting, patients, held_out) for setting in settings]


def _row(
    net: ScarNet, recipe: Recipe, run: Path, setting: Setting,
    patients: list[Patient], held_out: list[Patient],
) -> dict[str, Any]:  # fmt: skip
    config = dataclasses.replace(
        recipe.network, delta_max=setting.delta_max, agreement_gate=setting.agreement_gate
    )
    recipe = dataclasses.replace(recipe, network=config, swap_share=setting.swap_share)
    torch.manual_seed(recipe.seed)
    fresh = ScarNet(config).eval()
    name = f"d{setting.delta_max:g}-g{setting.agreement_gate:g}-s{setting.swap_share:g}"
    folder = run / "tradeoff"
    folder.mkdir(exist_ok=True)
    fit_fusion(fresh, Ablations(fresh), recipe, patients, folder / f"{name}.pt")
    row = dataclasses.asdict(setting) | score_pairs(fresh, held_out)
    return row | {"tau_days": fresh.taff.tau_days}


@torch.no_grad()
def score_pairs(net: ScarNet, patients: list[Patient]) -> dict[str, float]:
    """Right, stale and swapped ECGs at Δt = 0 on patients with all pixels of their wall."""
    image: list[Counts] = []
    right: list[Counts] = []
    stale: list[Counts] = []
    swapped: list[Counts] = []
    odd_right: list[float] = []
    odd_swapped: list[float] = []
    for patient, other in zip(patients, [*patients[1:], patients[0]], strict=True):
        image.append(_counts(patient, torch.sigmoid(patient.scar)))
        for source, which, maps, odds in (
            (patient, OWN, right, odd_right),
            (patient, STALE, stale, []),
            (other, OWN, swapped, odd_swapped),
        ):
            belief, heard = source.belief[which, 0], source.heard[which, 0]
            odd = torch.sigmoid(net.agreement(belief, patient.evidence, heard, patient.size))
            change = net.fusion(
                patient.features, patient.scar, patient.segment, belief, patient.evidence
            )
            calm = net.ceiling(patient.scar)
            fused = calm + (1.0 - net.config.agreement_gate * odd) * change
            probability = mix(torch.ones(()), torch.sigmoid(fused), torch.sigmoid(calm))
            maps.append(_counts(patient, probability))
            odds.append(float(odd))
    threshold = float(np.quantile(odd_right, 0.95))
    dice = {"image": image, "right": right, "stale": stale, "swapped": swapped}
    return {
        **{f"dice_{name}": _dice(rows) for name, rows in dice.items()},
        **{f"alarms_{name}": _alarms(rows) for name, rows in dice.items()},
        "disagreement_threshold": threshold,
        "swaps_caught": float(np.mean(np.array(odd_swapped) > threshold)),
    }


def _counts(patient: Patient, probability: Tensor) -> Counts:
    called = (probability > 0.5).float()
    hit = float((called * patient.is_scar).sum())
    return hit, float(called.sum()), float(patient.is_scar.sum()) + patient.missed


def _dice(rows: list[Counts]) -> float:
    """Mean over patients with scar."""
    scores = [2 * hit / (called + true) for hit, called, true in rows if true > 0]
    return float(np.mean(scores))


def _alarms(rows: list[Counts]) -> float:
    """Share of scar-free patients with a false alarm."""
    return float(np.mean([called > FALSE_ALARM_PIXELS for _, called, true in rows if true == 0]))
