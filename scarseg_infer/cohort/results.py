"""One table of a whole cohort, from the results that are on the disk."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from scarseg_infer.cohort.inputs import key
from scarseg_infer.cohort.journal import Outcome
from scarseg_infer.cohort.table import Row
from scarseg_infer.write.folder import NAMES
from scarseg_runtime.contract import SEGMENT_COUNT
from scarseg_runtime.errors import OutputError
from scarseg_runtime.whole import whole_file

PARQUET: Final = "results.parquet"
FAILURES: Final = "failures.csv"

_QUANTITIES: Final = (
    "myocardium_ml", "myocardium_g", "scar_ml", "scar_g", "scar_percent_of_lv_mass",
    "lv_cavity_ml",
)  # fmt: skip
_ECG: Final = ("given", "weight", "gap_days", "gap_source", "reason", "heart_rate_bpm",
               "ecg_image_disagreement")  # fmt: skip
_FLAGS: Final = ("ecg_given", "ecg_image_disagreement")
_TEXTS: Final = (
    "id", "state", "error_kind", "error", "software_version", "model_name", "model_version",
    "model_sha256", "provider", "precision", "ecg_gap_source", "ecg_reason", "image_kind",
    "distribution", "statement",
)  # fmt: skip


def write_tables(
    folder: Path, rows: Iterable[Row], outcomes: Mapping[str, Outcome], settings: str
) -> None:
    """Write ``results.parquet`` and ``failures.csv`` into OUT, each whole or not at all.

    One row a study of the table, in its order; volumes in mL, masses in g, ``segment_07_burden``
    and the like as fractions 0–1, null where there is no value. A row that this run did not reach
    is ``waiting``, unless an earlier one settled the same paths with the same settings, and its
    results are still there.

    Raises:
        OutputError: they cannot be written.
    """
    listed = [_record(folder, row, outcomes.get(row.id), key(row, settings)) for row in rows]
    try:
        _write_parquet(folder / PARQUET, listed)
        _write_failures(folder / FAILURES, listed)
    except OSError as error:
        raise OutputError(
            f"the tables cannot be written ({error.strerror})", "Check the disk of OUT"
        ) from error


def _record(folder: Path, row: Row, outcome: Outcome | None, asked: str) -> dict[str, Any]:
    waiting = {"id": row.id, "state": "waiting"}
    if outcome is None or outcome.key != asked:  # of what the id meant in another table
        return waiting
    record = {
        "id": row.id, "state": outcome.state, "error_kind": outcome.error_kind,
        "error": outcome.error, "seconds": outcome.seconds,
    }  # fmt: skip
    if outcome.state == "done":
        try:
            content = (folder / row.id / NAMES["json"]).read_bytes()
            if hashlib.sha256(content).hexdigest() != outcome.outputs.get(NAMES["json"]):
                return waiting  # of a run that was killed before it could say so, or changed since
            record |= flattened(json.loads(content))
        except (OSError, ValueError, LookupError, TypeError):
            return waiting  # deleted, or of another version
    return record


def flattened(document: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of a ``result.json`` in one row."""
    model, ecg = document["model"], document["ecg"]
    flat: dict[str, Any] = {
        "software_version": document["software"]["version"],
        "statement": document["statement"],
        **{f"model_{name}": model[name] for name in ("name", "version", "sha256")},
        "provider": model["provider"],
        "precision": model["precision"],
        "image_kind": document["input"]["image_kind"],
        "slices": document["input"]["slices"],
        **{name if name.startswith("ecg") else f"ecg_{name}": ecg[name] for name in _ECG},
        **{name: document["quantities"][name] for name in _QUANTITIES},
        **{f"image_only_{n}": document["image_only_quantities"][n] for n in _QUANTITIES},
        "distribution": document["characteristics"]["distribution"],
        "warnings": document["warnings"],
    }
    for segment in document["segments"]:
        for name in ("myocardium_ml", "scar_ml", "burden", "transmurality"):
            flat[f"segment_{segment['number']:02}_{name}"] = segment[name]
    return flat


def columns() -> list[str]:
    """The columns of ``results.parquet``, the same whatever the studies were."""
    return [
        "id", "state", "error_kind", "error", "seconds",
        *_QUANTITIES, *(f"image_only_{name}" for name in _QUANTITIES), "distribution",
        *(name if name.startswith("ecg") else f"ecg_{name}" for name in _ECG),
        *(
            f"segment_{number:02}_{name}"
            for number in range(1, SEGMENT_COUNT + 1)
            for name in ("myocardium_ml", "scar_ml", "burden", "transmurality")
        ),
        "image_kind", "slices", "warnings", "software_version", "model_name", "model_version",
        "model_sha256", "provider", "precision", "statement",
    ]  # fmt: skip


def _write_parquet(path: Path, records: list[dict[str, Any]]) -> None:
    import pyarrow
    from pyarrow import parquet

    def kind(name: str) -> Any:
        if name == "warnings":
            return pyarrow.list_(pyarrow.string())
        if name == "slices":
            return pyarrow.int32()
        if name in _FLAGS:
            return pyarrow.bool_()
        return pyarrow.string() if name in _TEXTS else pyarrow.float64()

    schema = pyarrow.schema([(name, kind(name)) for name in columns()])
    table = pyarrow.Table.from_pylist(records, schema=schema)
    with whole_file(path) as half:
        parquet.write_table(table, half)


def _write_failures(path: Path, records: list[dict[str, Any]]) -> None:
    with whole_file(path) as half, half.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "error_kind", "error"])
        for record in records:
            if record["state"] == "failed":
                writer.writerow([record["id"], record["error_kind"], record["error"]])
