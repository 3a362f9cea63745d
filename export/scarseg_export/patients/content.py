"""Masks and ECGs against the heart that a model finds in the image.

Finds what no header tells: a mask of another patient, a stack or mask upside down, an ECG of
somebody else. The model need not be good at scar for it: it has to find ventricles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, zoom
from tqdm import tqdm

from scarseg_export.evaluation.metrics import dice
from scarseg_export.patients.load import LEFT, OwnPatient, wall_of_truth
from scarseg_export.patients.table import Problem
from scarseg_runtime.contract import LEFT_VENTRICLE, MYOCARDIUM, Label
from scarseg_runtime.model import Model, NetworkOutput
from scarseg_runtime.taff import decide

Volume = NDArray[np.bool_]
TURNS: dict[str, Callable[[Volume], Volume]] = {
    "its slices in reverse order": lambda mask: mask[::-1],
    "its rows in reverse order": lambda mask: mask[:, ::-1],
    "its columns in reverse order": lambda mask: mask[:, :, ::-1],
    "its rows and columns in reverse order": lambda mask: mask[:, ::-1, ::-1],
    "its rows and columns exchanged": lambda mask: mask.transpose(0, 2, 1),
    "its slices turned by a quarter": lambda mask: np.rot90(mask, 1, (1, 2)),
    "its slices turned back by a quarter": lambda mask: np.rot90(mask, -1, (1, 2)),
}
DOUBTFUL, WRONG = 0.6, 0.35
"""Wall Dice of mask and model below which to look again, and below which the row is refused. Right
masks of 20 real and 24 simulated hearts had 0.42 to 0.96 (median 0.81), those of another patient
0.04 to 0.78 (median 0.24 simulated, 0.56 real)."""
MATCHED = 0.7
"""From which on a mask is not compared with other hearts."""
TURNED = 0.05
"""By how much more a turned mask must fit to be called flipped. Slices in reverse order cost right
masks 0.11 to 0.61; rows or columns 0.00 to 0.81, so not every mirrored mask is found."""
BETTER = 0.1
"""By how much more a mask must fit another heart to be called exchanged."""
NEAR_VOXELS = 4
"""About the found ventricle, in which scar of a scar-only mask may lie."""


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Findings of the model in a patient."""

    patient: OwnPatient
    lv: NDArray[np.bool_]
    """[S, H, W]; ``wall`` likewise."""
    wall: NDArray[np.bool_]
    disagreement: float


def content_problems(patients: list[OwnPatient], model_path: Path) -> list[Problem]:
    """Problems by row.

    Raises:
        ModelError, ProviderError: the model cannot be loaded or run.
    """
    model = Model.load(model_path)
    bar = tqdm(patients, desc="compare with a model", mininterval=5)
    found = [_look(model, patient) for patient in bar]
    problems: list[Problem] = []
    upright = []
    for one in found:
        misplaced = [*_misplaced(one)]
        if one.patient.anatomy and not misplaced:
            upright.append(one)
        problems += misplaced or [*(_of_wall if one.patient.anatomy else _of_scar_only)(one)]
        threshold = model.metadata.disagreement_threshold
        if one.patient.ecg_valid and one.disagreement > threshold:
            problems.append(
                Problem(one.patient.row, "ECG and image do not fit each other in the eyes of the "
                        "model: the ECG may be of another patient", "Check both", False)
            )  # fmt: skip
    return [*problems, *_exchanged(upright)]


def run_model(model: Model, patient: OwnPatient, *, ecg: bool = True) -> NetworkOutput:
    """Output of a model for a patient, with the ECG as the gap policy allows unless ``ecg`` is
    False."""
    valid = ecg and patient.ecg_valid and not model.metadata.image_only
    decision = decide(patient.gap_days if valid else None, ecg_given=valid)
    beat = patient.beat_mv if valid else None
    return model.run(patient.pixels, patient.spacing_mm, patient.levels, beat, decision)


def _look(model: Model, patient: OwnPatient) -> Found:
    output = run_model(model, patient)
    labels = output.image_only_labels
    return Found(
        patient, np.isin(labels, LEFT_VENTRICLE), np.isin(labels, MYOCARDIUM),
        output.ecg_image_disagreement,
    )  # fmt: skip


