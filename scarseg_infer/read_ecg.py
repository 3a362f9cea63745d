"""Reading an ECG from a WFDB record: a header (``.hea``) and the data files it names.

The wfdb package does the decoding, on a private copy of what was checked here. Given the
record itself it would refuse all of it for an invalid date, read ``µV`` as volts (it drops
characters beyond ASCII), and hand the path to a library that also understands URLs.

Format: header(5) of the WFDB Applications Guide, https://physionet.org/physiotools/wag/.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray

from scarseg_infer.ecg import EcgRecord
from scarseg_runtime.contract import LEADS
from scarseg_runtime.errors import EcgError

if TYPE_CHECKING:
    from wfdb import Record

MAX_HEADER_BYTES: Final = 1 << 20
MAX_DATA_BYTES: Final = 10 << 20
"""More than ten minutes of twelve leads at 500 Hz: not a resting ECG any more."""

_MV_PER_UNIT: Final = {"v": 1e3, "mv": 1.0, "uv": 1e-3, "nv": 1e-6}
_BYTES_PER_SAMPLE: Final = {
    "80": 1.0, "16": 2.0, "61": 2.0, "160": 2.0, "24": 3.0, "32": 4.0, "212": 1.5,
    "310": 4 / 3, "311": 4 / 3,
}  # fmt: skip
_EXPORT_AGAIN: Final = "Export the ECG again as a WFDB record"
_STANDARD: Final = frozenset(lead.casefold() for lead in LEADS)


@dataclass(frozen=True, slots=True)
class _Header:
    """What is checked before wfdb sees the header."""

    text: str
    """The header for wfdb: ASCII, without date, time and comments."""
    recorded: datetime | None
    date_only: bool
    warnings: tuple[str, ...]


def read_ecg(path: str | Path) -> EcgRecord:
    """Read a WFDB record.

    Args:
        path: the header (``.hea``), a data file beside it (``.dat``), or the record name, which
            is the header's path without its suffix.

    Returns:
        The record in mV, as it stands in the file. Signals that are not voltages (respiration)
        are left out.

    Raises:
        EcgError: header or data missing, damaged, in an unsupported format, outside the
            header's folder, too long, or a lead is not a voltage.
    """
    header_path = _find_header(Path(path))
    header = _check_header(_read_text(header_path))
    with tempfile.TemporaryDirectory(prefix="scarseg-") as folder:
        copy = Path(folder, "record")
        copy.with_suffix(".hea").write_text(header.text, encoding="ascii")
        record = _decode(copy, header_path.parent)
    signals_mv, names = _voltages(record)
    warnings = header.warnings
    if _is_damaged(record):
        warnings += ("The ECG samples do not match the checksums in the header.",)
    return EcgRecord(
        signals_mv=signals_mv,
        rate_hz=float(record.fs),
        lead_names=names,
        recorded=header.recorded,
        date_only=header.date_only,
        source="wfdb",
        warnings=warnings,
    )


def _find_header(path: Path) -> Path:
    stem = path.with_suffix("") if path.suffix.lower() in (".hea", ".dat") else path
    for suffix in (".hea", ".HEA"):
        header = stem.with_name(stem.name + suffix) if stem.name else stem
        if header.is_file():
            return header
    if path.suffix.lower() == ".dat" and path.is_file():
        raise EcgError(
            "the ECG's .dat file has no header (.hea) beside it",
            "Put the .hea file of the same name into the same folder",
        )
    if path.is_file():
        raise EcgError(
            "the ECG file is not a WFDB record", "Give the .hea or .dat file of a WFDB record"
        )
    raise EcgError("the ECG record does not exist", "Check the path of its .hea or .dat file")


def _read_text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_HEADER_BYTES:
            raise EcgError("the ECG header is far too large for a WFDB header", _EXPORT_AGAIN)
        content = path.read_bytes()
    except OSError as error:
        raise EcgError("the ECG header cannot be read", "Check the file's permissions") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    return text.replace("\N{MICRO SIGN}V", "uV").replace("\N{GREEK SMALL LETTER MU}V", "uV")


def _check_header(text: str) -> _Header:
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    record = lines[0].split() if lines else []
    if len(record) < 2 or not record[1].isdecimal():
        raise EcgError("the ECG header is not a WFDB header", _EXPORT_AGAIN)
    if "/" in record[0]:
        raise EcgError("the ECG is a multi-segment record", "Export one segment of it")
    count = int(record[1])
    if count == 0 or len(lines) - 1 != count:
        raise EcgError(
            f"the ECG header announces {count} signals and describes {len(lines) - 1}",
            _EXPORT_AGAIN,
        )
    warnings: tuple[str, ...] = ()
    for line in lines[1:]:
        fields = line.split()
        if re.search(r"[/\\:]", fields[0]) or fields[0].startswith("."):
            raise EcgError(
                "the ECG header names a data file outside its own folder",
                "Put header and data files into one folder and correct the header",
            )
        if len(fields) < 3 or not re.match(r"-?[0-9.]*[1-9]", fields[2]):
            warnings = ("The ECG header gives no gain for some leads; 200 per mV is assumed.",)
    recorded, date_only, doubts = _when(record[4:])
    # A length of 0 means unknown; wfdb takes it literally.
    kept = record[:3] if record[3:4] in ([], ["0"]) else record[:4]
    clean = "\n".join([" ".join(["record", *kept[1:]]), *lines[1:], ""])
    return _Header(clean.encode("ascii", "replace").decode(), recorded, date_only, warnings + doubts)


def _when(fields: list[str]) -> tuple[datetime | None, bool, tuple[str, ...]]:
    """Recording time, whether it is a date only, and warnings, from base time and date.

    A time of exactly 00:00:00 stands for no time: the format has no other way to give a date
    alone, and recorders without a clock write it.
    """
    dates = [field for field in fields if "/" in field]
    times = [field for field in fields if "/" not in field]
    if not dates:
        return None, False, ()
    try:
        day = datetime.strptime(dates[0], "%d/%m/%Y").date()
    except ValueError:
        return None, False, ("The ECG header's date is not a date: the time gap is unknown.",)
    try:
        clock = _clock(times[0]) if times else time()
    except ValueError:
        doubt = "The ECG header's time of day is not a time: only its date is used."
        return _midnight(day), True, (doubt,)
    return datetime.combine(day, clock), clock == time(), ()


def _clock(text: str) -> time:
    """[[HH:]MM:]SS[.fff]; raises ValueError."""
    parts = text.split(":")
    if not re.fullmatch(r"(\d{1,2}:){0,2}\d{1,2}(\.\d*)?", text, re.ASCII):
        raise ValueError(text)
    seconds = float(parts[-1])
    hours, minutes = ([0, 0] + [int(part) for part in parts[:-1]])[-2:]
    return time(hours, minutes, int(seconds), int(1e6 * (seconds % 1.0)))


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time())


def _decode(copy: Path, folder: Path) -> Record:
    """Digital samples of the record at ``copy``, whose data files still lie in ``folder``."""
    import wfdb

    try:
        header = wfdb.rdheader(str(copy))
        _copy_data(header, folder, copy.parent)
        # Samples as integers: checksums are over those.
        return wfdb.rdrecord(str(copy), physical=False)
    except EcgError:
        raise
    except (ValueError, LookupError, TypeError, ArithmeticError) as error:
        raise EcgError("the ECG header or data cannot be understood", _EXPORT_AGAIN) from error


def _copy_data(header: Record, source: Path, target: Path) -> None:
    """Copy the data files after checking that they can hold what the header promises."""
