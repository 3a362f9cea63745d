"""``scarseg-export score``: from a table and models to the report."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from scarseg_export.patients.arguments import MIN_SCAR_ML
from scarseg_export.patients.check import of_groups
from scarseg_export.patients.classes import Classes
from scarseg_export.patients.load import OwnPatient, load_patient
from scarseg_export.patients.open import open_table
from scarseg_export.patients.reader import PatientReader, patient_reader
from scarseg_export.patients.shipped import SHIPPED, model_files
from scarseg_export.patients.table import Problem, Row
from scarseg_export.score.arms import Predictor, of_model, oriented
from scarseg_export.score.folds import of_run
from scarseg_export.score.report import About, write_report
from scarseg_export.score.score import score_patients
from scarseg_export.score.worst import Gallery
from scarseg_export.tune.run import RECORD
from scarseg_runtime.errors import OutputError, ScarsegError, UsageError
from scarseg_runtime.model import Model
from scarseg_runtime.model_file.read import read_model_file


def score_table(
    table: Path,
    models: Sequence[Path],
    out: Path,
    *,
    classes: Path | None = None,
    folds: Path | None = None,
    reader: PatientReader | None = None,
) -> tuple[Path, list[Problem]]:
    """Score models on the patients of a table and write the report.

    Args:
        models: files, or ``shipped``; without any, and without ``folds``, the shipped model.
        folds: run folder of a training on this table: every patient is scored by the fold that did
            not train on it, and only those patients are. Those of unfinished folds are left out.
        reader: of the patients; by default :func:`patient_reader`.

    Returns: the page, and what was wrong with rows that were left out.

    Raises:
        UsageError: the table or its TOML cannot be read, no row can be scored, or the run is of
            another table.
        ModelError, ProviderError: a model cannot be loaded.
        OutputError: the report is there already or cannot be written.
    """
    if out.exists():  # before an hour of work
        raise OutputError("the report folder is there already", "Choose another name")
    rows, problems, meaning = open_table(table, classes)
    job = Job(rows, [*problems, *of_groups(rows)], meaning, reader or patient_reader())
    # Where nothing tells which end is the base, the first model is asked, or the shipped one.
    named = list(models) or ([] if folds else [SHIPPED])
    with model_files([*named, SHIPPED], job.reader) as (*files, shipped):
        loaded = [Model.load(path) for path in files]
        predictors = [of_model(model) for model in loaded]
        described = [about(*one) for one in zip(files, loaded, strict=True)]
        first = loaded[0] if loaded else Model.load(shipped)
        patients: Iterable[OwnPatient] = job.patients()
        expected = len(rows)
        if folds is not None:
            known = list(patients)
            finished = of_run(folds, known, MIN_SCAR_ML)
            predictors.insert(0, ("folds", finished.predict))
            described.insert(0, about_run(folds))
            patients = [patient for patient in known if patient.row in finished.tested]
            expected = len(patients)
            job.problems.extend(
                Problem(row, "its fold is not finished", "Train the run to its end")
                for row in sorted(finished.waiting)
            )
        gallery = Gallery()
        upright = (oriented(first, patient) for patient in patients)
        scored = score_patients(upright, distinct(predictors), gallery, expected)
    if not scored.patients:
        why = f": {job.problems[0].line().rstrip('.')}" if job.problems else ""
        raise UsageError(f"no row of the table can be scored{why}", "Ask scarseg-export data check")
    data = meaning.about.get("training_data", "")
    left_out = len({problem.row for problem in job.problems})
    page = write_report(out, scored, About(described, data, left_out), gallery)
    return page, job.problems


@dataclass(frozen=True, slots=True)
class Job:
    """A table that is being scored, and what was found wrong with it so far."""

    rows: list[Row]
    problems: list[Problem]
    classes: Classes
    reader: PatientReader

    def patients(self) -> Iterator[OwnPatient]:
        """Those that can be read, one at a time."""
        for row in self.rows:
            try:
                yield load_patient(row, self.classes, self.reader).patient
            except ScarsegError as error:
                self.problems.append(Problem(row.number, error.what, error.advice))


def about_run(run: Path) -> dict[str, str]:
    """Statement of the report on a run's folds."""
    text = (run / RECORD).read_bytes()
    record = json.loads(text)
    words = record["data"] or "labelled patients of whom their table says nothing"
    return {
        "name": "folds", "sha256": hashlib.sha256(text).hexdigest(),
        "provider": "pytorch", "precision": "fp32",
        "training_data": f"The other folds of these patients ({words.rstrip('.')}); from "
        f"{record['start']['name']}.",
    }  # fmt: skip


def about(path: Path, model: Model) -> dict[str, str]:
    """Statement of the report on a model, by the file that was named: a variant of it may run."""
    metadata, chosen = model.metadata, model.chosen
    return {
        "name": f"{metadata.name} {metadata.version}", "sha256": read_model_file(path).sha256,
        "provider": chosen.provider.name, "precision": chosen.precision,
        "training_data": metadata.training_data,
    }  # fmt: skip


def distinct(predictors: Sequence[tuple[str, Predictor]]) -> list[tuple[str, Predictor]]:
    """The same with names that tell them apart."""
    seen: dict[str, int] = {}
    named = []
    for name, predict in predictors:
        seen[name] = seen.get(name, 0) + 1
        named.append((name if seen[name] == 1 else f"{name} ({seen[name]})", predict))
    return named
