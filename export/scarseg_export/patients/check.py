"""Every problem of a table by row, before anything is computed from it.

First what files and geometry tell, row by row and between rows; then, with a model, whether each
mask lies on the heart that is there (content.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from scarseg_export.patients.classes import (
    BACKGROUND,
    CAVITY,
    CLASSES,
    MYOCARDIUM,
    SCAR,
    UNLABELLED,
    Classes,
)
from scarseg_export.patients.load import Loaded, OwnPatient, as_lv, load_patient
from scarseg_export.patients.masks import CODES, Mask
from scarseg_export.patients.reader import PatientReader
from scarseg_export.patients.table import Problem, Row
from scarseg_runtime.errors import ScarsegError
from scarseg_runtime.slice_order import apex_comes_first

LOST_OUTSIDE = 0.05
"""Share of a mask outside of its study from which on it is another study's."""
GAP_DAYS = 1.0
"""By which a given gap may differ from the dates of the files (rounding to whole days)."""


@dataclass(frozen=True, slots=True, eq=False)
class Checked:
    """A table that was read: usable patients, and all that was noticed."""

    patients: list[OwnPatient]
    problems: list[Problem]

    @property
    def errors(self) -> list[Problem]:
        """Problems that keep the table from being used."""
        return [problem for problem in self.problems if problem.fatal]


def check_rows(
    rows: Iterable[Row],
    classes: Classes,
    reader: PatientReader,
    *,
    whole: bool = True,
) -> Checked:
    """Read every row and compare all with all.

    Args:
        whole: these are all rows of the table; none was left out because it makes no sense.
    """
    seen = _Seen()
    patients: list[OwnPatient] = []
    problems: list[Problem] = []
    rows = list(rows)
    for row in tqdm(rows, desc="read patients", mininterval=5):
        try:
            loaded = load_patient(row, classes, reader)
        except ScarsegError as error:
            problems.append(Problem(row.number, error.what, error.advice))
            continue
        allowed = reader.allow_identity_mismatch
        problems += [*of_row(row, loaded, classes, allowed), *seen.compare(row, loaded)]
        patients.append(loaded.patient)
    problems += [*of_groups(rows), *of_splits(rows)]
    whole = whole and len(patients) == len(rows) > 0  # else the scar may stand in what failed
    if whole and not any(patient.has_scar for patient in patients):
        problems.append(
            Problem(0, "no mask holds scar", "Check the TOML of classes, and the masks themselves")
        )
    return Checked(patients, sorted(problems, key=lambda problem: problem.row))


def of_row(
    row: Row, loaded: Loaded, classes: Classes, allow_identity_mismatch: bool = False
) -> Iterator[Problem]:
    """Problems of one row by itself."""
    yield from _of_origin(row.number, loaded, allow_identity_mismatch)
    yield from _of_mask(row.number, loaded)
    if SCAR in classes.named and SCAR not in loaded.mask.drawn:
        yield Problem(
            row.number, "no segment or file of the mask is scar: taken as if nobody had looked for "
            "it", 'Set missing_segments = "background" in the TOML if it means that there is none',
            False,
        )  # fmt: skip
    gap = list(_of_gap(row, loaded))
    yield from gap
    if (
        not gap
    ):  # What the product would say of study and ECG: electrodes exchanged, a missing slice.
        for warning in loaded.view.warnings:
            yield Problem(row.number, warning.rstrip("."), "", False)


def _of_mask(number: int, loaded: Loaded) -> Iterator[Problem]:
    patient, mask, loss = loaded.patient, loaded.mask, loaded.loss
    empty = _of_what_is_drawn(number, mask)
    if empty is not None:
        yield empty
        return
    if loss.resampled:
        fatal = loss.outside > LOST_OUTSIDE
        yield Problem(
            number,
            f"the mask lies on another grid than the study and is resampled ({loss.words()})",
            "Check that it was drawn on this study" if fatal else "", fatal,
        )  # fmt: skip
    slices = len(patient.pixels)
    if loss.slices < slices and not mask.sparse:
        yield Problem(
            number, f"the mask covers {loss.slices} of {slices} slices", "The others count as "
            'empty; set empty_slices = "unlabelled" in the TOML if they are not known to be', False,
        )  # fmt: skip
    if not patient.order_known:
        yield Problem(
            number, "neither geometry nor mask tells which end of the stack is the base",
            "The image decides when it is scored; AHA segments may be wrong", False,
        )  # fmt: skip
    elif loaded.view.grid.placed and patient.anatomy and apex_comes_first(as_lv(patient.labels)):
        yield Problem(
            number, "by its geometry the stack runs from base to apex, by its mask from apex to "
            "base: it is flipped", "Export study and mask again with their geometry",
        )  # fmt: skip


