"""Reading an ECG from a WFDB record: a header (``.hea``) and the data files it names.

The commonest kind is decoded here (plain.py), every other by the wfdb package, on a private
copy of what was checked here. Given the record itself it would refuse all of it for an invalid
date, read ``µV`` as volts (it drops characters beyond ASCII), and hand the path to a library that
also understands URLs.

Format: header(5) of the WFDB Applications Guide, https://physionet.org/physiotools/wag/.
"""

from __future__ import annotations

import os
import re
import stat
import tempfile
from dataclasses import dataclass
from datetime import datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from scarseg_infer.ecg.date import FIRST_REAL_YEAR, comment_date
from scarseg_infer.ecg.record import MAX_ECG_BYTES, MV_PER_UNIT, EcgRecord, check_timing, checked
from scarseg_infer.ecg.wfdb.plain import PlainRecord, plain_header, with_samples
from scarseg_infer.host.quiet import quiet_readers
from scarseg_runtime.contract import LEADS
from scarseg_runtime.errors import EcgError

if TYPE_CHECKING:
    from wfdb import Record

MAX_HEADER_BYTES: Final = 1 << 20
MAX_SIGNALS: Final = 64

_BYTES_PER_SAMPLE: Final = {
    "80": 1.0, "16": 2.0, "61": 2.0, "160": 2.0, "24": 3.0, "32": 4.0, "212": 1.5,
    "310": 4 / 3, "311": 4 / 3,
}  # fmt: skip
_EXPORT_AGAIN: Final = "Export the ECG again as a WFDB record"
_OUTSIDE: Final = (
    "the ECG header names a data file outside its own folder",
    "Put header and data files into one folder and correct the header",
)
_TOO_LONG: Final = (
    f"the ECG record holds more than {MAX_ECG_BYTES >> 20} MB of samples",
    "Give a resting ECG: cut 10 s to some minutes out of a long recording",
)
_LONG_NUMBER: Final = re.compile("[0-9]{25}")
"""No number of a header has as many digits, and wfdb's patterns try each way to part them."""
_STANDARD: Final = frozenset(lead.casefold() for lead in LEADS)


@dataclass(frozen=True, slots=True)
class _Header:
    """What is checked before wfdb sees the header."""

    text: str
    """The header for wfdb: ASCII, without date, time and comments; data files are ``data1`` …"""
    files: tuple[str, ...]
    """The real names of those data files, all in the header's folder."""
    recorded: datetime | None
    date_only: bool
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Read:
    """What the samples are."""

    signals_mv: NDArray[np.float64]
    names: tuple[str, ...]
    rate_hz: float
    damaged: bool
    """They disagree with the header's checksums."""


def read_wfdb(path: str | Path) -> EcgRecord:
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
        read = _read(copy, [header_path.parent / name for name in header.files])
    warnings = header.warnings
    if read.damaged:
        warnings += ("The ECG samples do not match the checksums in the header.",)
    found = EcgRecord(
        signals_mv=read.signals_mv,
        rate_hz=read.rate_hz,
        lead_names=read.names,
        recorded=header.recorded,
        date_only=header.date_only,
        source="wfdb",
        warnings=warnings,
    )
    return checked(found)


def _find_header(path: Path) -> Path:
    stem = path.with_suffix("") if path.suffix.lower() in (".hea", ".dat") else path
    for suffix in (".hea", ".HEA"):
        header = stem.with_name(stem.name + suffix) if stem.name else stem
        if _is_file(header):
            return header
    if stem.name and _is_file(stem.with_name(stem.name + ".dat")):
        raise EcgError(
            "the ECG's .dat file has no header (.hea) beside it",
            "Put the .hea file of the same name into the same folder",
        )
    if _is_file(path):
        raise EcgError(
            "the ECG file is not a WFDB record, nor in another format that can be read",
            "Give WFDB (.hea or .dat), DICOM, Philips or GE MUSE XML, HL7 aECG, SCP-ECG or EDF",
        )
    if _is_folder(path):
        raise EcgError("the ECG is a folder", "Give the file in it; of a WFDB record the .hea file")
    raise EcgError("the ECG does not exist", "Check its path; a WFDB record needs its .hea file")


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name becomes too long by its suffix
        return False


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_HEADER_BYTES + 1)
    except OSError as error:
        raise EcgError("the ECG header cannot be read", "Check the file's permissions") from error
    if len(content) > MAX_HEADER_BYTES:
        raise EcgError("the ECG header is far too large for a WFDB header", _EXPORT_AGAIN)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    return text.replace("\N{MICRO SIGN}V", "uV").replace("\N{GREEK SMALL LETTER MU}V", "uV")


