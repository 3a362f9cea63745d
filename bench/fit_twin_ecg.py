"""Constants of the twin's ECG, fitted to means of real beats.

    python bench/fit_twin_ecg.py PTBXL_FOLDER --out FIT.json [--start FIT.json] [--steps 8]

What is fitted: the fields of ``Physics`` and the places of the six chest electrodes
(``twin/conduction.py``, ``twin/torso.py``, where the result is written by hand). To what: mean and
standard deviation over plain normals of every lead and sample, and the mean difference that an
anterior and an inferior infarct makes (without it nothing tells which way the heart is rolled about
its long axis). Folds 1 to 8 only; only these means are seen, and none of them is kept.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from scarseg_export.train.real_ecgs import RealEcgs, real_ecgs
from scarseg_export.twin import conduction, ecg
from scarseg_export.twin.anatomy import sample_anatomy
from scarseg_export.twin.scar import TERRITORIES, ischaemic_scar, no_scar
from scarseg_export.twin.torso import ELECTRODES_MM
from scarseg_runtime.contract import BEAT_R_INDEX

SAMPLES = BEAT_R_INDEX + np.r_[np.arange(-36, 36, 2), np.arange(36, 232, 6)]
QRS = slice(0, 36)
INFARCTS = ("LAD", "RCA")
STEP = 0.15
"""Of the finite differences, in units of a constant's scale."""
SCALES = {
    "gain_mv": (4, 4, 60), "brody": (0.1, 0, 1), "limb_gain": (0.3, 0.3, 3),
    "leg_gain": (0.5, 0.5, 5), "near_mm": (15, 0, 80), "turn_deg": (8, -60, 60),
    "shift_mm": (8, -45, 45), "endocardium_mm_ms": (0.4, 0.8, 4), "base_slowing": (0.2, 0, 0.8),
    "wall_mm_ms": (0.1, 0.3, 1), "across_mm_ms": (0.08, 0.25, 0.8), "anterior_ms": (4, 0, 25),
    "inferior_ms": (4, 0, 25), "lateral_ms": (5, 0, 35), "right_septal_ms": (4, 0, 25),
    "plateau_ms": (20, 180, 330), "duration_depth_ms": (15, -20, 90),
    "duration_base_ms": (15, -40, 60), "duration_septum_ms": (10, -40, 40),
    "duration_anterior_ms": (10, -40, 40), "duration_late": (0.2, -0.3, 1),
    "recovery_ms": (6, 15, 65), "sag_ms": (10, 3, 80), "right_gain": (0.2, 0.05, 2),
    "right_start_ms": (5, 0, 30), "right_mm_ms": (0.3, 0.4, 3),
    "right_duration_ms": (20, 170, 320), "right_depth_ms": (15, -40, 60),
    "border_ms": (25, 0, 150), "dulling": (0.2, 0, 0.9),
}  # fmt: skip
"""Scale, least and greatest value of every constant."""
ELECTRODE_SCALE = (10.0, -30.0, 30.0)


