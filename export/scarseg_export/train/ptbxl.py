"""Records of PTB-XL, or of a part of it, as the product's runtime would hear them.

Two layouts are understood:

    the public one: ptbxl_database.csv, scp_statements.csv, records500/ or records100/
    a selection:    records.csv, scp_statements.csv, records/

Records are WFDB, format 16, one file of samples. Folds are the published ones: patients are in one
fold only, and folds 9 and 10 are never trained on.
"""

from __future__ import annotations

import ast
import csv
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scarseg_export.train.infarct_codes import Kind, infarct_codes, kind_of, target_of
from scarseg_runtime.ecg.quality import assess
from scarseg_runtime.edited_text import decoded_text
from scarseg_runtime.errors import EcgError, UsageError
from scarseg_runtime.preprocess import mean_beat

LAYOUTS = (
    ("ptbxl_database.csv", "filename_hr", "records500"),
    ("ptbxl_database.csv", "filename_lr", "records100"),
    ("records.csv", "record", "records"),
)
"""Table, its column with the record's path, and the folder of the records; first that is there."""
STATEMENTS = "scp_statements.csv"
_ADVICE = (
    "Give the folder of PTB-XL, with ptbxl_database.csv (or records.csv), scp_statements.csv and "
    "the records"
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One record of the table, not read yet."""

    path: Path
    """Of its header, without suffix."""
    ecg_id: int
    patient_id: int
    fold: int
    device: str
    codes: dict[str, float]
    """Statements with their likelihood in %, 0 where none was stated."""
    kind: Kind


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """A record that the product would listen to."""

    entry: Entry
    beat_mv: NDArray[np.float32]
    """[12, 512] mean beat."""
    target: NDArray[np.float32]
    """[17] scar burden that it teaches."""
    told: NDArray[np.bool_]
    """[17] segments of which it says anything."""

    @property
    def infarct(self) -> tuple[str, ...]:
        """Infarct codes that count."""
        return infarct_codes(self.entry.codes)


def read_entries(folder: Path) -> list[Entry]:
    """Records that teach something, in the order of the table.

    Raises:
        UsageError: the folder is no PTB-XL, its table is damaged, or a patient is in two folds.
    """
    table, column = _layout(folder)
    try:
        classes = _diagnostic_classes(folder / STATEMENTS)
        rows = list(_rows(folder / table))
        found = [_entry(folder, row, column, classes) for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError("the tables of the ECG folder cannot be read", _ADVICE) from error
    except (KeyError, ValueError, SyntaxError, TypeError, AttributeError) as error:
        raise UsageError(f"the tables of the ECG folder are damaged ({error})", _ADVICE) from error
    entries = [entry for entry in found if entry is not None]
    if not entries:
        raise UsageError("the table of the ECG folder names no usable record", _ADVICE)
    _check_folds(entries)
    return entries


def _layout(folder: Path) -> tuple[str, str]:
    """Table and its column of paths."""
    for table, column, records in LAYOUTS:
        if (folder / table).is_file() and (folder / records).is_dir():
            return table, column
    raise UsageError("the folder of ECGs is not in PTB-XL's layout", _ADVICE)


def content_digest(entries: list[Entry]) -> str:
    """SHA-256 over what the entries say and the bytes of their records."""
    digest = hashlib.sha256()
    for entry in entries:
        told = entry.ecg_id, entry.patient_id, entry.fold, entry.device, entry.kind
        digest.update(repr((*told, sorted(entry.codes.items()))).encode())
        for suffix in (".hea", ".dat"):
            digest.update(hashlib.sha256(_content(entry.path.with_suffix(suffix))).digest())
    return digest.hexdigest()


def listen(entry: Entry) -> Heard | None:
    """Mean beat of a record, made as the product makes it; None where the product would give the
    ECG no weight (bundle-branch block, pacing, exchanged electrodes, flat leads …)."""
    signals_mv, rate_hz, names = read_record(entry.path)
    try:
        beat = mean_beat(signals_mv, rate_hz, names)
    except EcgError:
        return None
    if assess(signals_mv, rate_hz, names, beat).findings:
        return None
    return Heard(entry, beat.beat_mv, *target_of(entry.codes))


def read_record(path: Path) -> tuple[NDArray[np.float64], float, list[str]]:
    """Signals [n, k] in mV, sampling rate and lead names of a record in WFDB's format 16.

    Raises:
        UsageError: it is no such record, or is cut short.
    """
    try:
        header = decoded_text(_content(path.with_suffix(".hea"))).splitlines()
        lines = [line.split() for line in header if line.strip() and not line.startswith("#")]
        count, rate_hz, length = (
            int(lines[0][1]),
            float(lines[0][2].split("/")[0]),
            int(lines[0][3]),
        )
        signals = lines[1 : 1 + count]
        if any(line[0] != f"{path.name}.dat" or line[1] != "16" for line in signals):
            raise ValueError("not of format 16 in one file")
        counts = np.frombuffer(_content(path.with_suffix(".dat")), "<i2")
        counts = counts[: length * count].reshape(length, count)
        scales = np.array([_scale(line) for line in signals])
    except (ValueError, IndexError) as error:
        raise UsageError(f"an ECG record cannot be understood ({error})", _ADVICE) from error
    return (counts - scales[:, 1]) / scales[:, 0], rate_hz, [line[8] for line in signals]


def _scale(line: list[str]) -> tuple[float, float]:
    """Counts per mV and baseline of a signal line such as ``x.dat 16 1000.0(0)/mV 16 0 …``."""
    gain, _, unit = line[2].partition("/")
    if unit not in ("mV", ""):
        raise ValueError(f"unit {unit}")
    value, _, baseline = gain.rstrip(")").partition("(")
    return float(value), float(baseline or line[4])


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError("a record of the ECG folder is missing", _ADVICE) from error


def _rows(table: Path) -> Iterator[dict[str, Any]]:
    with table.open(encoding="utf-8-sig", newline="") as opened:
        yield from csv.DictReader(opened)


def _diagnostic_classes(path: Path) -> dict[str, str]:
    """Diagnostic class of every diagnostic code; the first column has no name."""
    return {row[""]: row["diagnostic_class"] for row in _rows(path) if row["diagnostic_class"]}


def _entry(
    folder: Path, row: Mapping[str, str], column: str, classes: Mapping[str, str]
) -> Entry | None:
    """None where the codes tell nothing of scar or its absence."""
    # Published as a Python dictionary, in the selection as JSON; both are literals.
    codes = {str(code): float(value) for code, value in ast.literal_eval(row["scp_codes"]).items()}
    kind = kind_of(codes, classes)
    if kind is None:
        return None
    return Entry(
        path=folder / row[column],
        ecg_id=int(float(row["ecg_id"])),
        patient_id=int(float(row["patient_id"])),
        fold=int(float(row["strat_fold"])),
        device=row["device"].strip(),
        codes=codes,
        kind=kind,
    )


def _check_folds(entries: list[Entry]) -> None:
    fold_of: dict[int, int] = {}
    for entry in entries:
        if fold_of.setdefault(entry.patient_id, entry.fold) != entry.fold:
            raise UsageError("a patient of the ECG folder is in two folds", _ADVICE)
