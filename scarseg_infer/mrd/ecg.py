"""The ECG of a session: one that the server was started with, or of the patient, from a folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

from scarseg_infer.ecg.read import read_ecg
from scarseg_infer.ecg.record import MAX_ECG_BYTES, EcgRecord
from scarseg_infer.mrd.header import Measurement
from scarseg_infer.study.dicom.patient_id import normal
from scarseg_runtime.errors import EcgError

MAX_FILES: Final = 200
"""Newest files of a folder that are looked into: each is read whole."""
_WITHOUT_PATIENT: Final = (".dat", ".hea", ".atr", ".xws")
"""Parts of WFDB records, which name no patient."""


class Archive(Protocol):
    """Source that can be asked for ECGs, as :class:`scarseg_infer.mrd.archive.ArchiveQuery`."""

    def newest(self, patient_id: str) -> EcgRecord | None:
        """The newest ECG of a patient; None where there is none."""


@dataclass(frozen=True, slots=True)
class EcgShelf:
    """Places of ECGs.

    Attributes:
        path: a file, a folder, or nowhere (None).
        archive: asked where no file was named and the folder has none of the patient.
    """

    path: Path | None = None
    archive: Archive | None = None

    @property
    def searches(self) -> bool:
        """True where an ECG that nobody named is looked for by the patient."""
        return self.archive is not None or (self.path is not None and self.path.is_dir())

    def find(self, measurement: Measurement, name: str) -> tuple[EcgRecord | None, tuple[str, ...]]:
        """The ECG for a measurement, and what to say of it.

        Args:
            name: of a file in the folder, as the client gave it; "" to look for the newest of the
                same patient.

        Raises:
            EcgError: the file that was named is not there, or no ECG can be read from it.
            CancelledError: the server stops.
        """
        folder = self.path if self.path is not None and self.path.is_dir() else None
        if name:
            if folder is None:
                raise EcgError(
                    "no ECG was found by its name", "Start scarseg-mrd with --ecg and a folder"
                )
            return read_ecg(self._named(folder, name)), ()
        if self.path is not None and folder is None:
            return read_ecg(self.path), ()
        if folder is None and self.archive is None:
            return None, ()
        return self._of_patient(folder, measurement)

    @staticmethod
    def _named(folder: Path, name: str) -> Path:
        """A file of the folder itself: a client must not reach any other."""
        if Path(name).name != name or name in (".", "..") or "\\" in name or ":" in name:
            raise EcgError("the name of the ECG is not that of a file in the folder", "")
        return folder / name

    def _of_patient(
        self, folder: Path | None, measurement: Measurement
    ) -> tuple[EcgRecord | None, tuple[str, ...]]:
        patient = normal(measurement.patient_id)
        if not patient:
            return None, ("The scanner names no patient: no ECG was looked for.",)
        lying = _records(folder) if folder else ()
        found = [one for one in lying if normal(one.patient_id) == patient]
        if found:
            return max(found, key=_when), ()
        try:
            record = self.archive.newest(measurement.patient_id) if self.archive else None
        except OSError as error:
            return None, (f"The archive was not asked for an ECG ({error.strerror}).",)
        if record is not None:
            return record, ()
        return None, ("No ECG of the patient was found.",)


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
