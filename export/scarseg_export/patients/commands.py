"""What ``scarseg-export data`` does."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from scarseg_runtime.errors import OutputError, UsageError


def check(arguments: argparse.Namespace) -> None:
    """``data check TABLE``: every problem by row. Raises UsageError where there is an error."""
    from scarseg_export.patients.check import check_rows
    from scarseg_export.patients.content import content_problems
    from scarseg_export.patients.open import open_table
    from scarseg_export.patients.reader import patient_reader

    rows, problems, classes = open_table(arguments.table, arguments.classes)
    reader = patient_reader()
    checked = check_rows(rows, classes, reader)
    problems += checked.problems
    if not arguments.files_only and checked.patients:
        if arguments.model is not None:
            problems += content_problems(checked.patients, arguments.model)
        else:
            with reader.reference_model() as model:
                problems += content_problems(checked.patients, model)
    problems.sort(key=lambda problem: (problem.row, not problem.fatal))
    for problem in problems:
        print(problem.line())
    patients = checked.patients
    scarred = sum(patient.has_scar for patient in patients)
    pairs = sum(patient.ecg_valid for patient in patients)
    groups = len({patient.group for patient in patients})
    print(
        f"{len(patients)} of {len(rows)} patients can be read: {scarred} with scar, {pairs} with "
        f"an ECG of known age, {groups} groups"
    )
    write_report(arguments.report, {
        "rows": len(rows), "readable": len(patients), "with_scar": scarred, "with_ecg": pairs,
        "groups": groups,
        "problems": [
            {"row": p.row, "error": p.fatal, "what": p.text, "advice": p.advice} for p in problems
        ],
    })  # fmt: skip
    wrong = sorted({problem.row for problem in problems if problem.fatal})
    if wrong:
        listed = ", ".join(str(row) if row else "the table" for row in wrong[:10])
        more = " …" if len(wrong) > 10 else ""
        raise UsageError(
            f"rows with errors: {listed}{more}", "Mend them, or take the rows out of the table"
        )


def from_nnunet(arguments: argparse.Namespace) -> None:
    """``data from-nnunet FOLDER``."""
    from scarseg_export.patients.nnunet_raw import write_nnunet_table

    table, rows = write_nnunet_table(arguments.folder, arguments.out)
    print(f"{table}: {rows} rows")


def write_report(path: Path | None, content: dict[str, Any]) -> None:
    """Write ``--report``. Raises OutputError."""
    if path is None:
        return
    try:
        path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError("the JSON report cannot be written", "Check --report") from error
