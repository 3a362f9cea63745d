"""The ECG of a session: one that the server was started with, or of the patient, from a folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from scarseg_infer.ecg.evidence import comparable_id
from scarseg_infer.ecg.read import read_ecg
from scarseg_infer.ecg.record import MAX_ECG_BYTES, EcgRecord
from scarseg_infer.mrd.header import Measurement
from scarseg_runtime.errors import EcgError

MAX_FILES: Final = 200
"""Newest files of a folder that are looked into: each is read whole."""
_WITHOUT_PATIENT: Final = (".dat", ".hea", ".atr", ".xws")
"""Parts of WFDB records, which name no patient."""


@dataclass(frozen=True, slots=True)
class EcgShelf:
    """Where ECGs lie: a file, a folder, or nowhere (None)."""

    path: Path | None

    def find(self, measurement: Measurement, name: str) -> tuple[EcgRecord | None, tuple[str, ...]]:
        """The ECG for a measurement, and what to say of it.

        Args:
            name: of a file in the folder, as the client gave it; "" to look for the newest of the
                same patient.

        Raises:
            EcgError: the file that was named is not there, or no ECG can be read from it.
        """
        if self.path is None:
            if name:
                raise EcgError("no ECG was found by its name", "Start scarseg-mrd with --ecg")
            return None, ()
        if not self.path.is_dir():
            return read_ecg(self.path), ()
        if name:
            return read_ecg(self._named(self.path, name)), ()
        return self._of_patient(self.path, measurement)

    @staticmethod
    def _named(folder: Path, name: str) -> Path:
        """A file of the folder itself: a client must not reach any other."""
        if Path(name).name != name or name in (".", "..") or "\\" in name or ":" in name:
            raise EcgError("the name of the ECG is not that of a file in the folder", "")
        return folder / name

    def _of_patient(
        self, folder: Path, measurement: Measurement
    ) -> tuple[EcgRecord | None, tuple[str, ...]]:
        patient = comparable_id(measurement.patient_id)
        if not patient:
            return None, ("The scanner names no patient: no ECG was looked for.",)
        found = [one for one in _records(folder) if comparable_id(one.patient_id) == patient]
        if not found:
            return None, ("There is no ECG of the patient in the folder of ECGs.",)
        return max(found, key=_when), ()


def _when(record: EcgRecord) -> datetime:
    return record.recorded.replace(tzinfo=None) if record.recorded else datetime.min


def _records(folder: Path) -> Iterator[EcgRecord]:
    """Every ECG among the newest files of a folder; what is none is passed over."""
    try:
        files = [
            (path.stat().st_mtime, path)
            for path in folder.iterdir()
            if path.is_file() and path.suffix.casefold() not in _WITHOUT_PATIENT
        ]
    except OSError as error:
        raise EcgError(
            f"the folder of ECGs cannot be read ({error.strerror})", "Check that it may be read"
        ) from error
    for _, path in sorted(files, reverse=True)[:MAX_FILES]:
        try:
            if path.stat().st_size <= MAX_ECG_BYTES:
                yield read_ecg(path)
        except (EcgError, OSError):
            continue
