"""One prediction against what an expert drew in one patient."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from scarseg_export.evaluation.metrics import NAN, SCAR_FREE_ML, dice
from scarseg_export.patients.load import OwnPatient, wall_of_truth
from scarseg_export.score.distances import surface_distance
from scarseg_export.train.losses import UNLABELLED_PIXEL
from scarseg_runtime.atlas import segments_on
from scarseg_runtime.contract import LEFT_VENTRICLE, MYOCARDIUM, SEGMENT_COUNT, Label
from scarseg_runtime.quantify.components import clean_labels

SCARRED = 0.1
"""Share of a segment's wall from which on it counts as scarred."""
BINS = 10
"""Of probability, in the calibration."""


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """Answer of an arm on a patient, on the patient's grid."""

    labels: NDArray[np.uint8]
    """[S, H, W]"""
    segments: NDArray[np.uint8]
    """[S, H, W] AHA segment in the wall that was found."""
    scar_probability: NDArray[np.float32] | None
    min_scar_ml: float


@dataclass(frozen=True, slots=True)
class CaseScore:
    """Scores of one patient in one arm; fractions 0–1, NaN where undefined or not drawn."""

    scar_dice: float
    """Defined where scar was drawn."""
    precision: float
    sensitivity: float
    hit_ml: float
    """Volume of scar in both; for pooled Dice."""
    scar_ml: float
    true_scar_ml: float
    burden_percent: float
    """Scar, % of the wall that was found."""
    true_burden_percent: float
    """% of the wall that was drawn."""
    false_alarm: float
    """1 or 0 on hearts without scar: whether more than 0.5 mL is called. NaN on the others."""
    cavity_dice: float
    wall_dice: float
    endo_hd95_mm: float
    endo_mean_mm: float
    epi_hd95_mm: float
    epi_mean_mm: float
    scar_hd95_mm: float
    scar_mean_mm: float


SCORES = tuple(field.name for field in fields(CaseScore))


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A patient's scores in one arm, and what only means something over all patients."""

    score: CaseScore
    segments: NDArray[np.float64]
    """[2, 17] scar share of the wall of each segment, called and true; NaN where it is not seen."""
    reliability: NDArray[np.float64]
    """[3, BINS] pixels, sum of scar probability, scarred pixels in the drawn wall."""
    labels: NDArray[np.uint8]
    """[S, H, W] after the clean-up of the product."""


def score_case(patient: OwnPatient, found: Prediction) -> Case:
    """Compare a prediction, cleaned as the product cleans it, with the mask."""
    labels = clean_labels(found.labels, found.min_scar_ml, patient.voxel_ml)
    known = patient.labels != UNLABELLED_PIXEL
    labels = np.where(known, labels, Label.BACKGROUND).astype(np.uint8)
    scar, truth = labels == Label.SCAR, patient.labels == Label.SCAR
    wall, true_wall = np.isin(labels, MYOCARDIUM), wall_of_truth(patient.labels)
    lv, true_lv = np.isin(labels, LEFT_VENTRICLE), true_wall | (patient.labels == Label.LV_CAVITY)
    hit, called, real = (_ml(patient, mask) for mask in (scar & truth, scar, truth))
    wall_ml, true_wall_ml = _ml(patient, wall), _ml(patient, true_wall)
    drawn, anatomy = patient.scar, patient.anatomy
    ill = drawn and real > 0
    spacing = (float(np.mean(patient.heights_mm)), *patient.spacing_mm)
    outside = (NAN, NAN)
    endo = surface_distance(_cavity(labels), _cavity(patient.labels), spacing)
    epi = surface_distance(lv, true_lv, spacing)
    edge = surface_distance(scar, truth, spacing)
    score = CaseScore(
        2 * hit / (called + real) if ill else NAN,
        hit / called if ill and called else NAN,
        hit / real if ill else NAN,
        hit if drawn else NAN, called if drawn else NAN, real if drawn else NAN,
        100.0 * called / wall_ml if drawn and wall_ml else NAN,
        100.0 * real / true_wall_ml if drawn and anatomy and true_wall_ml else NAN,
        float(called > SCAR_FREE_ML) if drawn and not ill else NAN,
        dice(_cavity(labels), _cavity(patient.labels)) if anatomy else NAN,
        dice(wall, true_wall) if anatomy else NAN,
        *(endo if anatomy else outside), *(epi if anatomy else outside),
        *(edge if ill else outside),
    )  # fmt: skip
    return Case(
        score,
        _segments(patient, found, (scar, wall), (truth, true_wall)),
        _reliability(patient, found),
        labels,
    )


def _cavity(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.asarray(labels == Label.LV_CAVITY)


def _ml(patient: OwnPatient, mask: NDArray[np.bool_]) -> float:
    return float(mask.sum((1, 2)) @ patient.voxel_ml)


def _segments(
    patient: OwnPatient,
    found: Prediction,
    called: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    drawn: tuple[NDArray[np.bool_], NDArray[np.bool_]],
) -> NDArray[np.float64]:
    """Scar share per segment. Both walls are divided by the segments of the model: what is compared
    is where scar lies, not how a wall is cut."""
    if not (patient.scar and patient.anatomy):
        return np.full((2, SEGMENT_COUNT), NAN)
    shares = []
    for scar, wall in (called, drawn):
        segments = segments_on(wall, found.segments)
        whole = np.bincount(segments[wall], minlength=SEGMENT_COUNT + 1)[1:].astype(float)
        part = np.bincount(segments[wall & scar], minlength=SEGMENT_COUNT + 1)[1:]
        shares.append(np.divide(part, whole, out=np.full(SEGMENT_COUNT, NAN), where=whole > 0))
    return np.array(shares)


def _reliability(patient: OwnPatient, found: Prediction) -> NDArray[np.float64]:
    """Scar probability against scar, in the drawn wall."""
    if found.scar_probability is None or not (patient.scar and patient.anatomy):
        return np.zeros((3, BINS))
    wall = wall_of_truth(patient.labels)
    probability = found.scar_probability[wall].astype(np.float64)
    scarred = (patient.labels[wall] == Label.SCAR).astype(np.float64)
    at = np.clip((probability * BINS).astype(int), 0, BINS - 1)
    rows = [np.bincount(at, weights, BINS) for weights in (None, probability, scarred)]
    return np.array(rows, np.float64)