def _check_header(text: str) -> _Header:
    written = [line.strip() for line in text.splitlines()]
    lines = [line for line in written if line and not line.startswith("#")]
    record = lines[0].split() if lines else []
    if len(record) < 2 or not re.fullmatch("[0-9]{1,6}", record[1]):
        raise EcgError("the ECG header is not a WFDB header", _EXPORT_AGAIN)
    if "/" in record[0]:
        raise EcgError("the ECG is a multi-segment record", "Export one segment of it")
    if not re.fullmatch(r"[0-9]+(\.[0-9]*)?(/\S*)?( [0-9]+)?", " ".join(record[2:4])):
        raise EcgError("the ECG header gives no sampling rate or length", _EXPORT_AGAIN)
    if any(_LONG_NUMBER.search(line) for line in lines):
        raise EcgError("the ECG header holds impossible numbers", _EXPORT_AGAIN)
    count = int(record[1])
    if len(lines) - 1 != count or not 1 <= count <= MAX_SIGNALS:
        raise EcgError(
            f"the ECG header announces {count} signals and describes {len(lines) - 1}",
            _EXPORT_AGAIN,
        )
    warnings: tuple[str, ...] = ()
    files: list[str] = []
    for index, line in enumerate(lines[1:], start=1):
        fields = line.split()
        if re.search(r"[/\\:\0]", fields[0]) or fields[0].startswith("."):
            raise EcgError(*_OUTSIDE)
        if len(fields) < 3 or not re.match(r"-?[0-9.]*[1-9]", fields[2]):
            warnings = ("The ECG header gives no gain for some leads; 200 per mV is assumed.",)
        if fields[0] not in files:
            files.append(fields[0])
        lines[index] = " ".join([f"data{1 + files.index(fields[0])}", *fields[1:]])
    recorded, date_only, doubts = _when(record[4:], written)
    # A length of 0 means unknown; wfdb takes it literally.
    kept = record[:3] if record[3:4] in ([], ["0"]) else record[:4]
    clean = "\n".join([" ".join(["record", *kept[1:]]), *lines[1:], ""])
    clean = clean.encode("ascii", "replace").decode()
    return _Header(clean, tuple(files), recorded, date_only, warnings + doubts)


def _when(fields: list[str], lines: list[str]) -> tuple[datetime | None, bool, tuple[str, ...]]:
    """Recording time, whether it is a date only, and warnings.

    From the base time and base date of the record line; without a base date, from a comment.
    A time of exactly 00:00:00 stands for no time: the format has no other way to give a date
    alone, and recorders without a clock write it.
    """
    dates = [field for field in fields if "/" in field]
    times = [field for field in fields if "/" not in field]
    if not dates:
        return comment_date(lines)
    try:
        day = datetime.strptime(dates[0], "%d/%m/%Y").date()
        if day.year < FIRST_REAL_YEAR:
            raise ValueError(day)
    except ValueError:
        return None, False, ("The ECG header's date is not a date: the time gap is unknown.",)
    try:
        clock = _clock(times[0]) if times else time()
    except ValueError:
        doubt = "The ECG header's time of day is not a time: only its date is used."
        return datetime.combine(day, time()), True, (doubt,)
    return datetime.combine(day, clock), clock == time(), ()


def _clock(text: str) -> time:
    """[[HH:]MM:]SS[.fff]; raises ValueError."""
    parts = text.split(":")
    if not re.fullmatch(r"(\d{1,2}:){0,2}\d{1,2}(\.\d*)?", text, re.ASCII):
        raise ValueError(text)
    seconds = float(parts[-1])
    hours, minutes = ([0, 0] + [int(part) for part in parts[:-1]])[-2:]
    return time(hours, minutes, int(seconds), int(1e6 * (seconds % 1.0)))


def _read(copy: Path, files: list[Path]) -> _Read:
    """Read the record whose header is ``copy`` after copying its data ``files`` beside it."""
    try:
        # Damaged scales overflow, and numpy and wfdb warn of what they dislike with a path of ours;
        # what is not finite is refused later.
        with quiet_readers(), np.errstate(all="ignore"):
            record = _decode(copy, files)
            signals_mv, names = _voltages(record)
            return _Read(signals_mv, names, float(record.fs), _is_damaged(record))
    except EcgError:
        raise
    except OSError as error:
        raise EcgError(
            "the ECG cannot be copied into the folder for temporary files",
            "Check its space and permissions",
        ) from error
    except (ValueError, LookupError, TypeError, ArithmeticError, MemoryError) as error:
        raise EcgError("the ECG header or its data cannot be understood", _EXPORT_AGAIN) from error


