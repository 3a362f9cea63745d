"""From rows of patients to tables: by Δt bin and arm, with intervals over patients and seeds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from scarseg_export.evaluation import arms
from scarseg_export.evaluation.run import Row
from scarseg_export.train_ecg import segment_auroc

Array = NDArray[np.float64]

BINS = ((0, 7), (7, 30), (30, 120), (120, 365), (365, 1e9))
BIN_NAMES = ("≤ 7 d", "7–30 d", "30–120 d", "120–365 d", "> 365 d")
MEANS = (
    "dice", "precision", "sensitivity", "false_alarm", "cavity_dice", "wall_dice",
    "segment_accuracy",
)  # fmt: skip
POSITIVE_BURDEN = 0.1
"""A segment with more scar than this share counts as scarred."""
FALSE_FLAGS = 0.05
DRAWS = 2000


def summarise(rows: list[Row]) -> dict[str, Any]:
    """Scores of one checkpoint on one test set: overall, and by Δt bin."""
    days = np.array([row["gap_days"] for row in rows])
    picks = {
        "all": np.ones(len(rows), bool),
        **{name: (days > low) & (days <= high)
           for name, (low, high) in zip(BIN_NAMES, BINS, strict=True)},
        "> 120 d": days > 120,
    }  # fmt: skip
    picks["≤ 7 d"] |= days == 0
    parts = {
        name: [r for r, p in zip(rows, pick, strict=True) if p] for name, pick in picks.items()
    }
    return {
        "patients": len(rows),
        "bins": {name: _bin(part) for name, part in parts.items() if part},
        "belief_auroc_fresh": auroc_by_segment(rows, "belief_fresh"),
        "belief_auroc_stale": auroc_by_segment(rows, "belief_stale"),
        "disagreement": disagreement(rows),
    }


def _bin(rows: list[Row]) -> dict[str, Any]:
    names = rows[0]["arms"]
    return {"patients": len(rows), "arms": {name: arm_summary(rows, name) for name in names}}


def arm_summary(rows: list[Row], arm: str) -> dict[str, Any]:
    """Means over patients of one arm, Dice difference from image only, patient by patient."""
    scores = {key: column(rows, arm, key) for key in rows[0]["arms"][arm]}
    summary: dict[str, Any] = {key: interval(scores[key]) for key in MEANS}
    total = scores["scar_ml"].sum() + scores["true_scar_ml"].sum()
    summary["pooled_dice"] = float(2 * scores["hit_ml"].sum() / total) if total else None
    summary["burden_error"] = interval(np.abs(scores["burden_error"]))
    summary["volume_error_ml"] = interval(np.abs(scores["scar_ml"] - scores["true_scar_ml"]))
    for key in ("dice", "false_alarm"):
        summary[f"{key}_gain"] = interval(scores[key] - column(rows, arms.IMAGE, key))
    return summary


def column(rows: list[Row], arm: str, key: str) -> Array:
    """[patients] one score of one arm."""
    return np.array([row["arms"][arm][key] for row in rows], dtype=np.float64)


def interval(values: Array) -> dict[str, float | int] | None:
    """Mean, its 95 % bootstrap interval over patients, and how many had a value."""
    values = values[np.isfinite(values)]
    if not values.size:
        return None
    rng = np.random.default_rng(0)
    means = values[rng.integers(0, values.size, (DRAWS, values.size))].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return {"mean": float(values.mean()), "low": float(low), "high": float(high), "n": values.size}


def auroc_by_segment(rows: list[Row], key: str) -> list[float | None]:
    """[17] AUROC of the ECG belief for scar in each segment at MRI time."""
    beliefs, burdens = (np.array([row[k] for row in rows]) for k in (key, "burden"))
    values = segment_auroc(beliefs, burdens > POSITIVE_BURDEN)
    return [None if np.isnan(value) else float(value) for value in values]


def disagreement(rows: list[Row]) -> dict[str, float]:
    """How well the disagreement of ECG and image tells swapped pairs from right ones."""
    right = np.array([row["disagreement_right"] for row in rows])
    swapped = np.array([row["disagreement_swapped"] for row in rows])
    threshold = float(np.quantile(right, 1 - FALSE_FLAGS))
    both = np.concatenate([right, swapped])[:, None]
    truth = np.arange(len(both))[:, None] >= len(right)
    harmful = column(rows, arms.SWAPPED, "dice") < column(rows, arms.IMAGE, "dice") - 0.1
    return {
        "auroc": float(segment_auroc(both, truth)[0]),
        "threshold_5_percent": threshold,
        "caught": float((swapped > threshold).mean()),
        "harmful_swaps": float(harmful.mean()),
        "caught_of_harmful": float((swapped[harmful] > threshold).mean()) if harmful.any() else 1.0,
    }


def over_seeds(values: list[float]) -> tuple[float, float]:
    """Mean and SD over training seeds."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
