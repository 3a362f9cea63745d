"""Patients to train on, to stop by and to test on; groups are never split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

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

    Groups with and without scar are dealt out evenly.

    Raises:
        UsageError: there are fewer groups than folds, or only some rows have a split.
    """
    if any(patient.split for patient in patients):
        return [_by_split(patients)]
    groups = _dealt(patients, seed)
    if len(groups) < max(count, 2):
        raise UsageError(
            f"the table has {len(groups)} groups for {max(count, 2)} parts",
            "Ask for fewer folds, or add patients",
        )
    found = []
    for number in range(count):
        test = groups[number::count]
        rest = [group for group in groups if group not in test]
        found.append(_fold(str(number), rest, test, validation_share))
    return [*found, _fold(ALL, groups, [], validation_share)]


def _dealt(patients: Sequence[OwnPatient], seed: int) -> list[tuple[int, ...]]:
    """Row numbers by group, in random order, those with scar spread evenly among the others."""
    rows: dict[str, list[int]] = {}
    scarred = set()
    for patient in patients:
        rows.setdefault(patient.group, []).append(patient.row)
        if patient.has_scar:
            scarred.add(patient.group)
    order = [str(name) for name in np.random.default_rng(seed).permutation(sorted(rows))]
    ill = [name for name in order if name in scarred]
    healthy = [name for name in order if name not in scarred]
    every = max(1, round(len(ill) / max(len(healthy), 1)))
    ill_first = [ill[k : k + every] for k in range(0, len(ill), every)]
    mixed = [
        name
        for some, one in zip_longest(ill_first, healthy)
        for name in [*(some or []), *([one] if one else [])]
    ]
    return [tuple(rows[name]) for name in mixed]


def _fold(
    name: str, groups: list[tuple[int, ...]], test: list[tuple[int, ...]], share: float
) -> Fold:
    """Every so many of the groups that are not tested on are for validation."""
    every = max(2, round(1.0 / share)) if share > 0 else len(groups) + 1
    validation = groups[every - 1 :: every] or groups[-1:]
    train = [group for group in groups if group not in validation]
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
    return Fold(ALL, *parts)
