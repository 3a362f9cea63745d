"""Commands on tables of patients: ``data``, ``score`` and ``train --data``."""

from __future__ import annotations

import argparse

from scarseg_export.json_report import write_report
from scarseg_runtime.errors import UsageError


def check(arguments: argparse.Namespace) -> None:
    """``data check TABLE``: every problem by row. Raises UsageError where there is an error."""
    from scarseg_export.patients.check import check_rows
    from scarseg_export.patients.content import content_problems
    from scarseg_export.patients.open import open_table
    from scarseg_export.patients.reader import patient_reader
    from scarseg_export.patients.shipped import model_files

    rows, problems, classes = open_table(arguments.table, arguments.classes)
    listed = len({*(row.number for row in rows), *(problem.row for problem in problems)})
    reader = patient_reader(allow_identity_mismatch=arguments.allow_identity_mismatch)
    checked = check_rows(rows, classes, reader, whole=not problems)
    problems += checked.problems
    if not arguments.files_only and checked.patients:
        with model_files([arguments.model], reader) as (model,):
            problems += content_problems(checked.patients, model)
    problems.sort(key=lambda problem: (problem.row, not problem.fatal))
    for problem in problems:
        print(problem.line())
    patients = checked.patients
    scarred = sum(patient.has_scar for patient in patients)
    looked = sum(patient.scar for patient in patients)
    pairs = sum(patient.ecg_valid for patient in patients)
    groups = len({patient.group for patient in patients})
    unknown = f", {len(patients) - looked} in whom nobody looked" if looked < len(patients) else ""
    print(
        f"{len(patients)} of {listed} patients can be read: {scarred} with scar, "
        f"{looked - scarred} without{unknown}, {pairs} with an ECG of known age, {groups} groups"
    )
    write_report(arguments.report, {
        "rows": listed, "readable": len(patients), "with_scar": scarred,
        "scar_not_looked_for": len(patients) - looked, "with_ecg": pairs,
        "groups": groups,
        "problems": [
            {"row": p.row, "error": p.fatal, "what": p.text, "advice": p.advice} for p in problems
        ],
    })  # fmt: skip
    wrong = sorted({problem.row for problem in problems if problem.fatal})
    if wrong:
        named = ", ".join(str(row) for row in wrong[:10] if row) or "none, but the whole table"
        more = " …" if len(wrong) > 10 else ""
        raise UsageError(
            f"rows with errors: {named}{more}", "Mend them, or take the rows out of the table"
        )


def from_nnunet(arguments: argparse.Namespace) -> None:
    """``data from-nnunet FOLDER``."""
    from scarseg_export.patients.nnunet_raw import write_nnunet_table

    table, rows = write_nnunet_table(arguments.folder, arguments.out)
    print(f"{table}: {rows} rows")


def to_nnunet(arguments: argparse.Namespace) -> None:
    """``data to-nnunet TABLE``: rows that cannot be used are named and left out."""
    from scarseg_export.patients.reader import patient_reader
    from scarseg_export.patients.to_nnunet import write_data_set

    reader = patient_reader(allow_identity_mismatch=arguments.allow_identity_mismatch)
    count, left_out = write_data_set(arguments.table, arguments.out, arguments.classes, reader)
    for problem in left_out:
        print(problem.line())
    print(f"{arguments.out}: {count} cases, one a patient")


def score(arguments: argparse.Namespace) -> None:
    """``score TABLE``."""
    from scarseg_export.patients.reader import patient_reader
    from scarseg_export.score.command import score_table

    page, left_out = score_table(
        arguments.table, arguments.model, arguments.out,
        classes=arguments.classes, folds=arguments.folds,
        reader=patient_reader(allow_identity_mismatch=arguments.allow_identity_mismatch),
    )  # fmt: skip
    for problem in left_out:
        print(problem.line())
    print(page)


def train(arguments: argparse.Namespace) -> None:
    """``train --data TABLE``. Raises UsageError for options that only the twin's training has."""
    from scarseg_export.patients.reader import patient_reader
    from scarseg_export.patients.shipped import model_files
    from scarseg_export.train.workers import peak_memory_gb
    from scarseg_export.tune.run import tune
    from scarseg_export.tune.settings import load_settings

    if arguments.cine is not None or arguments.ecg is not None:
        raise UsageError("--cine and --ecg are not for --data", "Leave them out")
    settings = load_settings(
        arguments.recipe, seed=arguments.seed, folds=arguments.folds,
        twin_share=arguments.twin_share,
    )  # fmt: skip
    begun = [] if arguments.start is None else [arguments.start]
    reader = patient_reader(allow_identity_mismatch=arguments.allow_identity_mismatch)
    with model_files(begun, reader) as files:
        print(tune(
            arguments.data, arguments.out, settings, classes=arguments.classes,
            start=next(iter(files), None), device=arguments.device, reader=reader,
        ))  # fmt: skip
    peak = peak_memory_gb()
    if peak is not None:
        print(f"peak memory, all processes: at most {peak:.1f} GB")
