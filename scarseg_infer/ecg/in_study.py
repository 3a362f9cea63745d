"""The ECG that lies in the study folder beside the MRI, if there is one."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

from scarseg_infer.ecg.dicom import is_ecg, read_ecg_dicom
from scarseg_infer.ecg.record import EcgRecord
from scarseg_infer.study.archive import is_archive, open_archive
from scarseg_infer.study.files import FolderFiles, StudyFiles, Watch, WatchedFiles
from scarseg_runtime.contract import LEADS
from scarseg_runtime.errors import EcgError


def read_study_ecg(
    path: str | Path, watch: Watch | None = None
) -> tuple[EcgRecord | None, tuple[str, ...]]:
    """:func:`find_ecg` in a DICOM folder or a zip of one; None for every other kind of study.

    Args:
        watch: see :func:`scarseg_infer.read_study`.

    Raises:
        StudyError: the study cannot be read.
    """
    path = Path(path)
    with ExitStack() as stack:
        files: StudyFiles
        if path.is_dir():
            files = FolderFiles(path)
        elif path.is_file() and is_archive(path):
            files = stack.enter_context(open_archive(path))
        else:
            return None, ()
        return find_ecg(files if watch is None else WatchedFiles(files, watch))


def find_ecg(files: StudyFiles) -> tuple[EcgRecord | None, tuple[str, ...]]:
    """The newest 12-lead ECG among the files of a study, and what to say about the choice.

    An ECG that cannot be read or lacks leads is passed over with a warning: nobody asked for
    it. Between ECGs of the same date, or without any, the first in name order wins.

    Raises:
        StudyError: a file of the study cannot be read at all.
    """
    newest: EcgRecord | None = None  # the others are not kept: a study may hold thousands
    usable = useless = 0
    for index in range(len(files)):
        data = files.read(index)
        if data is None or not is_ecg(data):
            continue
        try:
            record = read_ecg_dicom(data)
        except EcgError:
            useless += 1
            continue
        if not _has_twelve_leads(record):
            useless += 1
            continue
        usable += 1
        if newest is None or _age_key(record) > _age_key(newest):  # the first of equals
            newest = record
    warnings = []
    if useless:
        what = "1 ECG was" if useless == 1 else f"{useless} ECGs were"
        warnings.append(
            f"{what} found in the study and left out: not readable, or without the leads needed."
        )
    if newest is not None and usable > 1:
        chosen = "the newest by date" if newest.recorded else "the first of them, none has a date,"
        warnings.append(f"The study holds {usable} ECGs: {chosen} was used.")
    return newest, tuple(warnings)


def _age_key(record: EcgRecord) -> datetime:
    return (record.recorded or datetime.min).replace(tzinfo=None)


def _has_twelve_leads(record: EcgRecord) -> bool:
    """Two limb leads and V1–V6: from these the rest follows."""
    names = {name.casefold() for name in record.lead_names}
    limb, chest = ([lead.casefold() in names for lead in part] for part in (LEADS[:6], LEADS[6:]))
    return sum(limb) >= 2 and all(chest)
