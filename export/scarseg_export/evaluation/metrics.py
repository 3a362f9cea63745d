"""One prediction against the truth of one patient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scarseg_export.twin.image import ImageStack
from scarseg_runtime.contract import MYOCARDIUM, Label
from scarseg_runtime.quantify.components import clean_labels

SCAR_FREE_ML = 0.5
"""On a heart without scar, anything above this volume counts as a false alarm."""
NAN = float("nan")


@dataclass(frozen=True, slots=True)
class CaseScore:
    """Scores of one patient in one arm; fractions 0–1, NaN where undefined."""

    dice: float
    """Scar; defined where there is true scar."""
    precision: float
    """Defined where there is true scar and some was called."""
    sensitivity: float
    hit_ml: float
    scar_ml: float
    true_scar_ml: float
    false_alarm: float
    """1 or 0 on hearts without scar, NaN on the others."""
    burden_error: float
    """Scar share of LV mass in %, called minus true."""
    cavity_dice: float
    wall_dice: float
    segment_accuracy: float
    """Share of wall voxels, found and true, whose AHA segment is right."""


def score(
    labels: NDArray[np.uint8],
    stack: ImageStack,
    segments: NDArray[np.uint8],
    min_scar_ml: float,
) -> CaseScore:
    """Compare one prediction [S, H, W], cleaned as the product does, with the twin's labels."""
    voxel_ml = voxel_ml_of(stack)
    labels = clean_labels(labels, min_scar_ml, voxel_ml)
    called, truth = labels == Label.SCAR, stack.labels == Label.SCAR
    wall, true_wall = np.isin(labels, MYOCARDIUM), np.isin(stack.labels, MYOCARDIUM)
    both = wall & true_wall
    hit, total_called, total_true = (float(m.sum()) for m in (called & truth, called, truth))
    burden = total_called / max(float(wall.sum()), 1.0)
    true_burden = total_true / max(float(true_wall.sum()), 1.0)
    right = segments[both] == stack.segments[both]
    return CaseScore(
        dice=2 * hit / (total_called + total_true) if total_true else NAN,
        precision=hit / total_called if total_true and total_called else NAN,
        sensitivity=hit / total_true if total_true else NAN,
        hit_ml=hit * voxel_ml,
        scar_ml=total_called * voxel_ml,
        true_scar_ml=total_true * voxel_ml,
        false_alarm=NAN if total_true else float(total_called * voxel_ml > SCAR_FREE_ML),
        burden_error=100.0 * (burden - true_burden),
        cavity_dice=dice(labels == Label.LV_CAVITY, stack.labels == Label.LV_CAVITY),
        wall_dice=dice(wall, true_wall),
        segment_accuracy=float(right.mean()) if right.size else NAN,
    )


def dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Dice of two masks; NaN where both are empty."""
    total = first.sum() + second.sum()
    return float(2 * (first & second).sum() / total) if total else NAN


def voxel_ml_of(stack: ImageStack) -> float:
    """Volume of one voxel; the twin's slices are evenly spaced."""
    pitch_mm = float(stack.heights_mm[1] - stack.heights_mm[0])
    return stack.spacing_mm**2 * pitch_mm / 1000.0
