"""Pictures of the patients on which the first model did worst, with both contours."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scarseg_export.patients.load import OwnPatient, wall_of_truth
from scarseg_export.score.arms import FUSED, Arm
from scarseg_export.score.case import Case
from scarseg_runtime.contract import LEFT_VENTRICLE, Label

COUNT = 4
SLICES = 3
MARGIN_MM = 15.0
DRAWN, FOUND = "#f0e442", "#56b4e9"
"""Contours of the expert and of the model; colours that colour-blind readers can tell apart."""


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """All that is needed to draw one patient."""

    id: str
    arm: str
    dice: float
    false_ml: float
    pixels: NDArray[np.float32]
    truth: NDArray[np.uint8]
    labels: NDArray[np.uint8]


@dataclass(slots=True)
class Gallery:
    """Keeps the worst patients seen so far and nothing of the others."""

    shots: list[Shot] = field(default_factory=list)

    def look(self, patient: OwnPatient, found: Mapping[Arm, Case]) -> None:
        """Take a patient in, by the fused arm of the first model where it has one."""
        if not found or not patient.scar:
            return
        arms = list(found)
        arm = next((a for a in arms if a.model == arms[0].model and a.name == FUSED), arms[0])
        case = found[arm]
        box, slices = _view(patient, case)
        ill = np.isfinite(case.score.scar_dice)
        shot = Shot(
            patient.id, arm.title, case.score.scar_dice, 0.0 if ill else case.score.scar_ml,
            patient.pixels[slices][:, *box], patient.labels[slices][:, *box],
            case.labels[slices][:, *box],
        )  # fmt: skip
        ranked = sorted([*self.shots, shot], key=_badness)
        self.shots = ranked[:COUNT]

    @property
    def arm(self) -> str:
        """Title of the arm that is shown; empty where nobody was seen."""
        return self.shots[0].arm if self.shots else ""

    def pictures(self) -> list[tuple[str, str]]:
        """Caption and PNG as a data URI of each."""
        return [(_caption(shot), data_uri(_drawn(shot))) for shot in self.shots]


def _badness(shot: Shot) -> float:
    """Lowest first: scar Dice; scar-free hearts by how much is called, 5 mL as bad as Dice 0."""
    return shot.dice if np.isfinite(shot.dice) else 1.0 - shot.false_ml / 5.0


def _caption(shot: Shot) -> str:
    if np.isfinite(shot.dice):
        return f"{shot.id}: scar Dice {shot.dice:.2f}"
    return f"{shot.id}: no scar drawn, {shot.false_ml:.1f} mL called"


def _view(patient: OwnPatient, case: Case) -> tuple[tuple[slice, slice], NDArray[np.intp]]:
    """Window about the heart, and the slices where both disagree most."""
    lv = np.isin(case.labels, LEFT_VENTRICLE) | wall_of_truth(patient.labels)
    lv |= patient.labels == Label.SCAR
    if not lv.any():
        lv = np.ones_like(lv)
    places = np.nonzero(lv.any(0))
    box = []
    for axis, size, step in zip(places, lv.shape[1:], patient.spacing_mm, strict=True):
        margin = int(MARGIN_MM / step)
        box.append(slice(max(0, int(axis.min()) - margin), min(size, int(axis.max()) + margin)))
    apart = ((case.labels == Label.SCAR) != (patient.labels == Label.SCAR)).sum((1, 2))
    return (box[0], box[1]), np.sort(np.argsort(-apart, kind="stable")[:SLICES])


def _drawn(shot: Shot) -> Any:
    from matplotlib.figure import Figure

    count = len(shot.pixels)
    figure = Figure(figsize=(2.6 * count, 2.7), layout="constrained")
    low, high = np.percentile(shot.pixels, (1, 99.5))
    for index in range(count):
        axes = figure.add_subplot(1, count, index + 1)
        axes.imshow(shot.pixels[index], cmap="gray", vmin=low, vmax=max(high, low + 1e-6))
        for labels, colour in ((shot.truth[index], DRAWN), (shot.labels[index], FOUND)):
            for mask, width in (
                (np.isin(labels, LEFT_VENTRICLE), 0.9), (labels == Label.LV_CAVITY, 0.9),
                (labels == Label.SCAR, 1.8),
            ):  # fmt: skip
                if mask.any() and not mask.all():
                    axes.contour(mask, [0.5], colors=[colour], linewidths=width)
        axes.set_axis_off()
    return figure


def data_uri(figure: Any) -> str:
    """A figure as a PNG in a data URI."""
    buffer = io.BytesIO()
    figure.savefig(
        buffer, format="png", dpi=110, bbox_inches="tight", pad_inches=0.05,
        metadata={"Software": None},
    )  # fmt: skip
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
