"""Trade-off of an ECG's influence: gain of the right ECG against damage by another patient's.

Trains the fusion stage again for every setting on the same patients and measures both on
validation patients, pixel by pixel inside the predicted wall. No test patient is involved.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from scarseg_export.net.fusion import moved
from scarseg_export.net.network import ScarNet
from scarseg_export.train.buffers import SEMI_REAL_VALIDATION, VALIDATION
from scarseg_export.train.checkpoint import load_checkpoint
from scarseg_export.train.fusion import (
    FALSE_FLAGS,
    Ablations,
    change_of,
    disagreement_of,
    ecg_of,
    fit_fusion,
)
from scarseg_export.train.paired import OWN, STALE, Patient, load_patients, mixed_patients
from scarseg_export.train.real_ecgs import RealEcgs, real_ecgs
from scarseg_export.train.recipe import Recipe, recipe_of

FALSE_ALARM_PIXELS = 25
"""On the 1.5 mm crop grid about 0.5 mL: a scar-free heart with more counts as a false alarm."""

Counts = tuple[float, float, float]
"""Pixels hit, called scar, and truly scar."""


@dataclass(frozen=True)
class Setting:
    """Bounds of the ECG's influence."""

    delta_max: float
    agreement_gate: float
    image_ceiling: float


STEPS = 500
"""Of the fusion stage per setting: enough to compare."""
DELTAS = (1.0, 2.0, 4.0, 6.0)
CEILING = 2.0
SETTINGS = (
    *(Setting(delta, gate, CEILING) for gate in (0.0, 1.0) for delta in DELTAS),
    *(Setting(4.0, 1.0, ceiling) for ceiling in (1.0, 4.0)),
)


def write_tradeoff(run: Path, out: Path, validation: int, ecg: Path | None = None) -> Path:
    """Measure :data:`SETTINGS` on the finished training in ``run``; write a table and a plot.

    Args:
        ecg: folder of PTB-XL: then on semi-real patients with ECGs of the calibration fold.

    Raises ModelError where ``run`` holds no finished training.
    """
    trained = load_checkpoint(run / "model.pt")
    torch.set_num_threads(int(trained.recipe["threads"]))
    real = None if ecg is None else real_ecgs(ecg, run / "ecg")
    recipe = recipe_of(trained.recipe)
    rows = measure_settings(trained.net, recipe, run, list(SETTINGS), validation, real)
    out.mkdir(parents=True, exist_ok=True)
    (out / "tradeoff.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    _plot(rows, out / "tradeoff.png")
    lines = ["| " + " | ".join(rows[0]) + " |", "|---" * len(rows[0]) + "|"]
    lines += ["| " + " | ".join(f"{value:.3g}" for value in row.values()) + " |" for row in rows]
    table = out / "tradeoff.md"
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return table


def measure_settings(
    net: ScarNet,
    recipe: Recipe,
    run: Path,
    settings: list[Setting],
    validation: int = 300,
    real: RealEcgs | None = None,
) -> list[dict[str, Any]]:
    """One row of scores per setting; ``net`` serves as the frozen image network and encoder."""
    patients = mixed_patients(net, recipe, run / "fusion", recipe.fusion_cases, real)
    purpose, ecgs = (VALIDATION, None) if real is None else (SEMI_REAL_VALIDATION, real.calibration)
    folder = run / "tradeoff" / "validation"
    held_out = load_patients(net, recipe, folder, purpose, validation, share=1.0, ecgs=ecgs)
    bar = tqdm(settings, desc="settings", mininterval=10)
    return [_row(net, recipe, run, setting, patients, held_out) for setting in bar]


def _plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Dice gained by the right fresh ECG against Dice lost to a swapped one."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7.5, 4.5), constrained_layout=True)
    curves = (
        ("o:", "#d55e00", "over δ_max, no agreement gate", (0.0, CEILING)),
        ("o-", "#0072b2", "over δ_max, with agreement gate", (1.0, CEILING)),
        ("s", "#009e73", "other ceilings of the image, δ_max 4, gate", (1.0, None)),
    )
    for style, colour, label, (gate, ceiling) in curves:
        part = [
            r for r in rows
            if r["agreement_gate"] == gate
            and (r["image_ceiling"] == ceiling if ceiling else r["image_ceiling"] != CEILING)
        ]  # fmt: skip
        lost = [r["dice_swapped"] - r["dice_image"] for r in part]
        gained = [r["dice_right"] - r["dice_image"] for r in part]
        axes.plot(lost, gained, style, color=colour, label=label)
        for row, x, y in zip(part, lost, gained, strict=True):
            text = f"{row['delta_max']:g}" if ceiling else f"ceiling {row['image_ceiling']:g}"
            axes.annotate(text, (x, y), (5, 5), textcoords="offset points", fontsize=8)
    axes.axvline(-0.1, color="#999999", lw=0.8, ls="--", label="aim: at most 0.10 lost")
    axes.set_xlabel("scar Dice by another patient's ECG, minus image only")
    axes.set_ylabel("scar Dice by the own fresh ECG, minus image only")
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _row(
    net: ScarNet, recipe: Recipe, run: Path, setting: Setting,
    patients: list[Patient], held_out: list[Patient],
) -> dict[str, Any]:  # fmt: skip
    config = dataclasses.replace(recipe.network, **dataclasses.asdict(setting))
    recipe = dataclasses.replace(recipe, network=config, fusion_steps=STEPS)
    torch.manual_seed(recipe.seed)
    fresh = ScarNet(config).eval()
    name = f"d{setting.delta_max:g}-g{setting.agreement_gate:g}-c{setting.image_ceiling:g}"
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
            ecg = ecg_of(source, which, 0)
            odd = torch.sigmoid(disagreement_of(net, patient, ecg))
            change = change_of(net.fusion, patient, ecg.belief)
            fused = moved(net.ceiling(patient.scar), change, odd, net.config)
            maps.append(_counts(patient, torch.sigmoid(fused)))
            odds.append(float(odd))
    threshold = float(np.quantile(odd_right, 1.0 - FALSE_FLAGS))
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
