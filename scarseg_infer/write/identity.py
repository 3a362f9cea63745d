"""Patient and study of a result, in plain texts: what SEG and SR carry, nothing else."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from scarseg_infer.host.quiet import quiet_readers

if TYPE_CHECKING:
    from scarseg_infer.study.stack import LgeStack

_NAME_PARTS: Final = 5


@dataclass(frozen=True, slots=True)
class Identity:
    """Texts as in the header of the source images, "" where there is none or no valid one.

    Attributes:
        name: family, given, middle, prefix, suffix of the alphabetic representation (PS3.5, 6.2.1).
        referring: the same of the referring physician.
        birth_date, study_date: YYYYMMDD.
        study_time: HHMMSS, or as much as there is of it.
        removed: the header says that the true identity was removed.
    """

    patient_id: str
    issuer: str
    name: tuple[str, ...]
    birth_date: str
    sex: str
    study_uid: str
    study_date: str
    study_time: str
    accession: str
    referring: tuple[str, ...]
    removed: bool


def identity_of(stack: LgeStack) -> Identity | None:
    """Identity of a stack; None unless it came from DICOM images.

    Texts with control characters are left out, and those beyond ASCII of a source that declares no
    character set: nobody knows their letters.

    Raises:
        StudyError: the images have no UIDs to refer to.
    """
    if not stack.datasets:
        return None
    from scarseg_infer.study.dicom.parse import text
    from scarseg_infer.write.dicom.sources import is_undeclared, patient_and_study

    with quiet_readers():
        header, plain = patient_and_study(stack), is_undeclared(stack)

        def value(keyword: str) -> str:
            found = str(text(header, keyword)).strip()
            odd = not found.isprintable() or (plain and not found.isascii())
            return "" if odd else found

        return Identity(
            patient_id=value("PatientID"),
            issuer=value("IssuerOfPatientID"),
            name=_person(value("PatientName")),
            birth_date=_digits(value("PatientBirthDate"), 8),
            sex=value("PatientSex"),
            study_uid=value("StudyInstanceUID"),
            study_date=_digits(value("StudyDate"), 8),
            study_time=_time(value("StudyTime")),
            accession=value("AccessionNumber"),
            referring=_person(value("ReferringPhysicianName")),
            removed=value("PatientIdentityRemoved") == "YES",
        )


def _person(name: str) -> tuple[str, ...]:
    """Five parts of the first of a name's representations, or none."""
    parts = [part.strip() for part in name.partition("=")[0].split("^")[:_NAME_PARTS]]
    return (*parts, *[""] * (_NAME_PARTS - len(parts))) if any(parts) else ()


def _digits(date: str, count: int) -> str:
    """A date of digits alone; "" for any other (PS3.5 knows ranges and old forms with dots)."""
    found = date.replace(".", "")
    return found if re.fullmatch(rf"[0-9]{{{count}}}", found) else ""


def _time(time: str) -> str:
    found = re.match(r"(?:[01][0-9]|2[0-3])(?:[0-5][0-9]){0,2}", time.replace(":", ""))
    return found[0] if found else ""
