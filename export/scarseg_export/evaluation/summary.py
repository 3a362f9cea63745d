"""From rows of patients to tables: by Δt bin and arm, over patients and training seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scarseg_export.evaluation import arms
from scarseg_export.evaluation.estimates import (
    Array,
    Estimate,
    auroc,
    average,
    draw_patients,
    mean,
    ratio,
)
from scarseg_export.evaluation.run import Row
from scarseg_export.train.fusion import FALSE_FLAGS

BIN_EDGES = {
    "≤ 7 d": (-1.0, 7.0), "7–30 d": (7.0, 30.0), "30–120 d": (30.0, 120.0),
    "120–365 d": (120.0, 365.0), "> 365 d": (365.0, np.inf),
}  # fmt: skip
BIN_NAMES = tuple(BIN_EDGES)
SAME, CHANGED = "ECG of the same scar state", "ECG of another scar state"
SHOWN, SHOWN_SOON = "infarct that its ECG shows", "infarct that its ECG shows, ≤ 7 d"
SILENT = "infarct that no ECG shows"
"""Of semi-real patients; in the first two the ECG at hand is the heart's own."""
MEANS = (
    "dice", "precision", "sensitivity", "false_alarm", "cavity_dice", "wall_dice",
    "segment_accuracy",
)  # fmt: skip
SIGNED = {"burden_error": "burden_bias", "volume_error_ml": "volume_bias_ml"}
"""Errors that are averaged as absolute values, and what their signed mean is called."""
PAIRED = ("dice", "precision", "sensitivity", "false_alarm", *SIGNED)
"""Also given as difference from image only, patient by patient, as ``…_gain``."""
POSITIVE_BURDEN = 0.1
"""A segment with more scar than this share counts as scarred."""
HARM_PERCENT = 2.0
"""Change of the scar burden, in % of LV mass, that a swapped ECG must not cause unseen."""
AUROC_DRAWS = 500


@dataclass(frozen=True)
class Scores:
    """Rows of several training seeds on the same patients as arrays."""

    days: Array
    """[patients]"""
    stale: NDArray[np.bool_]
    silent: NDArray[np.bool_]
    arms: dict[str, dict[str, Array]]
    """By arm and score, [seeds, patients]."""

    def of(self, pick: NDArray[np.bool_]) -> Scores:
        """Only some of the patients."""
        parts = {a: {k: v[:, pick] for k, v in s.items()} for a, s in self.arms.items()}
        return Scores(self.days[pick], self.stale[pick], self.silent[pick], parts)


def scores_of(rows: list[list[Row]]) -> Scores:
    """From rows by seed."""
    table: dict[str, dict[str, Array]] = {}
    for arm, keys in rows[0][0]["arms"].items():
        table[arm] = {
            key: np.array([[r["arms"][arm][key] for r in seed] for seed in rows], np.float64)
            for key in keys
        }
        table[arm]["volume_error_ml"] = table[arm]["scar_ml"] - table[arm]["true_scar_ml"]
    days, stale, silent = (
        np.array([row[key] for row in rows[0]]) for key in ("gap_days", "stale", "silent")
    )
    return Scores(days, stale, silent, table)


def summarise(rows: list[list[Row]], thresholds: list[float]) -> dict[str, Any]:
    """Everything on one test set.

    Args:
        rows: by training seed, of the same patients.
        thresholds: of the disagreement flag, by seed, as deployed.
    """
    scores = scores_of(rows)
    picks = {"all": np.ones(len(scores.days), bool)}
    for name, (low, high) in BIN_EDGES.items():
        picks[name] = (scores.days > low) & (scores.days <= high)
    picks |= {"> 120 d": scores.days > 120.0, SAME: ~scores.stale, CHANGED: scores.stale}
    if scores.silent.any():
        scarred = scores.arms[arms.IMAGE]["true_scar_ml"][0] > 0
        shown = scarred & ~scores.silent & ~scores.stale
        picks |= {SHOWN: shown, SHOWN_SOON: shown & picks["≤ 7 d"], SILENT: scores.silent}
    return {
        "patients": len(scores.days),
        "bins": {name: summarise_bin(scores.of(pick)) for name, pick in picks.items()
                 if pick.any()},
        "belief_auroc_fresh": belief_auroc(rows, "belief_fresh"),
        "belief_auroc_stale": belief_auroc(rows, "belief_stale"),
        "disagreement": disagreement(rows, scores, thresholds),
        "no_ecg_is_image_only": sum(r["no_ecg_is_image_only"] for seed in rows for r in seed),
        "no_ecg_checked": sum(len(seed) for seed in rows),
    }  # fmt: skip


