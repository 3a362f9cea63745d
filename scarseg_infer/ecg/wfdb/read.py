"""Reading an ECG from a WFDB record: a header (``.hea``) and the data files it names.

Here the header is found and checked and the files are read; plain.py decodes them. The wfdb package
is asked for one thing only, data files that are compressed as FLAC (package.py).

Format: header(5) of the WFDB Applications Guide, https://physionet.org/physiotools/wag/.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scarseg_infer.ecg.record import MAX_ECG_BYTES, MV_PER_UNIT, EcgRecord, check_timing, checked
from scarseg_infer.ecg.wfdb.formats import BITS, FLAC, bytes_of
from scarseg_infer.ecg.wfdb.package import unpacked_by_wfdb
from scarseg_infer.ecg.wfdb.plain import (
    Layout,
    Signal,
    frames_in,
    is_damaged,
    parse_header,
    physical,
    stored_samples,
)
from scarseg_infer.ecg.wfdb.when import recorded_at
from scarseg_infer.host.quiet import quiet_readers
from scarseg_runtime.contract import LEADS
from scarseg_runtime.edited_text import decoded_text
from scarseg_runtime.errors import EcgError

MAX_HEADER_BYTES: Final = 1 << 20
MAX_SIGNALS: Final = 64

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
"""No number of a header has as many digits, and Python takes long over thousands of them."""
_SLASH: Final = re.compile(r"[/\\]")
_STANDARD: Final = frozenset(lead.casefold() for lead in LEADS)


@dataclass(frozen=True, slots=True)
class _Header:
    """Bounds of a header, checked before it is taken apart."""

    text: str
    """The header in ASCII, without date, time and comments; data files are ``data1`` …"""
    files: tuple[str, ...]
    """The real names of those data files, all in the header's folder."""
    recorded: datetime | None
    date_only: bool
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Read:
    """Samples as they were read."""

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
    folder = header_path.parent
    read = _read(header.text, [data_file(folder, name) for name in header.files], folder)
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
    stem = path.with_suffix("") if path.suffix.lower() in (".hea", ".dat", ".mat") else path
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
        text = decoded_text(content)
    except ValueError:
        text = content.decode("latin-1")
    return text.replace("\N{MICRO SIGN}V", "uV").replace("\N{GREEK SMALL LETTER MU}V", "uV")


def _check_header(text: str) -> _Header:
    written = [line.strip() for line in text.splitlines()]
    lines = [line for line in written if line and not line.startswith("#")]
    record = lines[0].split() if lines else []
    if len(record) < 2 or not re.fullmatch("[0-9]{1,6}", record[1]):
        raise EcgError("the ECG header is not a WFDB header", _EXPORT_AGAIN)
    if _is_multi_segment(record, lines[1:]):
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
        _check_name(fields[0])
        if len(fields) < 3 or not re.match(r"-?[0-9.]*[1-9]", fields[2]):
            warnings = ("The ECG header gives no gain for some leads; 200 per mV is assumed.",)
        if fields[0] not in files:
            files.append(fields[0])
        lines[index] = " ".join([f"data{1 + files.index(fields[0])}", *fields[1:]])
    recorded, date_only, doubts = recorded_at(record[4:], written)
    # A length of 0 means unknown.
    kept = record[:3] if record[3:4] in ([], ["0"]) else record[:4]
    clean = "\n".join([" ".join(["record", *kept[1:]]), *lines[1:], ""])
    clean = clean.encode("ascii", "replace").decode()
    return _Header(clean, tuple(files), recorded, date_only, warnings + doubts)


def _check_name(name: str) -> None:
    """Refuse the name of a data file that can be none. Folders in it are those of the place where
    the record was written."""
    last = _SLASH.split(name)[-1]
    if not last or last.startswith(".") or re.search(r"[:\0]", last):
        raise EcgError(*_OUTSIDE)


def data_file(folder: Path, name: str) -> Path:
    """The data file of this name in the header's folder or, if its folder is there too, below it.

    Raises:
        EcgError: it is in neither, and the name leads elsewhere.
    """
    parts = _SLASH.split(name)
    beside = folder / parts[-1]
    elsewhere = any(part in ("", "..") or ":" in part for part in parts)
    if len(parts) > 1 and not elsewhere and _is_file(folder.joinpath(*parts)):
        return folder.joinpath(*parts)
    if not _is_file(beside):
        beside = _in_other_case(beside) or beside
    if elsewhere and not _is_file(beside):
        raise EcgError(*_OUTSIDE)
    return beside


def _in_other_case(path: Path) -> Path | None:
    """The one file whose name differs in capitals alone: the record was made on a system that
    does not tell them apart."""
    try:
        found = [p for p in path.parent.iterdir() if p.name.casefold() == path.name.casefold()]
    except OSError:
        return None
    return found[0] if len(found) == 1 else None


def _is_multi_segment(record: list[str], lines: list[str]) -> bool:
    """``name/segments``, and each further line is a segment's name and length: a mere slash may
    stand behind the name of a folder."""
    _, slash, segments = record[0].rpartition("/")
    if not slash or not re.fullmatch("[0-9]{1,9}", segments):
        return False
    described = [re.fullmatch(r"\S+\s+([0-9]+)", line) for line in lines]
    lengths = [match[1] for match in described if match is not None]
    if len(lengths) == len(lines) and not set(lengths) <= (BITS.keys() | FLAC.keys()):
        return True
    signals = sum(len(line.split()) > 2 for line in lines)  # a segment has a name and a length
    if signals == len(lines) == int(record[1]):
        return False
    return len(lines) in (int(segments), 0) or int(record[1]) != len(lines)


