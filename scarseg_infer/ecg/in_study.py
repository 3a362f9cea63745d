"""The ECG that lies in the study folder beside the MRI, if there is one."""

from __future__ import annotations

from datetime import datetime

from scarseg_infer.ecg.dicom import is_ecg, read_ecg_dicom
from scarseg_infer.ecg.record import EcgRecord
from scarseg_runtime.contract import LEADS
from scarseg_runtime.errors import EcgError


class EcgSearch:
    """The newest 12-lead ECG among files that are shown to it one after the other.

    An ECG that cannot be read or lacks leads is passed over with a warning: nobody asked for
    it. Between ECGs of the same date, or without any, the first that was shown wins.
    """

    def __init__(self) -> None:
        self._newest: EcgRecord | None = None  # alone: a study may hold thousands
        self._usable = self._useless = 0

    def look(self, data: bytes) -> None:
        """Look at the content of a file."""
        if not is_ecg(data):
            return
        try:
            record = read_ecg_dicom(data)
        except EcgError:
            self._useless += 1
            return
        if not _has_twelve_leads(record):
            self._useless += 1
            return
        self._usable += 1
        if self._newest is None or _age_key(record) > _age_key(self._newest):
            self._newest = record

    def found(self) -> tuple[EcgRecord | None, tuple[str, ...]]:
        """The ECG of all that was shown, and what to say about the choice."""
        newest, warnings = self._newest, []
        if self._useless:
            what = "1 ECG was" if self._useless == 1 else f"{self._useless} ECGs were"
            warnings.append(
                f"{what} found in the study and left out: not readable, or without the leads "
                "needed."
            )
        if newest is not None and self._usable > 1:
            which = "newest by date" if newest.recorded else "first of them, none has a date,"
            warnings.append(f"The study holds {self._usable} ECGs: the {which} was used.")
        return newest, tuple(warnings)


def _age_key(record: EcgRecord) -> datetime:
    return (record.recorded or datetime.min).replace(tzinfo=None)


def _has_twelve_leads(record: EcgRecord) -> bool:
    """Two limb leads and V1–V6: from these the rest follows."""
    names = {name.casefold() for name in record.lead_names}
    limb, chest = ([lead.casefold() in names for lead in part] for part in (LEADS[:6], LEADS[6:]))
    return sum(limb) >= 2 and all(chest)