class Fit:
    """Residuals as a function of the constants, in units of their scales."""

    def __init__(self, real: RealEcgs, hearts: int, infarcts: int) -> None:
        normal = real.of_kind("normal").beats[:, :, SAMPLES]
        self.mean, self.sd = normal.mean(0), normal.std(0)
        territory = np.array(["+".join(real.territories(index)) for index in range(len(real))])
        self.change = {
            name: real.beats[territory == name][:, :, SAMPLES].mean(0) - self.mean
            for name in INFARCTS
        }
        self.anatomies = [sample_anatomy(np.random.default_rng([77, k])) for k in range(hearts)]
        self.scars = {
            name: [ischaemic_scar(np.random.default_rng(k), centre) for k in range(infarcts)]
            for name, centre in TERRITORIES.items()
            if name in INFARCTS
        }
        limits = np.array(
            [
                SCALES[name]
                for name, value in dataclasses.asdict(conduction.Physics()).items()
                for _ in range(np.size(value))
            ]
            + [ELECTRODE_SCALE] * 18,
            dtype=float,
        )
        self.scale, self.low, self.high = limits.T
        self.start = np.concatenate([_flat(conduction.Physics()), np.zeros(18)])

    def residuals(self, units: np.ndarray) -> np.ndarray:
        """Of means, spreads, infarcts, and of the distance from where the fit began."""
        normal, change = self.simulated(units * self.scale)
        tolerance = self.sd + 0.05
        parts = [
            (normal.mean(0) - self.mean) / tolerance,
            0.7 * (normal.std(0) - self.sd) / tolerance,
        ]
        for name, real in self.change.items():
            own = change[name]
            # Which infarcts an ECG shows, and how large they are, is not the heart's position.
            size = (own[:, QRS] * real[:, QRS]).sum() / ((own[:, QRS] ** 2).sum() + 1e-9)
            parts.append((np.clip(size, 0.6, 1.8) * own - real) / tolerance)
        distance = 0.3 * (units - self.start / self.scale)
        return np.concatenate([*(part.ravel() for part in parts), distance])

    def simulated(self, values: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Normal beats and the mean change that each infarct makes of the same hearts."""
        conduction.USUAL = _physics(values[:-18])
        moved = np.vstack([np.zeros((3, 3)), values[-18:].reshape(6, 3)])
        ecg.ELECTRODES_MM = ELECTRODES_MM + moved  # type: ignore[attr-defined]
        traits = [_narrow(index) for index in range(len(self.anatomies))]
        healthy = [no_scar()] * len(traits)
        normal = ecg.simulate_beats(self.anatomies, healthy, traits)[:, :, SAMPLES]
        change = {}
        for name, scars in self.scars.items():
            count = len(scars)
            beats = ecg.simulate_beats(self.anatomies[:count], scars, traits[:count])
            change[name] = (beats[:, :, SAMPLES] - normal[:count]).mean(0)
        return normal, change

    def jacobian(self, units: np.ndarray) -> np.ndarray:
        """Finite differences, away from the nearer limit."""
        base = self.residuals(units)
        columns = []
        for index in range(len(units)):
            step = np.zeros(len(units))
            step[index] = (
                STEP if units[index] + STEP < self.high[index] / self.scale[index] else -STEP
            )
            columns.append((self.residuals(units + step) - base) / step[index])
        return np.stack(columns, 1)


def _narrow(index: int) -> conduction.Conduction:
    """Traits of one patient without bundle-branch block, the same in every evaluation."""
    for trial in range(100):
        trait = conduction.sample_conduction(np.random.default_rng([78, index, trial]))
        if trait.bundle == "normal":
            return trait
    raise AssertionError("no such patient")


def _flat(physics: conduction.Physics) -> np.ndarray:
    return np.concatenate([np.ravel(value) for value in dataclasses.asdict(physics).values()])


def _physics(values: np.ndarray) -> conduction.Physics:
    fields: dict[str, Any] = {}
    place = 0
    for name, value in dataclasses.asdict(conduction.Physics()).items():
        own = values[place : place + np.size(value)]
        fields[name] = tuple(map(float, own)) if np.ndim(value) else float(own[0])
        place += np.size(value)
    return conduction.Physics(**fields)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=Path)
    parser.add_argument("--cache", type=Path, default=Path("bench-result/ecgs"))
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--hearts", type=int, default=32)
    options = parser.parse_args()
    fit = Fit(
        real_ecgs(options.folder, options.cache).training, options.hearts, options.hearts * 3 // 4
    )
    units = fit.start / fit.scale
    if options.start:
        units = (
            np.array(json.loads(options.start.read_text(encoding="utf-8"))["values"]) / fit.scale
        )
    damping, base = 1.0, fit.residuals(units)
    print(f"start: cost {base @ base:.1f}", flush=True)
    for step in range(options.steps):
        slopes = fit.jacobian(units)
        for _ in range(5):
            change = np.linalg.solve(
                slopes.T @ slopes + damping * np.eye(len(units)), -slopes.T @ base
            )
            moved = np.clip(units + change, fit.low / fit.scale, fit.high / fit.scale)
            there = fit.residuals(moved)
            if there @ there < base @ base:
                units, base, damping = moved, there, damping / 3
                break
            damping *= 4
        else:
            break
        values = units * fit.scale
        told = {
            "cost": float(base @ base),
            "values": values.tolist(),
            "physics": dataclasses.asdict(_physics(values[:-18])),
            "electrodes_mm": (ELECTRODES_MM[3:] + values[-18:].reshape(6, 3)).tolist(),
        }
        options.out.write_text(json.dumps(told, indent=1), encoding="utf-8")
        print(f"step {step + 1}: cost {told['cost']:.1f}", flush=True)


if __name__ == "__main__":
    main()
