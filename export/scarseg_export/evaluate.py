"""Scores of an exported model on unseen patients of the digital twin.

Runs the shipped artefact itself (the ONNX file on ONNX Runtime), not the training code.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from scarseg_export.buffers import TEST, patient_seed
from scarseg_export.train_ecg import segment_auroc, segment_burden_of
from scarseg_export.twin.cohort import beats_of, is_stale, sample_case, sample_gaps
from scarseg_export.twin.image import ImageStack
from scarseg_runtime.components import clean_labels
from scarseg_runtime.contract import Label
from scarseg_runtime.preprocess import slice_levels
from scarseg_runtime.session import NetworkOutput, Session
from scarseg_runtime.taff import decide

SIZE, SPACING_MM, WANDER_MM = 176, 1.6, 30.0
SCAR_FREE_ML = 0.5
"""On a heart without scar, anything above this volume counts as a false alarm."""
FRESH_DAYS, OLD_DAYS = 7.0, 120.0


@dataclass(frozen=True, slots=True)
class CaseScore:
    """Scores of one patient in one arm; fractions 0–1, NaN where undefined."""

    gap_days: float
    has_scar: bool
    dice: float
    precision: float
    sensitivity: float
    scar_ml: float
    true_scar_ml: float
    burden_error: float
    cavity_dice: float
    wall_dice: float
    segment_accuracy: float


def evaluate(model: Path, cases: int, min_scar_ml: float | None = None) -> dict[str, Any]:
    """Scores of ``model`` by arm: image only, fused with a clinical mix of gaps, and by gap.

    Every patient is scored with the same image; only ECG and gap differ between arms.
    """
    session = Session.load(model)
    smallest = session.metadata.min_scar_ml if min_scar_ml is None else min_scar_ml
    rng = np.random.default_rng(TEST)
    gaps = sample_gaps(rng, cases)
    stale = is_stale(rng, gaps)
    image_only, fused, beliefs, truths = [], [], [], []
    for index in tqdm(range(cases), desc="evaluate", mininterval=5):
        case = sample_case(patient_seed(0, TEST, index))
        stack = case.image(SIZE, SPACING_MM, WANDER_MM)
        beat = beats_of([case], stale[index : index + 1])[0]
        output = run_case(session, stack, beat, float(gaps[index]))
        args = (stack, output.segments, float(gaps[index]), smallest)
        image_only.append(score(output.image_only_labels, *args))
        fused.append(score(output.labels, *args))
        if not stale[index]:
            beliefs.append(output.ecg_segment_belief)
            truths.append(segment_burden_of(case) > 0.1)
    auroc = segment_auroc(np.array(beliefs), np.array(truths))
    return {
        "cases": cases,
        "image_only": summarise(image_only),
        "fused": summarise(fused),
        "fused_fresh": summarise([s for s in fused if s.gap_days <= FRESH_DAYS]),
        "image_only_same_fresh": summarise([s for s in image_only if s.gap_days <= FRESH_DAYS]),
        "fused_old": summarise([s for s in fused if s.gap_days > OLD_DAYS]),
        "image_only_same_old": summarise([s for s in image_only if s.gap_days > OLD_DAYS]),
        "ecg_belief_auroc": float(np.nanmean(auroc)),
    }


def run_case(
    session: Session, stack: ImageStack, beat: NDArray[np.float32], gap_days: float
) -> NetworkOutput:
    """One rendered stack through the deployed graph."""
    return session.run(
        stack.pixels,
        (stack.spacing_mm, stack.spacing_mm),
        slice_levels(np.arange(len(stack.pixels))),
        beat,
        decide(gap_days, ecg_given=True),
    )


def score(
    labels: NDArray[np.uint8],
    stack: ImageStack,
    segments: NDArray[np.uint8],
    gap_days: float,
    min_scar_ml: float,
) -> CaseScore:
    """Compare one prediction, cleaned as the product does, with the twin's labels."""
    pitch_mm = float(stack.heights_mm[1] - stack.heights_mm[0])
    voxel_ml = stack.spacing_mm**2 * pitch_mm / 1000.0
    labels = clean_labels(labels, min_scar_ml, voxel_ml)
    predicted, truth = labels == Label.SCAR, stack.labels == Label.SCAR
    wall, true_wall = _wall(labels), _wall(stack.labels)
    both = wall & true_wall
    hit = float((predicted & truth).sum())
    return CaseScore(
        gap_days=gap_days,
        has_scar=bool(truth.sum() * voxel_ml > SCAR_FREE_ML),
        dice=_dice(predicted, truth),
        precision=hit / predicted.sum() if predicted.any() else float("nan"),
        sensitivity=hit / truth.sum() if truth.any() else float("nan"),
        scar_ml=float(predicted.sum() * voxel_ml),
        true_scar_ml=float(truth.sum() * voxel_ml),
        burden_error=float(
            predicted.sum() / max(wall.sum(), 1) - truth.sum() / max(true_wall.sum(), 1)
        ),
        cavity_dice=_dice(labels == Label.LV_CAVITY, stack.labels == Label.LV_CAVITY),
        wall_dice=_dice(wall, true_wall),
        segment_accuracy=float((segments[both] == stack.segments[both]).mean())
        if both.any()
        else float("nan"),
    )


def summarise(scores: list[CaseScore]) -> dict[str, float]:
    """Means over cases; Dice over cases with scar, with a bootstrap interval; false alarms
    over those without."""
    scar = [s for s in scores if s.has_scar]
    free = [s for s in scores if s.true_scar_ml == 0]
    dice = np.array([s.dice for s in scar])
    low, high = bootstrap_interval(dice)
    return {
        "cases_with_scar": len(scar),
        "cases_without_scar": len(free),
        "scar_dice": _mean(dice),
        "scar_dice_low95": low,
        "scar_dice_high95": high,
        "scar_precision": _mean([s.precision for s in scar]),
        "scar_sensitivity": _mean([s.sensitivity for s in scar]),
        "burden_error_abs": _mean([abs(s.burden_error) for s in scores]),
        "false_alarm_share": _mean([s.scar_ml > SCAR_FREE_ML for s in free]),
        "cavity_dice": _mean([s.cavity_dice for s in scores]),
        "myocardium_dice": _mean([s.wall_dice for s in scores]),
        "aha17_accuracy": _mean([s.segment_accuracy for s in scores]),
    }


def bootstrap_interval(values: NDArray[np.float64], draws: int = 2000) -> tuple[float, float]:
    """95 % interval of the mean over cases."""
    if values.size == 0:
        return float("nan"), float("nan")
    rng = np.random.default_rng(0)
    means = np.nanmean(values[rng.integers(0, values.size, (draws, values.size))], axis=1)
    return round(float(np.quantile(means, 0.025)), 4), round(float(np.quantile(means, 0.975)), 4)


def _wall(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return (labels == Label.VIABLE_MYOCARDIUM) | (labels == Label.SCAR)


def _dice(predicted: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    total = predicted.sum() + truth.sum()
    return float(2 * (predicted & truth).sum() / total) if total else float("nan")


def _mean(values: Any) -> float:
    array = np.asarray(values, dtype=np.float64)
    return round(float(np.nanmean(array)), 4) if array.size else float("nan")
