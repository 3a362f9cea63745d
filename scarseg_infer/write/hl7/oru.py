"""The quantities as an unsolicited observation result: ORU^R01 of HL7 v2.5.1.

Codes, units and what is measured are those of the DICOM SR. Observations of one place share their
sub-identifier (OBX-4): 1 is the left ventricle, 2 to 18 are the AHA segments that were imaged, 0.1
and so on are comments.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from scarseg_infer.write.dicom import codes
from scarseg_infer.write.dicom.codes import Code
from scarseg_infer.write.hl7.escape import SEPARATORS, components, escaped, segment
from scarseg_infer.write.identity import Identity, identity_of
from scarseg_infer.write.measurements import (
    Measured,
    imaged_segments,
    of_segment,
    of_ventricle,
    site_of,
)
from scarseg_infer.write.summary import scar_sentence
from scarseg_infer.write.words import RESEARCH_USE
from scarseg_runtime.errors import StudyError

if TYPE_CHECKING:
    from scarseg_infer.result import ScarResult

APPLICATION: Final = "SCARSEG"
VERSION: Final = "2.5.1"
_UTF_8: Final = "UNICODE UTF-8"  # HL7 table 0211
_PRELIMINARY: Final = "P"  # HL7 tables 0085, 0123: no person has looked at it
_CONTROL_ID: Final = 20  # characters of MSH-10
_DIGITS: Final = 6


def write_oru(result: ScarResult, path: Path) -> None:
    """Write :func:`oru_message` as ``path``: UTF-8, segments end in CR, without MLLP's frame.

    Raises:
        StudyError: the study is not DICOM, or its images have no UIDs to refer to.
        OSError: ``path`` cannot be written.
    """
    path.write_bytes(oru_message(result).encode())


def oru_message(result: ScarResult) -> str:
    """One message: MSH, PID, OBR, then OBX for every number, place and statement.

    PID-3 is empty where the images carry no patient identifier; such a message can be filed by
    hand only.

    Raises:
        StudyError: the study is not DICOM, or its images have no UIDs to refer to.
    """
    who = identity_of(result.stack)
    if who is None:
        raise StudyError(
            "the study has no DICOM images whose patient an HL7 message could name",
            "Ask for the other outputs, or read the study from its DICOM files",
        )
    now = datetime.now().astimezone().strftime("%Y%m%d%H%M%S%z")
    body = [f"OBX|{number}{rest}" for number, rest in enumerate(_results(result, who), 1)]
    return "".join(f"{line}\r" for line in (_header(now), _patient(who), _order(who, now), *body))


def _header(now: str) -> str:
    """MSH. Sender's facility and the receiver are for those who know them to fill in."""
    kind, control = components("ORU", "R01", "ORU_R01"), uuid4().hex[:_CONTROL_ID].upper()
    fields = (APPLICATION, "", "", "", now, "", kind, control, "P", VERSION, *[""] * 5, _UTF_8)
    return segment("MSH", SEPARATORS, *fields)


def _patient(who: Identity) -> str:
    """PID. DICOM has prefixes of names before suffixes, HL7 after them."""
    family_given = who.name[:3]
    name = components(*family_given, *who.name[4:], *who.name[3:4])
    identifier = components(who.patient_id, "", "", who.issuer) if who.patient_id else ""
    return segment("PID", "1", "", identifier, "", name, "", who.birth_date, who.sex)


def _order(who: Identity, now: str) -> str:
    """OBR. The accession number stands for the order at both places where systems look for it."""
    accession = escaped(who.accession)
    taken = who.study_date + (who.study_time if who.study_date else "")
    name = who.referring
    referring = components("", *name[:3], *name[4:], *name[3:4])
    fields = {
        1: "1", 3: accession, 4: _coded(codes.REPORT), 7: taken, 16: referring,
        18: accession, 22: now, 24: "RAD", 25: _PRELIMINARY,
    }  # fmt: skip
    return segment("OBR", *(fields.get(number, "") for number in range(1, max(fields) + 1)))


def _results(result: ScarResult, who: Identity) -> Iterable[str]:
    """OBX without their numbers: statements, ventricle, segments."""
    removed = ["The identity of the patient was removed."] if who.removed else []
    comments = [RESEARCH_USE, *removed, scar_sentence(result), *result.warnings]
    for number, comment in enumerate(comments, 1):
        yield _observation("TX", codes.COMMENT, f"0.{number}", comment)
    yield _observation("TX", codes.ECG_REASON, "", result.ecg.reason)
    yield _observation("ST", codes.STUDY_UID, "", who.study_uid)
    yield from _place("1", codes.LEFT_VENTRICLE, of_ventricle(result))
    for one in imaged_segments(result):
        yield from _place(str(one.number + 1), site_of(one), of_segment(one))


def _place(sub: str, site: Code, measured: Iterable[Measured]) -> Iterable[str]:
    yield _observation("CE", codes.FINDING_SITE, sub, _coded(site), encoded=True)
    for name, value, unit in measured:
        # Adding zero turns a negative zero into zero; HL7 numbers have no exponent.
        number = f"{round(value, _DIGITS) + 0.0:.{_DIGITS}f}".rstrip("0").rstrip(".")
        yield _observation("NM", name, sub, number, _coded(unit))


def _observation(
    kind: str, what: Code, sub: str, value: str, unit: str = "", *, encoded: bool = False
) -> str:
    """An OBX from its second field on."""
    text = value if encoded else escaped(value)
    fields = (kind, _coded(what), sub, text, unit, "", "", "", "", _PRELIMINARY)
    return segment("", *fields)


def _coded(code: Code) -> str:
    return components(code.value, code.meaning, code.scheme)