def _of_what_is_drawn(number: int, mask: Mask) -> Problem | None:
    """A problem where nothing is drawn, or not all of the left ventricle that the TOML names."""
    there = {name for name in CLASSES if (mask.grid.values == CODES[name]).any()}
    if not there - {BACKGROUND, UNLABELLED}:
        if there == {UNLABELLED}:
            return Problem(number, "the mask is unlabelled throughout", "Take the row out")
        if mask.drawn & {CAVITY, MYOCARDIUM}:
            return Problem(number, "the mask is empty", "Pass the one that was drawn")
        return Problem(number, "the mask is empty: taken for a heart without scar", "", False)
    for name in (CAVITY, MYOCARDIUM):
        if name in mask.drawn and name not in there:
            return Problem(
                number, f"the mask holds no {name}", "Draw it; a mask of less than others needs a "
                "table and a TOML of its own",
            )  # fmt: skip
    return None


def _of_origin(number: int, loaded: Loaded, allowed: bool) -> Iterator[Problem]:
    """Contradictions between study and mask on patient and study, where both tell."""
    view, mask = loaded.view, loaded.mask
    if None not in (view.patient_key, mask.patient_key) and view.patient_key != mask.patient_key:
        yield Problem(
            number, "study and mask carry different patient identifiers",
            "It was allowed" if allowed else
            "Exchange the mask; if both are of this patient, pass --allow-identity-mismatch",
            not allowed,
        )  # fmt: skip
        if not allowed:
            return
    known = mask.instance_uids and view.instance_uids
    if known and mask.instance_uids.isdisjoint(view.instance_uids):
        other = mask.study_uid != view.study_uid
        what = "another study" if other else "another series of this study"
        yield Problem(
            number, f"the mask was drawn on images of {what}",
            "Exchange the mask" if other else "Name the series in column series", other,
        )  # fmt: skip


def _of_gap(row: Row, loaded: Loaded) -> Iterator[Problem]:
    view = loaded.view
    if row.ecg is None:
        return
    days = view.gap_days
    from_files = view.gap_source in ("dates", "timestamps")
    if from_files and row.gap_days is not None and abs((days or 0.0) - row.gap_days) > GAP_DAYS:
        yield Problem(
            row.number, f"gap_days is {row.gap_days:g}, but by their dates ECG and MRI lie "
            f"{days:.0f} days apart: one of them is of another patient or visit",
            "Correct gap_days, or the file",
        )  # fmt: skip


class _Seen:
    """Contents of the rows so far, by digests: what two rows share."""

    def __init__(self) -> None:
        self._first: dict[tuple[str, Any], Row] = {}

    def compare(self, row: Row, loaded: Loaded) -> Iterator[Problem]:
        """Problems between this row and those before it."""
        patient, view = loaded.patient, loaded.view
        for what, values in (("image", patient.pixels), ("ECG", patient.beat_mv)):
            if values is None:
                continue
            key = hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()
            first = self._first.setdefault((what, key), row)
            if first is not row:
                yield Problem(
                    row.number, f"it has the very {what} of row {first.number}",
                    "Each row needs its own",
                )  # fmt: skip
        if view.patient_key is None:
            return
        first = self._first.setdefault(("patient", view.patient_key), row)
        if first is not row and (first.group, first.split) != (row.group, row.split):
            yield Problem(
                row.number, f"it is the same patient as row {first.number}, in another group or "
                "split", "Give both one group: a patient must not be trained on and tested on",
            )  # fmt: skip


def of_groups(rows: Iterable[Row]) -> Iterator[Problem]:
    """Groups whose rows have different splits."""
    first: dict[str, Row] = {}
    for row in rows:
        other = first.setdefault(row.group, row)
        if other.split != row.split:
            yield Problem(
                row.number, f"its group has another split in row {other.number}",
                "All rows of a group belong to one",
            )  # fmt: skip


def of_splits(rows: Iterable[Row]) -> Iterator[Problem]:
    """Rows without a split in a table of which others have one."""
    rows = list(rows)
    if any(row.split for row in rows):
        for row in rows:
            if not row.split:
                yield Problem(
                    row.number, "it has no split, others have one",
                    "Fill column split in all rows, or in none",
                )  # fmt: skip
