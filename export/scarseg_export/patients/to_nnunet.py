"""A table of patients as a raw data set of nnU-Net v2, in the orientation that the export needs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from scarseg_export.patients.check import of_groups
from scarseg_export.patients.classes import (
    BACKGROUND,
    CAVITY,
    FILE_NAME,
    MYOCARDIUM,
    RV,
    SCAR,
    Classes,
)
from scarseg_export.patients.load import OwnPatient, load_patient
from scarseg_export.patients.nnunet_raw import CHANNEL
from scarseg_export.patients.open import open_table
from scarseg_export.patients.reader import PatientReader, patient_reader
from scarseg_export.patients.table import Problem
from scarseg_export.train.losses import UNLABELLED_PIXEL
from scarseg_runtime.contract import Label
from scarseg_runtime.errors import OutputError, ScarsegError, StudyError, UsageError
from scarseg_runtime.whole import not_written, whole_folder

ENDING = ".nii.gz"
IMAGES, MASKS = "imagesTr", "labelsTr"
LABELS = {
    BACKGROUND: Label.BACKGROUND,
    CAVITY: Label.LV_CAVITY,
    MYOCARDIUM: Label.VIABLE_MYOCARDIUM,
    SCAR: Label.SCAR,
    RV: Label.RV_CAVITY,
}
IGNORE = "ignore"


@dataclass(frozen=True, slots=True, eq=False)
class _Drawn:
    """Labels [S, H, W] of a case, its affine, and whether the RV was drawn."""

    labels: NDArray[np.uint8]
    affine: NDArray[np.float64]
    rv: bool


def write_data_set(
    table: Path, out: Path, classes: Path | None = None, reader: PatientReader | None = None
) -> tuple[int, list[Problem]]:
    """Write a raw data set: images and labels in standard short-axis display, slices base to apex.

    ``dataset.json`` and the ``classes.toml`` for ``scarseg-export nnunet`` come with it. Cases are
    called by their rows. The RV is a label only where every mask has it.

    Args:
        out: a new folder; nnU-Net asks for ``DatasetXXX_Name``.
        classes: the TOML of the masks; by default ``classes.toml`` beside the table.
        reader: of the patients; by default :func:`patient_reader`.

    Returns: how many patients were written, and what was wrong with rows that were left out.

    Raises:
        UsageError: the table or its TOML cannot be read, or no row can be used.
        OutputError: the folder is there already or cannot be written.
    """
    if out.exists():
        raise OutputError("the data set is there already", "Choose another name")
    rows, problems, meaning = open_table(table, classes)
    problems = [*problems, *of_groups(rows)]
    reader = reader or patient_reader()
    drawn: dict[str, _Drawn] = {}
    try:
        with whole_folder(out) as part:
            for folder in (IMAGES, MASKS):
                (part / folder).mkdir()
            for row in tqdm(rows, desc="write cases", mininterval=5):
                try:
                    patient = load_patient(row, meaning, reader).patient
                    drawn[f"row_{row.number:04d}"] = _write_image(part, patient)
                except ScarsegError as error:
                    problems.append(Problem(row.number, error.what, error.advice))
            if not drawn:
                why = f": {problems[0].line().rstrip('.')}" if problems else ""
                raise UsageError(
                    f"no row of the table can be used{why}", "Ask scarseg-export data check"
                )
            _write_labels(part, drawn, meaning)
    except OSError as error:
        raise not_written("the data set", error) from error
    return len(drawn), problems


def _write_image(folder: Path, patient: OwnPatient) -> _Drawn:
    """Write the image of a patient; raises StudyError where nobody drew the wall, or scar."""
    if not (patient.anatomy and patient.scar):
        raise StudyError("its mask lacks the wall or scar", "nnU-Net learns whole masks only")
    steps = np.diff(patient.positions_mm)
    pitch_mm = float(np.median(steps)) if len(steps) else float(patient.heights_mm[0])
    affine = np.diag([patient.spacing_mm[1], patient.spacing_mm[0], pitch_mm, 1.0])
    path = folder / IMAGES / f"row_{patient.row:04d}{CHANNEL}{ENDING}"
    _save(patient.pixels, affine, path)
    return _Drawn(patient.labels, affine, patient.rv)


def _write_labels(folder: Path, drawn: dict[str, _Drawn], meaning: Classes) -> None:
    """Write the masks, with the labels that all have, and both descriptions."""
    names = [name for name in LABELS if name != RV or all(one.rv for one in drawn.values())]
    unlabelled = any((one.labels == UNLABELLED_PIXEL).any() for one in drawn.values())
    values = {name: number for number, name in enumerate([*names, *([IGNORE] * unlabelled)])}
    for case, one in drawn.items():
        labels = np.zeros_like(one.labels)
        for name in names:
            labels[one.labels == LABELS[name]] = values[name]
        if unlabelled:
            labels[one.labels == UNLABELLED_PIXEL] = values[IGNORE]
        _save(labels, one.affine, folder / MASKS / f"{case}{ENDING}")
    document = {
        "channel_names": {"0": "LGE"}, "labels": values, "numTraining": len(drawn),
        "file_ending": ENDING,
    }  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    about = {"name": "my-nnunet", "version": "1", "training_data": "", "licence": ""}
    about |= {key: meaning.about[key] for key in about if key in meaning.about}
    lines = [
        "# For scarseg-export nnunet. Every report prints training_data: say there what it is.",
        *(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in about.items()),
        "",
        "[classes]",
        *(f'{name} = "{name}"' for name in names),
    ]
    (folder / FILE_NAME).write_text("\n".join([*lines, ""]), encoding="utf-8")


def _save(values: NDArray[np.generic], affine: NDArray[np.float64], path: Path) -> None:
    image = nibabel.Nifti1Image(values.transpose(2, 1, 0), affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