def summarise_bin(scores: Scores) -> dict[str, Any]:
    """Scores of all arms on one group of patients, and their differences from image only."""
    draws = draw_patients(len(scores.days))
    true_ml = scores.arms[arms.IMAGE]["true_scar_ml"][0]
    image = _estimates(scores, arms.IMAGE, draws)
    table = {}
    for arm in scores.arms:
        ours = _estimates(scores, arm, draws)
        for key in PAIRED:
            pair = scores.arms[arm][key], scores.arms[arms.IMAGE][key]
            first, second = (np.abs(v) if key in SIGNED else v for v in pair)
            ours[f"{key}_gain"] = mean(first - second, draws)
        ours["pooled_dice_gain"] = ours["pooled_dice"] - image["pooled_dice"]
        table[arm] = {key: estimate.to_dict() for key, estimate in ours.items()}
    return {
        "patients": len(scores.days),
        "with_scar": int((true_ml > 0).sum()),
        "without_scar": int((true_ml == 0).sum()),
        "stale_ecgs": int(scores.stale.sum()),
        "arms": table,
    }


def _estimates(scores: Scores, arm: str, draws: Array) -> dict[str, Estimate]:
    table = scores.arms[arm]
    found = {key: mean(table[key], draws) for key in MEANS}
    for key, signed in SIGNED.items():
        found[key], found[signed] = mean(np.abs(table[key]), draws), mean(table[key], draws)
    volumes = table["scar_ml"] + table["true_scar_ml"]
    found["pooled_dice"] = ratio(2.0 * table["hit_ml"], volumes, draws)
    return found


def belief_auroc(rows: list[list[Row]], key: str) -> dict[str, Any]:
    """AUROC of the ECG belief for scar at MRI time: in each segment, and their mean."""
    belief = np.array([[r[key] for r in seed] for seed in rows])
    scarred = np.array([r["burden"] for r in rows[0]]) > POSITIVE_BURDEN
    draws = draw_patients(belief.shape[1], AUROC_DRAWS)
    segments = []
    for segment in range(scarred.shape[1]):
        pick = scarred[:, segment]
        values = belief[:, :, segment]
        segments.append(auroc(values[:, pick], values[:, ~pick], (draws[:, pick], draws[:, ~pick])))
    return {
        "segments": [part.to_dict() for part in segments],
        "scarred": [int(n) for n in scarred.sum(axis=0)],
        "mean": average(segments).to_dict(),
    }


def disagreement(
    rows: list[list[Row]], scores: Scores, thresholds: list[float]
) -> dict[str, dict[str, Any] | None]:
    """Measure of how well the disagreement of ECG and image tells swapped pairs from right ones."""
    right, stale, swapped = (
        np.array([[r[f"disagreement_{kind}"] for r in seed] for seed in rows])
        for kind in ("right", "stale", "swapped")
    )
    draws = draw_patients(right.shape[1])
    deployed = np.array(thresholds)[:, None]
    here = np.quantile(right, 1.0 - FALSE_FLAGS, axis=1, keepdims=True)
    burden = {arm: scores.arms[arm]["burden_error"] for arm in
              (arms.IMAGE, arms.SWAPPED, arms.UNGATED)}  # fmt: skip
    left, harm = (
        np.abs(burden[arm] - burden[arms.IMAGE]) > HARM_PERCENT
        for arm in (arms.SWAPPED, arms.UNGATED)
    )

    def share(flags: NDArray[np.bool_], among: NDArray[np.bool_] | None = None) -> Estimate:
        return mean(np.where(np.ones_like(flags) if among is None else among, flags, np.nan), draws)

    few = draws[:AUROC_DRAWS]
    found = {
        "auroc": auroc(swapped, right, (few, few)),
        "auroc_of_harmful": auroc(swapped, right, (few, few), harm),
        "caught_at_5_percent": share(swapped > here),
        "caught_of_harmful_at_5_percent": share(swapped > here, harm),
        "false_flags_as_deployed": share(right > deployed),
        "stale_flagged_as_deployed": share(stale > deployed),
        "caught_as_deployed": share(swapped > deployed),
        "caught_of_harmful_as_deployed": share(swapped > deployed, harm),
        "harmful_without_gate": share(harm),
        "harmful_with_gate": share(left),
        "harmful_with_gate_and_unflagged": share(left & (swapped <= deployed)),
    }
    return {key: estimate.to_dict() for key, estimate in found.items()}