def _misplaced(one: Found) -> Iterator[Problem]:
    """A problem where the drawn wall fits well when it is turned, or moved onto the ventricle that
    is found."""
    patient, drawn = one.patient, wall_of_truth(one.patient.labels)
    if not patient.anatomy or not drawn.any() or not one.lv.any():
        return
    fits, (words, turned) = dice(drawn, one.wall), _best_turn(one)
    moved = _fit_elsewhere(patient, one)
    if moved > max(turned, fits + BETTER, DOUBTFUL):
        yield Problem(
            patient.row, f"the mask lies beside the heart that is found (wall Dice {fits:.2f}, "
            f"moved onto it {moved:.2f})", "Export both again with their geometry", fits < WRONG,
        )  # fmt: skip
    elif turned > max(fits + TURNED, DOUBTFUL):
        yield Problem(
            patient.row, f"the mask fits the heart that is found with {words} (wall Dice "
            f"{turned:.2f}, as it is {fits:.2f}): study or mask is flipped",
            "Export both again with their geometry",
        )  # fmt: skip


def _best_turn(one: Found) -> tuple[str, float]:
    """Way to turn the drawn wall in which it fits best, and its Dice then."""
    drawn = wall_of_truth(one.patient.labels)
    turned = {
        words: dice(mask, one.wall)
        for words, turn in TURNS.items()
        if (mask := turn(drawn)).shape == drawn.shape  # quarters need slices that are square
    }
    best = max(turned, key=lambda words: turned[words])
    return best, turned[best]


def _of_wall(one: Found) -> Iterator[Problem]:
    """A problem where the drawn wall does not lie on the one that is found."""
    row, drawn = one.patient.row, wall_of_truth(one.patient.labels)
    if not drawn.any():
        return  # said where files are read
    if not one.lv.any():
        yield Problem(
            row, "the model finds no left ventricle in the image",
            "Check that it is an LGE short-axis stack", False,
        )  # fmt: skip
        return
    fits, (words, turned) = dice(drawn, one.wall), _best_turn(one)
    if fits < DOUBTFUL:
        flipped = turned > max(fits + TURNED, WRONG)
        also = f"; with {words} {turned:.2f}" if flipped else ""
        yield Problem(
            row, f"the mask hardly lies on the heart that is found (wall Dice {fits:.2f}{also})",
            f"Check that study and mask are of one patient{', and not flipped' if flipped else ''}",
            fits < WRONG or flipped,
        )  # fmt: skip


def _of_scar_only(one: Found) -> Iterator[Problem]:
    scar = one.patient.labels == Label.SCAR
    if not scar.any() or not one.lv.any():
        return
    near = binary_dilation(one.lv, np.ones((1, 3, 3), bool), NEAR_VOXELS)
    share = float((scar & near).sum() / scar.sum())
    if share < 0.5:
        yield Problem(
            one.patient.row, f"only {100 * share:.0f} % of the scar drawn lies on the left "
            "ventricle that is found", "Check that study and mask are of one patient",
        )  # fmt: skip


def _exchanged(found: list[Found]) -> Iterator[Problem]:
    """Of masks that do not fit well, those that fit another such heart better."""
    own = {one.patient.row: dice(wall_of_truth(one.patient.labels), one.wall) for one in found}
    strange = [one for one in found if own[one.patient.row] < MATCHED]
    for one in strange:
        row = one.patient.row
        fits = {
            other.patient.row: _fit_elsewhere(one.patient, other)
            for other in strange
            if other is not one
        }
        best = max(fits, key=lambda other: fits[other], default=None)
        if best is not None and fits[best] > max(own[row] + BETTER, DOUBTFUL):
            yield Problem(
                row, f"its mask fits the heart of row {best} (wall Dice {fits[best]:.2f}) better "
                f"than its own ({own[row]:.2f}): exchanged?", "Check the masks of both rows",
            )  # fmt: skip


def _fit_elsewhere(patient: OwnPatient, other: Found) -> float:
    """Wall Dice of a patient's mask on another heart, ventricle over ventricle, at its size."""
    lv = np.isin(patient.labels, LEFT)
    if not lv.any() or not other.lv.any():
        return 0.0
    scales = [a / b for a, b in zip(patient.spacing_mm, other.patient.spacing_mm, strict=True)]
    levels = np.rint(np.linspace(0, len(lv) - 1, len(other.lv))).astype(int)
    both = np.stack([lv, wall_of_truth(patient.labels)])[:, levels].astype(np.uint8)
    ventricle, wall = zoom(both, (1, 1, *scales), order=0) > 0
    if not ventricle.any():
        return 0.0
    canvas = np.zeros(other.wall.shape, bool)
    step = [
        round(float(np.nonzero(other.lv)[axis].mean() - np.nonzero(ventricle)[axis].mean()))
        for axis in (1, 2)
    ]
    places = np.nonzero(wall)
    row, column = places[1] + step[0], places[2] + step[1]
    rows, columns = other.wall.shape[1:]
    inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    canvas[places[0][inside], row[inside], column[inside]] = True
    return dice(canvas, other.wall)
