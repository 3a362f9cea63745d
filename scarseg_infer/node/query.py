"""Asking an archive for the newest ECG of a patient: C-FIND, then C-GET on the same association.

For C-GET the archive need not know where the node listens (PS3.4, C.4.3). For one that does not
offer it there is C-MOVE: what it sends then comes in like everything else.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from pydicom import Dataset
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from scarseg_infer.dicom_parse import PARSE_ERRORS, parse, text
from scarseg_infer.node.client import Client, NoAssociationError
from scarseg_infer.node.config import Config, EcgSource
from scarseg_infer.node.counters import Counters
from scarseg_infer.node.log import Log
from scarseg_infer.node.pair import has_ecg
from scarseg_infer.node.queue import Arrival, Queue, Study
from scarseg_infer.node.receive import arrival_from
from scarseg_infer.read_ecg_dicom import ECG_CLASSES

_FIND: Final = StudyRootQueryRetrieveInformationModelFind
_GET: Final = StudyRootQueryRetrieveInformationModelGet
_MOVE: Final = StudyRootQueryRetrieveInformationModelMove
_SUCCESS: Final = 0x0000
_PENDING: Final = (0xFF00, 0xFF01)
MAX_STUDIES: Final = 3
"""Newest studies with an ECG that are looked into, until one gives an ECG."""


class EcgQuery:
    """Fetches ECGs into the queue, where they are found like those that were sent to the node.

    Raises:
        UsageError: the TLS files do not fit.
    """

    def __init__(
        self, config: Config, source: EcgSource, queue: Queue, counters: Counters, log: Log
    ) -> None:
        self._config, self._source, self._queue = config, source, queue
        self._counters, self._log = counters, log
        self._client = Client(config, source.peer)

    def fetch(self, study: Study) -> None:
        """Look for an ECG of the study's patient, if none was received or it is always to be done.

        That there is none, or that the archive does not answer, is no reason not to process the
        images: it is logged and counted.
        """
        if has_ecg(self._queue, study) and not self._source.always:
            return
        outcome = self._outcome(study)
        self._counters.add("ecg_queries_total", outcome=outcome)
        self._log.write("ecg_query", study=study.id, outcome=outcome)

    def _outcome(self, study: Study) -> str:
        if not study.patient:
            return "no identifier"
        patient_id = _patient_id(self._queue.images(study))
        # Wildcards would match other patients (PS3.4, C.2.2.2.4), and what ASCII lacks becomes one
        # on its way, as a query without character set has no other sign for it.
        if not patient_id.isascii() or any(character in patient_id for character in "*?\\"):
            return "no identifier"
        arrivals: list[Arrival] = []
        try:
            association = self._associate(arrivals)
        except NoAssociationError as failure:
            return str(failure)
        try:
            return self._look(association, study, patient_id, arrivals)
        finally:
            if association.is_established:
                association.release()

    def _look(
        self, association: Association, study: Study, patient_id: str, arrivals: list[Arrival]
    ) -> str:
        broken = "broken off"  # it broke, has no context for what is asked, or answers oddly
        try:
            uids = self._newest_studies(association, patient_id)[:MAX_STUDIES]
        except PARSE_ERRORS:
            return broken
        for uid in uids:
            try:
                series = self._ecg_series(association, uid)
                moved = sum([self._retrieve(association, uid, item) for item in series])
            except PARSE_ERRORS:
                return broken
            kept = [item for item in arrivals if item.patient == study.patient]
            for item in kept:
                self._queue.add(item)  # a disk that fails is no fault of the archive's
            if kept or (moved and has_ecg(self._queue, study)):
                return "found"
        return "none"

    def _associate(self, arrivals: list[Arrival]) -> Association:
        def store(event: evt.Event) -> int:
            try:
                arrival = arrival_from(event)
            except PARSE_ERRORS:
                return 0xC000
            if arrival is None or arrival.kind != "ecg":
                return 0xA900
            arrivals.append(arrival)
            return 0x0000

        # With C-MOVE they come in by an association of the archive's own.
        stores = () if self._source.move else ECG_CLASSES
        return self._client.associate(
            (_FIND, _MOVE if self._source.move else _GET), stores=stores, on_store=store
        )

    def _newest_studies(self, association: Association, patient_id: str) -> list[str]:
        """UIDs of the patient's studies with an ECG, the newest first."""
        query = _query(
            "STUDY", PatientID=patient_id, ModalitiesInStudy="ECG", StudyInstanceUID="",
            StudyDate="", StudyTime="",
        )  # fmt: skip
        # An archive that ignores the modality gives all studies, perhaps with what is in each.
        found = [
            item
            for item in _answers(association, query)
            if not (told := text(item, "ModalitiesInStudy")) or "ECG" in told
        ]
        found.sort(key=lambda item: text(item, "StudyDate") + text(item, "StudyTime"), reverse=True)
        return [uid for item in found if (uid := text(item, "StudyInstanceUID"))]

    def _ecg_series(self, association: Association, study_uid: str) -> list[str]:
        query = _query("SERIES", StudyInstanceUID=study_uid, SeriesInstanceUID="", Modality="ECG")
        # An archive that ignores the modality answers with all series.
        return [
            text(item, "SeriesInstanceUID")
            for item in _answers(association, query)
            if text(item, "Modality") in ("ECG", "")
        ]

    def _retrieve(self, association: Association, study_uid: str, series_uid: str) -> int:
        """Get a series by the handler, or have it moved; returns how many objects were moved."""
        query = _query("SERIES", StudyInstanceUID=study_uid, SeriesInstanceUID=series_uid)
        if not self._source.move:
            getting: Any = association.send_c_get(query, _GET)
            *_, (last, _) = getting  # what matters comes by the handler
        else:
            moving: Any = association.send_c_move(query, self._config.ae_title, _MOVE)
            *_, (last, _) = moving
        if "Status" not in last:
            raise RuntimeError("no answer")
        return 0 if not self._source.move else int(last.get("NumberOfCompletedSuboperations") or 0)


def _query(level: str, **keys: str) -> Dataset:
    found = Dataset()
    found.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(found, keyword, value)
    return found


def _answers(association: Association, query: Dataset) -> Iterator[Dataset]:
    answers: Any = association.send_c_find(query, _FIND)
    last = None
    for status, item in answers:
        last = getattr(status, "Status", None)
        if last in _PENDING and item is not None:
            yield item
    if last != _SUCCESS:  # no answer, or no end of it: that is not the same as no ECG
        raise RuntimeError("the query failed")


def _patient_id(images: list[Path]) -> str:
    """As it stands in the images: the queue's has lost its letter case."""
    header = parse(images[0].read_bytes(), ["PatientID"])
    return text(header, "PatientID").strip()
