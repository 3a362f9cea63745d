"""Scores of an exported model file itself, on the runtime that users have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from scarseg_export.evaluation.metrics import CaseScore, score
from scarseg_export.evaluation.testset import load_case
from scarseg_runtime.preprocess import slice_levels
from scarseg_runtime.session import Session
from scarseg_runtime.taff import decide

MEANS = ("dice", "precision", "sensitivity", "false_alarm", "cavity_dice", "wall_dice",
         "segment_accuracy")  # fmt: skip


def score_model(path: Path, cases: int) -> dict[str, Any]:
    """Image-only and fused scores of the first patients of the clinical test set."""
    session = Session.load(path)
    smallest = session.metadata.min_scar_ml
    image: list[CaseScore] = []
    fused: list[CaseScore] = []
    for index in tqdm(range(cases), desc="score the model file", mininterval=10):
        case = load_case("clinical", index)
        spacing = (case.stack.spacing_mm, case.stack.spacing_mm)
        levels = slice_levels(np.arange(len(case.stack.pixels)))
        decision = decide(case.gap_days, ecg_given=True)
        output = session.run(case.stack.pixels, spacing, levels, case.beat, decision)
        for labels, scores in ((output.image_only_labels, image), (output.labels, fused)):
            scores.append(score(labels, case.stack, output.segments, smallest))
    return {"cases": cases, "image_only": _means(image), "fused": _means(fused)}


def _means(scores: list[CaseScore]) -> dict[str, float]:
    values = {key: [getattr(s, key) for s in scores] for key in MEANS}
    values["burden_error"] = [abs(s.burden_error) for s in scores]
    finite = {key: [v for v in part if np.isfinite(v)] for key, part in values.items()}
    return {key: round(float(np.mean(part)), 4) for key, part in finite.items() if part}