def _decode(copy: Path, files: list[Path]) -> Record | PlainRecord:
    """The samples stay integers, over which the header's checksums are taken."""
    plain = plain_header(copy.with_suffix(".hea").read_text(encoding="ascii"))
    if plain is not None:
        _copy_data(plain, files, copy.parent)
        return with_samples(plain, copy.parent / "data1")
    import wfdb

    _copy_data(wfdb.rdheader(str(copy)), files, copy.parent)
    return wfdb.rdrecord(str(copy), physical=False)


def _check_layout(header: Record | PlainRecord) -> None:
    """What decides how much wfdb reads and allocates."""
    if not header.fs > 0.0:
        raise EcgError("the ECG header gives no sampling rate", _EXPORT_AGAIN)
    unknown = sorted(set(header.fmt) - _BYTES_PER_SAMPLE.keys())
    if unknown:
        raise EcgError(
            f"the ECG's storage format {unknown[0]} is not supported",
            "Convert the record to format 16, for example with WFDB's xform",
        )
    check_timing(header.sig_len or 1, header.fs)
    if any(count < 1 for count in header.samps_per_frame):
        raise EcgError("the ECG header gives a lead no samples", _EXPORT_AGAIN)
    if any(abs(skew or 0) > header.fs for skew in header.skew):  # wfdb would pad by as much
        raise EcgError("the ECG header shifts leads by more than a second", _EXPORT_AGAIN)


def _copy_data(header: Record | PlainRecord, files: list[Path], target: Path) -> None:
    """Copy the data files after checking that they hold what the header promises."""
    _check_layout(header)
    total = 0
    for number, file in enumerate(files, start=1):
        where = f"data file {number} of {len(files)} of the ECG record"
        signals = [i for i, name in enumerate(header.file_name) if name == f"data{number}"]
        frame = sum(header.samps_per_frame[i] * _BYTES_PER_SAMPLE[header.fmt[i]] for i in signals)
        if frame * max((header.skew[i] or 0) for i in signals) > MAX_ECG_BYTES:
            raise EcgError(*_TOO_LONG)
        needed = int(frame * (header.sig_len or 1)) + (header.byte_offset[signals[0]] or 0)
        content = _content(file, where, needed, MAX_ECG_BYTES - total)
        total += len(content)
        (target / f"data{number}").write_bytes(content)


def _content(file: Path, where: str, needed: int, limit: int) -> bytes:
    """A data file of at least ``needed`` bytes, in the header's folder even behind a link."""
    try:
        real = Path(os.path.realpath(file))
        if not real.is_relative_to(os.path.realpath(file.parent)):
            raise EcgError(
                f"{where} is a link to a file outside of its folder", "Copy the file itself there"
            )
        found = real.stat()
        if not stat.S_ISREG(found.st_mode):
            raise EcgError(f"{where} is no ordinary file", "Copy or export it again")
        if found.st_size < needed:
            raise EcgError(
                f"{where} is cut short: {found.st_size} of {needed} bytes",
                "Copy or export it again",
            )
        with real.open("rb") as opened:
            content = opened.read(limit + 1)
    except FileNotFoundError as error:
        raise EcgError(f"{where} is missing", "Put it into the header's folder") from error
    except OSError as error:
        raise EcgError(f"{where} cannot be read", "Check the file's permissions") from error
    if len(content) > limit:
        raise EcgError(*_TOO_LONG)
    return content


def _voltages(record: Record | PlainRecord) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Signals in mV [n, k] and their names, without those that are not voltages."""
    names = [(name or "").strip() for name in record.sig_name]
    scale = [MV_PER_UNIT.get((unit or "mV").casefold()) for unit in record.units]
    for name, factor in zip(names, scale, strict=True):
        if factor is None and name.casefold() in _STANDARD:
            raise EcgError(f"lead {name} of the ECG is not in volts", _EXPORT_AGAIN)
    kept = [i for i, factor in enumerate(scale) if factor is not None]
    factors = np.array([scale[i] for i in kept], dtype=np.float64)
    signals = np.asarray(record.dac(), dtype=np.float64)[:, kept] * factors
    return signals, tuple(names[i] for i in kept)


def _is_damaged(record: Record | PlainRecord) -> bool:
    """Do samples and the header's checksums (16 bits a signal, optional) disagree?"""
    if any(count != 1 for count in record.samps_per_frame):
        return False  # read as averages, over which there is no checksum
    return any(
        stated is not None and (stated - found) % 65536 != 0
        for stated, found in zip(record.checksum, record.calc_checksum(), strict=True)
    )
