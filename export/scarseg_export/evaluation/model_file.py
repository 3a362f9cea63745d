"""Scores of an exported model file itself, on the runtime that users have."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from scarseg_export.evaluation import arms
from scarseg_export.evaluation.estimates import auroc, average, draw_patients
from scarseg_export.evaluation.metrics import CaseScore, score
from scarseg_export.evaluation.summary import POSITIVE_BURDEN, Scores, summarise_bin
from scarseg_export.evaluation.testset import load_case
from scarseg_runtime.model import Model
from scarseg_runtime.preprocess import slice_levels
from scarseg_runtime.taff import decide

NAMES = {
    "dice": "scar_dice", "pooled_dice": "scar_dice_pooled", "precision": "scar_precision",
    "sensitivity": "scar_sensitivity", "false_alarm": "false_alarm_share",
    "burden_error": "burden_error_percent", "cavity_dice": "cavity_dice",
    "wall_dice": "myocardium_dice", "segment_accuracy": "aha17_accuracy",
}  # fmt: skip
FRESH_DAYS, OLD_DAYS = 7.0, 120.0


def score_model(path: Path, cases: int) -> dict[str, Any]:
    """Scores of the first patients of the clinical test set, image only and fused: of all, and
    of those with ECGs up to 7 and above 120 days old."""
    session = Model.load(path)
    smallest = session.metadata.min_scar_ml
    found: dict[str, list[CaseScore]] = {arms.IMAGE: [], arms.TAFF: []}
    days, stale, beliefs, burdens = [], [], [], []
    for index in tqdm(range(cases), desc="score the model file", mininterval=10):
        case = load_case("clinical", index)
        spacing = (case.stack.spacing_mm, case.stack.spacing_mm)
        levels = slice_levels(np.arange(len(case.stack.pixels)))
        decision = decide(case.gap_days, ecg_given=True)
        output = session.run(case.stack.pixels, spacing, levels, case.beat, decision)
        for arm, labels in ((arms.IMAGE, output.image_only_labels), (arms.TAFF, output.labels)):
            found[arm].append(score(labels, case.stack, output.segments, smallest))
        days.append(case.gap_days)
        stale.append(case.stale)
        beliefs.append(output.ecg_segment_belief)
        burdens.append(case.burden)
    table = {arm: _columns(listed) for arm, listed in found.items()}
    scores = Scores(np.array(days), np.array(stale), np.zeros(cases, bool), table)
    fresh, old = scores.days <= FRESH_DAYS, scores.days > OLD_DAYS
    return {
        "cases": cases,
        "image_only": _summary(scores, arms.IMAGE),
        "fused": _summary(scores, arms.TAFF),
        "image_only_same_fresh": _summary(scores.of(fresh), arms.IMAGE),
        "fused_fresh": _summary(scores.of(fresh), arms.TAFF),
        "image_only_same_old": _summary(scores.of(old), arms.IMAGE),
        "fused_old": _summary(scores.of(old), arms.TAFF),
        "ecg_belief_auroc": _belief_auroc(beliefs, burdens, ~scores.stale),
    }


def _columns(scores: list[CaseScore]) -> dict[str, NDArray[np.float64]]:
    rows = [asdict(s) for s in scores]
    table = {key: np.array([[row[key] for row in rows]]) for key in rows[0]}
    return table | {"volume_error_ml": table["scar_ml"] - table["true_scar_ml"]}


def _summary(scores: Scores, arm: str) -> dict[str, float | int]:
    if not scores.days.size:
        return {"cases_with_scar": 0, "cases_without_scar": 0}
    group = summarise_bin(scores)
    counts = {"cases_with_scar": group["with_scar"], "cases_without_scar": group["without_scar"]}
    values = {name: group["arms"][arm][key] for key, name in NAMES.items()}
    small = {name: round(value["mean"], 4) for name, value in values.items() if value}
    if values["scar_dice"]:
        small["scar_dice_low95"] = round(values["scar_dice"]["low"], 4)
        small["scar_dice_high95"] = round(values["scar_dice"]["high"], 4)
    return counts | small


def _belief_auroc(
    beliefs: list[NDArray[np.float32]],
    burdens: list[NDArray[np.float32]],
    fresh: NDArray[np.bool_],
) -> float | None:
    """Mean over segments, of ECGs that show the scar of the image."""
    values = np.array(beliefs, np.float64)[fresh]
    scarred = np.array(burdens)[fresh] > POSITIVE_BURDEN
    once = draw_patients(len(values), 1) if len(values) else np.ones((1, 0))
    parts = [
        auroc(values[None, pick, k], values[None, ~pick, k], (once[:, pick], once[:, ~pick]))
        for k, pick in enumerate(scarred.T)
    ]
    result = average(parts).to_dict()
    return None if result is None else round(result["mean"], 4)
