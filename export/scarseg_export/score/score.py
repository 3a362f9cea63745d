"""All arms on all patients, and what comes of it in numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from scarseg_export.patients.load import OwnPatient
from scarseg_export.score import statistics
from scarseg_export.score.arms import IMAGE, Arm, Predictor, expert_wall
from scarseg_export.score.case import SCARRED, SCORES, Case, score_case
from scarseg_export.score.worst import Gallery
from scarseg_runtime.contract import SEGMENT_COUNT

BINS = ((0.0, 7.0), (7.0, 30.0), (30.0, 120.0), (120.0, math.inf))
"""Days between ECG and MRI."""
NO_ECG = "no ECG of known age"
RULES = "rules"
LABELLED = (
    "scar_dice", "precision", "sensitivity", "cavity_dice", "wall_dice", "false_alarm",
    "endo_hd95_mm", "endo_mean_mm", "epi_hd95_mm", "epi_mean_mm", "scar_hd95_mm", "scar_mean_mm",
)  # fmt: skip
SCHEMA_VERSION = "1.1"


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Scores of every patient in every arm."""

    patients: list[dict[str, Any]]
    """Facts on each: id, row, Δt."""
    arms: list[Arm]
    cases: dict[Arm, list[Case | None]]
    """By arm, one a patient; None where the arm says nothing of it."""

    def column(self, arm: Arm, name: str) -> NDArray[np.float64]:
        """[patients] of one score."""
        return np.array(
            [math.nan if c is None else getattr(c.score, name) for c in self.cases[arm]]
        )


def bin_of(patient: OwnPatient) -> str:
    """Name of the bin of Δt."""
    if not patient.ecg_valid or patient.gap_days is None:
        return NO_ECG
    return next(bin_name(b) for b in BINS if patient.gap_days <= b[1])


def bin_name(limits: tuple[float, float]) -> str:
    """In words."""
    low, high = limits
    if not low:
        return f"Δt up to {high:g} days"
    return f"Δt above {low:g} days" if math.isinf(high) else f"Δt {low:g} to {high:g} days"


def score_patients(
    patients: Iterable[OwnPatient],
    predictors: Sequence[tuple[str, Predictor]],
    gallery: Gallery | None = None,
    expected: int | None = None,
) -> Table:
    """Score every predictor on every patient, and the rules in the expert's wall.

    Args:
        gallery: shown each patient with the first predictor's labels, for pictures.
        expected: patients at most, for the time that is left.
    """
    described: list[dict[str, Any]] = []
    cases: dict[Arm, list[Case | None]] = {}
    bar = tqdm(patients, desc="score", mininterval=5, total=expected)
    for number, patient in enumerate(bar):
        found: dict[Arm, Case] = {}
        segments = np.zeros_like(patient.labels)
        for model, predict in predictors:
            for name, prediction in predict(patient).items():
                found[Arm(model, name)] = score_case(patient, prediction)
                if len(found) == 1:
                    segments = prediction.segments
        for name, prediction in expert_wall(patient, segments):
            found[Arm(RULES, name)] = score_case(patient, prediction)
        for arm in found:
            cases.setdefault(arm, [None] * number)
        for arm, values in cases.items():
            values.append(found.get(arm))
        described.append({
            "id": patient.id, "row": patient.row, "gap_days": patient.gap_days,
            "ecg": patient.ecg_valid, "gap_bin": bin_of(patient), "scar_drawn": patient.scar,
            "anatomy_drawn": patient.anatomy,
        })  # fmt: skip
        if gallery is not None:
            gallery.look(patient, found)
    arms = sorted(cases, key=lambda arm: arm.model == RULES)  # stable: rules go last
    return Table(described, arms, cases)


def summarise(table: Table) -> dict[str, Any]:
    """All numbers of a report, as its JSON has them."""
    return {
        "schema_version": SCHEMA_VERSION,
        "patients": [_row(table, index) for index in range(len(table.patients))],
        "arms": {arm.title: _summary(table, arm, None) for arm in table.arms},
        "bins": _bins(table),
        "differences": _differences(table),
    }


def _row(table: Table, index: int) -> dict[str, Any]:
    scores = {}
    for arm in table.arms:
        case = table.cases[arm][index]
        if case is not None:
            scores[arm.title] = {k: plain(v) for k, v in asdict(case.score).items()}
    return table.patients[index] | {"scores": scores}


def plain(value: float) -> float | None:
    """A number for JSON, which knows no NaN."""
    return float(value) if math.isfinite(value) else None


def _summary(table: Table, arm: Arm, chosen: NDArray[np.bool_] | None) -> dict[str, Any]:
    """Estimates of one arm over the chosen patients."""
    chosen = np.ones(len(table.patients), bool) if chosen is None else chosen
    columns = {name: table.column(arm, name)[chosen] for name in SCORES}
    cases = [case for case, use in zip(table.cases[arm], chosen, strict=True) if use and case]
    found: dict[str, Any] = {name: statistics.mean_interval(columns[name]) for name in LABELLED}
    found["scar_dice_pooled"] = statistics.pooled_dice(
        columns["hit_ml"], columns["scar_ml"], columns["true_scar_ml"]
    )
    pairs = columns["burden_percent"], columns["true_burden_percent"]
    found["burden_percent"] = statistics.bland_altman(*pairs)
    found["scar_ml"] = statistics.bland_altman(columns["scar_ml"], columns["true_scar_ml"])
    found["segments"] = _segments(cases)
    bins = np.sum([case.reliability for case in cases], axis=0) if cases else np.zeros((3, 1))
    found["calibration"] = statistics.calibration(bins)
    return found


def _segments(cases: list[Case]) -> dict[str, Any] | None:
    """Agreement on which segments have scar, over all of all patients, and segment by segment."""
    if not cases:
        return None
    shares = np.stack([case.segments for case in cases], 1)
    known: NDArray[np.bool_] = np.asarray(np.isfinite(shares).all(0))
    if not known.any():
        return None
    called, true = shares > SCARRED

    def agreement(which: NDArray[np.bool_]) -> float | None:
        return statistics.kappa(called[which], true[which])

    of = np.broadcast_to(np.arange(known.shape[1]), known.shape)
    return {
        "kappa": agreement(known), "segments": int(known.sum()), "scarred": SCARRED,
        "by_segment": [agreement(known & (of == segment)) for segment in range(SEGMENT_COUNT)],
    }  # fmt: skip


def _bins(table: Table) -> dict[str, Any]:
    names = [*(bin_name(b) for b in BINS), NO_ECG]
    where = np.array([patient["gap_bin"] for patient in table.patients])
    return {
        name: {
            "patients": int((where == name).sum()),
            "arms": {arm.title: _summary(table, arm, where == name) for arm in table.arms},
        }
        for name in names
        if (where == name).any()
    }


def _differences(table: Table) -> list[dict[str, Any]]:
    """Scar Dice, paired by patient: each arm against the image alone of its model; other models'
    arms against the same of the first model, and the rules against its image alone."""
    if not table.arms:
        return []
    first, found = table.arms[0].model, []
    for arm in table.arms:
        name = IMAGE if arm.model == RULES else arm.name
        for other in dict.fromkeys((Arm(arm.model, IMAGE), Arm(first, name))):
            if other == arm or other not in table.cases:
                continue
            apart = statistics.paired_difference(
                table.column(other, "scar_dice"), table.column(arm, "scar_dice")
            )
            if apart is not None:
                found.append({"from": other.title, "to": arm.title, "scar_dice": apart})
    return found
