"""One patient of the table as arrays: image, labels and beat, as training and scoring use them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes

from scarseg_export.patients.classes import (
    BACKGROUND,
    CAVITY,
    MYOCARDIUM,
    RV,
    SCAR,
    UNLABELLED,
    Classes,
)
from scarseg_export.patients.masks import CODES, Mask, read_mask
from scarseg_export.patients.reader import PatientReader, PatientView
from scarseg_export.patients.resample import Loss, onto
from scarseg_export.patients.table import Row
from scarseg_export.train.losses import NOT_SCAR, UNKNOWN_OUTSIDE, UNLABELLED_PIXEL, WALL
from scarseg_runtime.contract import LEFT_VENTRICLE, Label
from scarseg_runtime.contract import MYOCARDIUM as MYOCARDIUM_LABELS
from scarseg_runtime.errors import StudyError
from scarseg_runtime.preprocess import slice_levels
from scarseg_runtime.slice_order import apex_comes_first

LEFT = (*LEFT_VENTRICLE, WALL)
"""Label values that are LV for certain."""


@dataclass(frozen=True, slots=True, eq=False)
class OwnPatient:
    """A labelled patient in display orientation, slices base → apex."""

    id: str
    row: int
    group: str
    split: str
    weight: float
    pixels: NDArray[np.float32]
    """[S, H, W]"""
    labels: NDArray[np.uint8]
    """[S, H, W] of :class:`Label`, and what train/losses.py has for what nobody drew."""
    spacing_mm: tuple[float, float]
    positions_mm: NDArray[np.float64]
    """[S] along the stack, growing from base to apex."""
    heights_mm: NDArray[np.float64]
    anatomy: bool
    """True where cavity and wall were drawn; ``scar`` and ``rv`` likewise."""
    scar: bool
    rv: bool
    order_known: bool
    """True where geometry or labels tell which end is the base."""
    beat_mv: NDArray[np.float32] | None
    gap_days: float | None
    ecg_valid: bool
    ecg_reason: str

    @property
    def levels(self) -> NDArray[np.float32]:
        """[S] 0 base … 1 apex."""
        return slice_levels(self.positions_mm)

    @property
    def voxel_ml(self) -> NDArray[np.float64]:
        """[S] volume of a voxel in each slice."""
        return self.spacing_mm[0] * self.spacing_mm[1] * self.heights_mm / 1000.0

    @property
    def has_scar(self) -> bool:
        """True where scar was drawn."""
        return bool((self.labels == Label.SCAR).any())


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """A patient and what was noticed while it was read."""

    patient: OwnPatient
    view: PatientView
    mask: Mask
    loss: Loss


def load_patient(row: Row, classes: Classes, reader: PatientReader) -> Loaded:
    """Read study, mask and ECG of a row.

    Raises:
        StudyError: study or mask cannot be read or do not fit each other.
        EcgError: the ECG cannot be read, is not fit to be used, or is of another patient.
    """
    if row.mask is None:
        raise StudyError("it names no mask", "Draw one, or take the row out")
    view = reader.read(row.study, row.ecg, row.gap_days, row.series)
    mask = read_mask(row.mask, classes, reader)
    codes, loss = onto(mask, view.grid)
    labels = training_labels(codes, mask.drawn, classes.choice("empty_slices"))
    return Loaded(_patient(row, view, labels, mask.drawn), view, mask, loss)


def training_labels(
    codes: NDArray[np.uint8], drawn: frozenset[str], empty_slices: str = BACKGROUND
) -> NDArray[np.uint8]:
    """Labels [S, H, W] of class codes; what nobody drew becomes unknown instead of background.

    Args:
        drawn: classes that were looked for.
        empty_slices: ``unlabelled`` where slices without anything drawn are not known to be empty.
    """
    anatomy, has_scar = MYOCARDIUM in drawn, SCAR in drawn
    nothing = NOT_SCAR if has_scar else UNLABELLED_PIXEL
    outside = (Label.BACKGROUND if RV in drawn else UNKNOWN_OUTSIDE) if anatomy else nothing
    labels = np.full(codes.shape, outside, np.uint8)
    labels[codes == CODES[RV]] = Label.RV_CAVITY
    labels[codes == CODES[MYOCARDIUM]] = Label.VIABLE_MYOCARDIUM if has_scar else WALL
    labels[codes == CODES[SCAR]] = Label.SCAR
    labels[codes == CODES[CAVITY]] = Label.LV_CAVITY
    if anatomy and CAVITY not in drawn:  # a wall drawn as a ring
        wall = np.isin(codes, (CODES[MYOCARDIUM], CODES[SCAR]))
        filled = np.stack([binary_fill_holes(ring) for ring in wall])
        labels[filled & ~wall] = Label.LV_CAVITY
    labels[codes == CODES[UNLABELLED]] = UNLABELLED_PIXEL
    if empty_slices == UNLABELLED:
        labels[~(codes > 0).any((1, 2))] = UNLABELLED_PIXEL
    return labels


def _patient(
    row: Row, view: PatientView, labels: NDArray[np.uint8], drawn: frozenset[str]
) -> OwnPatient:
    grid = view.grid
    pixels, heights, origins = grid.values, grid.heights_mm, grid.origins_mm
    anatomy = MYOCARDIUM in drawn
    order_known = grid.placed or anatomy or len(pixels) == 1
    if not grid.placed and anatomy and apex_comes_first(as_lv(labels)):
        pixels, labels = pixels[::-1], labels[::-1]
        heights, origins = heights[::-1], origins[::-1]
    normal = np.cross(grid.rows_mm, grid.columns_mm)
    along = origins @ (normal / np.linalg.norm(normal))
    positions = along if along[-1] >= along[0] else -along
    return OwnPatient(
        row.id, row.number, row.group, row.split, row.weight,
        np.ascontiguousarray(pixels, np.float32), np.ascontiguousarray(labels), grid.spacing_mm,
        positions, np.ascontiguousarray(heights),
        anatomy, SCAR in drawn, RV in drawn, order_known,
        view.beat_mv, view.gap_days, bool(view.decision.valid), view.decision.reason,
    )  # fmt: skip


def as_lv(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Labels with all that is LV for certain as myocardium, the rest as background."""
    return np.where(np.isin(labels, LEFT), Label.VIABLE_MYOCARDIUM, 0).astype(np.uint8)


def wall_of_truth(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Mask of the wall as drawn, scar included."""
    return np.isin(labels, (*MYOCARDIUM_LABELS, WALL))


def arrays_of(patient: OwnPatient) -> dict[str, Any]:
    """All fields, for a cache; the inverse is ``OwnPatient(**fields)``."""
    return {name: getattr(patient, name) for name in patient.__slots__}
