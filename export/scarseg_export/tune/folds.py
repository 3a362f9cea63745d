"""Patients to train on, to stop by and to test on; groups are never split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scarseg_export.patients.load import OwnPatient
from scarseg_runtime.errors import UsageError

ALL = "all"
"""The run on everybody, whose model is deployed."""


@dataclass(frozen=True, slots=True)
class Fold:
    """Row numbers of the table by part."""

    name: str
    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]


def folds_of(
    patients: Sequence[OwnPatient], count: int, validation_share: float, seed: int
) -> list[Fold]:
    """``count`` folds and the run on everybody; where the table has splits, the one that it says.

    Groups with and without scar are dealt out evenly, to all parts.

    Raises:
        UsageError: there are fewer groups than folds, only some rows have a split, or the rows to
            stop by have no scar.
    """
    if any(patient.split for patient in patients):
        return [_by_split(patients)]
    strata = _strata(patients, seed)
    groups = [group for stratum in strata for group in stratum]
    if len(groups) < max(count, 2):
        raise UsageError(
            f"the table has {len(groups)} groups for {max(count, 2)} parts",
            "Ask for fewer folds, or add patients",
        )
    found = []
    for number in range(count):
        test = groups[number::count]  # of both strata alike, since each stands in one piece
        rest = [[group for group in stratum if group not in test] for stratum in strata]
        found.append(_fold(str(number), rest, test, validation_share))
    return [*found, _fold(ALL, strata, [], validation_share)]


Group = tuple[int, ...]
"""Row numbers."""


def _strata(patients: Sequence[OwnPatient], seed: int) -> list[list[Group]]:
    """Groups with scar and groups without, each in random order."""
    rows: dict[str, list[int]] = {}
    scarred = set()
    for patient in patients:
        rows.setdefault(patient.group, []).append(patient.row)
        if patient.has_scar:
            scarred.add(patient.group)
    order = [str(name) for name in np.random.default_rng(seed).permutation(sorted(rows))]
    return [
        [tuple(rows[name]) for name in order if (name in scarred) == ill] for ill in (True, False)
    ]


def _fold(name: str, strata: Sequence[Sequence[Group]], test: list[Group], share: float) -> Fold:
    """The same share of groups with scar and of those without is for validation, and at least one
    of each where others are left: a training that stops by healthy hearts alone unlearns scar."""
    validation = [
        group
        for stratum in strata
        for group in stratum[: min(max(1, round(share * len(stratum))), len(stratum) - 1)]
    ]
    everybody = [group for stratum in strata for group in stratum]
    validation = validation or everybody[-1:]
    train = [group for group in everybody if group not in validation]
    parts = (sorted(row for group in part for row in group) for part in (train, validation, test))
    return Fold(name, *(tuple(part) for part in parts))


def _by_split(patients: Sequence[OwnPatient]) -> Fold:
    without = [patient.row for patient in patients if not patient.split]
    if without:
        raise UsageError(
            f"row {without[0]} has no split, others have one", "Fill column split, or empty it"
        )
    parts = [
        tuple(p.row for p in patients if p.split == split)
        for split in ("train", "validation", "test")
    ]
    if not parts[0] or not parts[1]:
        raise UsageError(
            "the column split has no train or no validation rows", "Training stops by the second"
        )
    scarred = {patient.row for patient in patients if patient.has_scar}
    if scarred.intersection(parts[0]) and not scarred.intersection(parts[1]):
        raise UsageError(
            "no validation row of the column split has scar",
            "Training stops by them and would unlearn scar: make some with scar validation",
        )
    return Fold(ALL, *parts)
