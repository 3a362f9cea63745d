"""EDF and EDF+."""

from __future__ import annotations

import ecg_checks as CHECKS

from scarseg_infer.ecg.vendor import read_ecg_other

DICTIONARY = (
    "EDF+C", "EDF+D", "EDF Annotations ", "+1e308\x14\x14", "+0\x14\x14\0", "uV      ", "mV      ",
    "nan     ", "inf     ", "1e308   ", "-1      ", "0       ", "1e-308  ", "99999999", "Startdate",
    "28.02.24", "10.45.12", "X X X",
)  # fmt: skip


def seeds() -> dict[str, bytes]:
    factory = CHECKS.FACTORY
    counts = factory.counts(6.0)
    short = counts[:500]
    marks = short[:, :1] * 0
    marks[:8, 0] = [0x302B, 0x1414, 0, 0, 0, 0, 0, 0]
    noted = factory.edf(
        factory.np.hstack([short, marks]), labels=(*factory.LEADS, "EDF Annotations")
    )
    return {
        "whole": factory.edf(counts),
        "one second": factory.edf(short),
        "plain": factory.edf(short, plus=False),
        "millivolts": factory.edf(short, unit="mV"),
        "annotated": noted.replace(b"EDF+C", b"EDF+D"),
        "lead names": factory.edf(short, labels=[f"ECG {lead}" for lead in factory.LEADS]),
        "limb leads": factory.edf(short, labels=["DI", "DII", "DIII", *factory.LEADS[3:]]),
        "a lead twice": factory.edf(short, labels=[*factory.LEADS[:7], "V1", *factory.LEADS[8:]]),
        "signs": factory.edf(short, labels=[f"ECG -{lead}" for lead in factory.LEADS]),
        "two dates": factory.edf(short, recording="Startdate 28-FEB-2014 X X X"),
        "start in small letters": factory.edf(short, recording="startdate 01-MAR-2024 X X X"),
        "unknown date": factory.edf(short, date="01.01.85", clock="00.00.00", plus=False),
        "bad time": factory.edf(short, clock="25.61.00"),
        "one lead": factory.edf(short[:, :1], labels=("V1",)),
    }


def one(data: bytes) -> None:
    CHECKS.check_read(lambda: read_ecg_other(data))
