"""Arms compared on the same patients: model files, heads of a run's folds, plain rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scarseg_export.evaluation.arms import in_wall
from scarseg_export.patients.load import OwnPatient, wall_of_truth
from scarseg_export.score.case import Prediction
from scarseg_export.train.losses import WALL
from scarseg_runtime.contract import Label
from scarseg_runtime.model import Model, NetworkOutput
from scarseg_runtime.quantify import threshold_rules
from scarseg_runtime.slice_order import apex_comes_first
from scarseg_runtime.taff import decide

IMAGE, FUSED, UNTIMED, UNPLACED, ATLAS = (
    "image alone", "fused", "fused, without Δt", "fused, without atlas", "image + atlas, no ECG",
)  # fmt: skip
TRAINED_HERE = "fused, as trained here"
"""Of a run's folds: whether or not held-out pairs were better with it, so that it is used."""
EXPERT = "expert wall, "
Predictor = Callable[[OwnPatient], Mapping[str, Prediction]]
"""Predictions by the name of their arm."""


@dataclass(frozen=True, slots=True)
class Arm:
    """A column of the tables."""

    model: str
    """Name of what made it: a file's own name, a run, or the rules."""
    name: str

    @property
    def title(self) -> str:
        return f"{self.model}: {self.name}"


def of_model(model: Model) -> tuple[str, Predictor]:
    """A model: its own name, and what it says of a patient.

    Without Δt means: as if the ECG were of the day of the MRI.
    """
    metadata = model.metadata

    def predict(patient: OwnPatient) -> dict[str, Prediction]:
        alone = _prediction(model, _run(model, patient, None))
        found = {IMAGE: alone}
        if metadata.image_only:
            return found
        if patient.ecg_valid:
            found[FUSED] = _prediction(model, _run(model, patient, patient.gap_days))
            found[UNTIMED] = _prediction(model, _run(model, patient, 0.0))
        else:
            found[FUSED] = found[UNTIMED] = alone
        return found

    return f"{metadata.name} {metadata.version}", predict


def _run(model: Model, patient: OwnPatient, gap_days: float | None) -> NetworkOutput:
    valid = patient.ecg_valid and not model.metadata.image_only
    decision = decide(gap_days if valid else None, ecg_given=valid)
    beat = patient.beat_mv if valid else None
    return model.run(patient.pixels, patient.spacing_mm, patient.levels, beat, decision)


def oriented(model: Model, patient: OwnPatient) -> OwnPatient:
    """The patient base → apex where neither geometry nor mask tells, as the product decides it: by
    what the model finds in the image."""
    if patient.order_known or not apex_comes_first(_run(model, patient, None).labels):
        return patient
    return replace(
        patient,
        pixels=np.ascontiguousarray(patient.pixels[::-1]),
        labels=np.ascontiguousarray(patient.labels[::-1]),
        heights_mm=np.ascontiguousarray(patient.heights_mm[::-1]),
        positions_mm=-np.asarray(patient.positions_mm)[::-1],
        order_known=True,
    )


def _prediction(model: Model, output: NetworkOutput) -> Prediction:
    return Prediction(
        output.labels, output.segments, output.scar_probability, model.metadata.min_scar_ml
    )


def expert_wall(
    patient: OwnPatient, segments: NDArray[np.uint8]
) -> Iterator[tuple[str, Prediction]]:
    """Plain signal rules in the wall that the expert drew: how far scar is a question of the wall.

    Args:
        segments: AHA segments of a model, for the tables by segment.
    """
    wall = wall_of_truth(patient.labels)
    if not patient.anatomy or not patient.scar or not wall.any():
        return
    anatomy = np.where(patient.labels == WALL, Label.VIABLE_MYOCARDIUM, patient.labels)
    anatomy = np.where(anatomy > Label.RV_CAVITY, Label.BACKGROUND, anatomy).astype(np.uint8)
    rules = {
        "FWHM": threshold_rules.fwhm(patient.pixels, wall),
        "3 SD": threshold_rules.n_sd(patient.pixels, wall, 3),
        "5 SD": threshold_rules.n_sd(patient.pixels, wall, 5),
        "Otsu": threshold_rules.otsu(patient.pixels, wall),
    }
    for name, mask in rules.items():
        yield EXPERT + name, Prediction(in_wall(anatomy, mask), segments, None, 0.0)
