"""WFDB: the length of the header in two bytes, the header, and the data file ``rec.dat``."""

from __future__ import annotations

import re
import struct
import tempfile
from pathlib import Path

import ecg_checks as CHECKS

from scarseg_infer.demo import DEMO_ECG
from scarseg_infer.ecg.read import read_ecg
from scarseg_runtime.contract import LEADS

DICTIONARY = (
    "rec.dat", " 16 ", " 212 ", " 80 ", " 61 ", " 160 ", " 24 ", " 32 ", " 310 ", " 311 ", "16x2",
    "16:5", "16+24", "~", "200/mV", "1000(0)/uV", "/nV", "nan", "1e999", "-1", "99999999",
    "500/100(5)", "10:45:12", "28/02/2024", "# date: 2024-02-28", "V1", "aVR", "\n", "../x",
    "28-Feb-2024", "+01:00", "ECG I", "Lead I", "100/rec.dat",
)  # fmt: skip


def pack(header: str, data: bytes) -> bytes:
    text = header.encode()
    return struct.pack("<H", len(text)) + text + data


def seeds() -> dict[str, bytes]:
    counts = CHECKS.FACTORY.counts(6.0)
    plain = counts.astype("<i2").tobytes()
    lines = "".join(f"rec.dat 16 200/mV 16 0 0 0 0 {lead}\n" for lead in LEADS)
    record = f"rec 12 500 {len(counts)}"
    named = f"# patient: {CHECKS.FACTORY.PATIENT_NAME}\n"
    demo = DEMO_ECG.with_suffix(".hea").read_text(encoding="utf-8")
    stem = DEMO_ECG.with_suffix("").name
    short = f"rec 12 500 40 10:45:12 28/02/2024\n{lines}{named}"
    parts = {
        "plain": (f"{record} 10:45:12 28/02/2024\n{lines}{named}", plain),
        "dated in a comment": (f"rec 12 500 40\n{lines}# ECG date: 2024-02-28\n", plain[:960]),
        "short": (short, plain[:960]),
        "demo": (
            demo.replace(f"{stem}.dat", "rec.dat").replace(" 5000", " 2600"),
            DEMO_ECG.with_suffix(".dat").read_bytes()[: 2600 * 24],
        ),
    }
    for kind in ("80", "212", "61", "160", "24", "32", "310", "311", "16x2", "16:3", "16+8",
                 "516"):  # fmt: skip
        other = short.replace("rec.dat 16 ", f"rec.dat {kind} ")
        parts[f"format {kind}"] = (other, plain[:2400])
    for kind, text in (
        ("folder", short.replace("rec.dat 16", "100/rec.dat 16").replace("rec 12", "a/100 12", 1)),
        ("backslash", short.replace("rec.dat 16", "x\\rec.dat 16")),
        ("parent", short.replace("rec.dat 16", "../rec.dat 16")),
        ("month by name", short.replace("28/02/2024", "28-Feb-2024")),
        ("ISO with zone", short.replace("10:45:12 28/02/2024", "2024-02-28T10:45:12+01:00")),
        ("zone in a comment", f"rec 12 500 40\n{lines}# date: 2024-02-28T10:45:12+01:00\n"),
        ("asctime", short.replace("10:45:12 28/02/2024", "Wed Feb 28 10:45:12 2024")),
        ("future", short.replace("28/02/2024", "31/12/9999")),
        ("ambiguous", f"rec 12 500 40\n{lines}# ECG date: 01/02/2024\n"),
        ("days apart", f"rec 12 500 40\n{lines}# date: 2024-02-28 to 2024-05-06\n"),
        ("two dates", f"{short}# ECG date: 2020-01-01\n"),
        ("lead names", re.sub(r"(?m) 0 0 0 0 (\S+)$", r" 0 0 0 0 MDC_ECG_LEAD_\1", short)),
        ("mark", f"\ufeff{short}"),
        ("capitals", short.replace("rec.dat 16", "REC.DAT 16")),
        ("units behind names", re.sub(r"(?m) 0 0 0 0 (\S+)$", r" 0 0 0 0 \1 (mV)", short)),
    ):
        parts[kind] = (text, plain[:960])
    nines = "9" * 30
    for name, record_line, signal in (
        ("frame", "rec 12 500 40", "16x0 200/mV 16 0"),
        ("skew", "rec 12 99999999999999 40", "16:5000000000 200/mV 16 0"),
        ("shifted frames", "rec 12 99999 1", "16x10:90000 200/mV 16 0"),
        ("baseline", "rec 12 500 40", f"212 200({nines[:22]})/mV 16 0"),
        ("zero", "rec 12 500 40", f"212 200/mV 16 {nines[:22]}"),
        ("long zero", "rec 12 500 40", f"212 200/mV 16 {nines}"),
        ("gain", "rec 12 500 40", "16 1e-300/mV 16 0"),
        ("smallest gain", "rec 12 500 40", "16 1e-305/mV 16 0"),
        ("plain gain", "rec 12 500 40", f"16 0.{'0' * 22}1/mV 16 0"),
        ("long gain", "rec 12 500 40", f"16 {'9' * 4_000}x/mV 16 0"),
    ):
        hostile = "".join(f"rec.dat {signal} 0 0 0 {lead}\n" for lead in LEADS)
        parts[f"hostile {name}"] = (f"{record_line}\n{hostile}", plain[:2400])
    parts["hostile file name"] = (short.replace("rec.dat", "rec\0dat"), plain[:960])
    return {name: pack(header, data) for name, (header, data) in parts.items()}


def one(data: bytes) -> None:
    length = int.from_bytes(data[:2], "little")
    with tempfile.TemporaryDirectory(prefix="scarseg-fuzz-") as folder:
        place = Path(folder, "rec.hea")
        place.write_bytes(data[2 : 2 + length])
        place.with_suffix(".dat").write_bytes(data[2 + length :])
        CHECKS.check_read(lambda: read_ecg(place))
