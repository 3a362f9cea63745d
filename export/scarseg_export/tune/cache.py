"""Patients as read, kept by the contents of their files: what has not changed is not read again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from scarseg_export.patients.check import check_rows
from scarseg_export.patients.classes import Classes
from scarseg_export.patients.load import OwnPatient, arrays_of
from scarseg_export.patients.masks import mask_digest
from scarseg_export.patients.reader import PatientReader
from scarseg_export.patients.table import Problem, Row
from scarseg_runtime.errors import ScarsegError, UsageError
from scarseg_runtime.whole import whole_file

FORMAT = "2"
CHECKED = "checked.json"
ARRAYS = ("pixels", "labels", "positions_mm", "heights_mm", "beat_mv")


def read_patients(
    rows: Sequence[Row], problems: list[Problem], classes: Classes, reader: PatientReader,
    folder: Path,
) -> tuple[list[OwnPatient], list[str]]:  # fmt: skip
    """All patients of a table, from ``folder`` where the very files were read and checked before.

    Writes nothing: whether the folder belongs to this table is known only with its patients.

    Returns: the patients, and of each row a digest of its files for :func:`keep_patients`.

    Raises:
        UsageError: the table has errors; the message names the first rows.
    """
    keys = [_key(row, classes, reader) for row in rows]
    if not problems and _is_kept(folder, rows, keys):
        loaded = [_load(_path(folder, key), row) for row, key in zip(rows, keys, strict=True)]
        return loaded, keys
    checked = check_rows(rows, classes, reader, whole=not problems)
    errors = [*problems, *checked.errors]
    wrong = [problem for problem in errors if problem.fatal]
    if wrong:
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise UsageError(
            f"{wrong[0].line().rstrip('.')}{more}", "scarseg-export data check explains them all"
        )
    return checked.patients, keys


def keep_patients(
    folder: Path, rows: Sequence[Row], patients: Sequence[OwnPatient], keys: Sequence[str]
) -> None:
    """Leave what was read in ``folder``, unless it is there."""
    if _is_kept(folder, rows, keys):
        return
    folder.mkdir(parents=True, exist_ok=True)
    by_row = {patient.row: patient for patient in patients}
    for row, key in zip(rows, keys, strict=True):
        if key:
            _save(_path(folder, key), by_row[row.number])
    (folder / CHECKED).write_text(json.dumps(_said(rows, keys)), encoding="utf-8")


def _said(rows: Sequence[Row], keys: Sequence[str]) -> list[Any]:
    """All that a check of the whole table depends on."""
    return [[row.number, key, row.group, row.split] for row, key in zip(rows, keys, strict=True)]


def _is_kept(folder: Path, rows: Sequence[Row], keys: Sequence[str]) -> bool:
    return _read_json(folder / CHECKED) == _said(rows, keys) and all(
        key and _path(folder, key).is_file() for key in keys
    )


def _key(row: Row, classes: Classes, reader: PatientReader) -> str:
    """Digest of all that a patient is made from; empty where a file cannot be read."""
    if row.mask is None:
        return ""
    try:
        settings = [
            FORMAT, mask_digest(row.mask), classes.settings(), row.gap_days, row.series,
            reader.allow_identity_mismatch,
        ]  # fmt: skip
        return reader.digest(row.study, row.ecg, json.dumps(settings))
    except (ScarsegError, OSError):
        return ""


def _path(folder: Path, key: str) -> Path:
    return folder / f"{key[:32]}.npz"


def _save(path: Path, patient: OwnPatient) -> None:
    values = arrays_of(patient)
    arrays = {name: values.pop(name) for name in ARRAYS}
    arrays = {name: array for name, array in arrays.items() if array is not None}
    with whole_file(path) as part, part.open("wb") as file:  # numpy would add .npz to a name
        np.savez_compressed(file, facts=np.array(json.dumps(values)), **arrays)


def _load(path: Path, row: Row) -> OwnPatient:
    """A patient by its content, with what its row says of it now."""
    with np.load(path, allow_pickle=False) as content:
        values = json.loads(str(content["facts"]))
        values["spacing_mm"] = tuple(values["spacing_mm"])
        arrays = {name: content.get(name) for name in ARRAYS}
    patient = OwnPatient(**values, **arrays)
    return replace(
        patient, id=row.id, row=row.number, group=row.group, split=row.split, weight=row.weight
    )


def _read_json(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