def _read(header: str, files: list[Path], folder: Path) -> _Read:
    """Read the record of a checked ``header``, whose data files ``data1`` … are ``files``, all of
    them in ``folder`` or below."""
    try:
        # Damaged scales overflow, and what is not finite is refused later; wfdb warns of what it
        # dislikes with a path of ours.
        with quiet_readers(), np.errstate(all="ignore"):
            layout = parse_header(header)
            _check_layout(layout)
            contents, frames = _contents(layout, files, folder)
            samples = _samples(layout.signals, header, contents, frames)
            signals_mv, names = _voltages(layout.signals, samples)
            damaged = any(map(is_damaged, layout.signals, samples))
            return _Read(signals_mv, names, layout.rate_hz, damaged)
    except EcgError:
        raise
    except (OSError, ValueError, LookupError, TypeError, ArithmeticError, MemoryError) as error:
        raise EcgError("the ECG header or its data cannot be understood", _EXPORT_AGAIN) from error


def _check_layout(layout: Layout) -> None:
    """Check what decides how much is read and allocated, and whether it can be decoded."""
    signals, frames = layout.signals, layout.frames or 1
    if not layout.rate_hz > 0.0:
        raise EcgError("the ECG header gives no sampling rate", _EXPORT_AGAIN)
    unknown = sorted({one.fmt for one in signals} - (BITS.keys() | FLAC.keys()))
    if unknown:
        raise EcgError(
            f"the ECG's storage format {unknown[0]} is not supported",
            "Convert the record to format 16, for example with WFDB's xform",
        )
    if len({(one.file, one.fmt) for one in signals}) > len({one.file for one in signals}):
        raise EcgError("the ECG header gives one data file several formats", _EXPORT_AGAIN)
    check_timing(frames, layout.rate_hz)
    if any(one.per_frame < 1 for one in signals):
        raise EcgError("the ECG header gives a lead no samples", _EXPORT_AGAIN)
    if any(one.skew > layout.rate_hz for one in signals):
        raise EcgError("the ECG header shifts leads by more than a second", _EXPORT_AGAIN)
    compressed = sum(one.per_frame for one in signals if one.fmt in FLAC)
    if compressed and layout.frames is None:
        raise EcgError("the ECG header gives no length", _EXPORT_AGAIN)
    if 2 * frames * compressed > MAX_ECG_BYTES:
        raise EcgError(*_TOO_LONG)


def _contents(layout: Layout, files: list[Path], folder: Path) -> tuple[dict[str, bytes], int]:
    """The data files by their names in the header, and the frames that they hold."""
    contents: dict[str, bytes] = {}
    frames, total = layout.frames, 0
    for number, file in enumerate(files, start=1):
        where = f"data file {number} of {len(files)} of the ECG record"
        signals = [one for one in layout.signals if one.file == f"data{number}"]
        per_frame, fmt = sum(one.per_frame for one in signals), signals[0].fmt
        needed = 0 if fmt in FLAC else bytes_of(fmt, (frames or 1) * per_frame) + signals[0].offset
        content = _content(file, folder, where, needed, MAX_ECG_BYTES - total)
        total += len(content)
        contents[f"data{number}"] = content
        if frames is None:  # a length that is not stated follows from the first file
            frames = frames_in(layout, len(content))
            check_timing(frames, layout.rate_hz)
    return contents, frames or 0


def _samples(
    signals: tuple[Signal, ...], header: str, contents: dict[str, bytes], frames: int
) -> list[NDArray[np.int32]]:
    """All samples of each signal as they are stored."""
    if any(one.fmt in FLAC for one in signals):
        return unpacked_by_wfdb(header, contents)
    found: dict[int, NDArray[np.int32]] = {}
    for name, content in contents.items():
        places = [i for i, one in enumerate(signals) if one.file == name]
        together = stored_samples([signals[i] for i in places], content, frames)
        found.update(zip(places, together, strict=True))
    return [found[i] for i in range(len(signals))]


def _content(file: Path, folder: Path, where: str, needed: int, limit: int) -> bytes:
    """A data file of at least ``needed`` bytes, in the header's folder even behind a link."""
    try:
        real = Path(os.path.realpath(file))
        if not real.is_relative_to(os.path.realpath(folder)):
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


def _voltages(
    signals: tuple[Signal, ...], samples: list[NDArray[np.int32]]
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Signals in mV [n, k] and their names, without those that are not voltages."""
    scale = [MV_PER_UNIT.get(one.unit.casefold()) for one in signals]
    for signal, factor in zip(signals, scale, strict=True):
        if factor is None and signal.name.casefold() in _STANDARD:
            raise EcgError(f"lead {signal.name} of the ECG is not in volts", _EXPORT_AGAIN)
    kept = [
        (signal, physical(signal, stored) * factor)
        for signal, stored, factor in zip(signals, samples, scale, strict=True)
        if factor is not None
    ]
    names = tuple(signal.name for signal, _ in kept)
    if not kept:
        return np.zeros((0, 0)), names
    return np.stack([values for _, values in kept], axis=1), names
