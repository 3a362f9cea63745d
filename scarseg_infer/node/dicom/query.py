"""Asking an archive for the newest ECG of a patient: C-FIND, then C-GET on the same association.

For C-GET the archive need not know where the node listens (PS3.4, C.4.3). For one that does not
offer it there is C-MOVE: what it sends then comes in like everything else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from pydicom import Dataset
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from scarseg_infer.ecg.dicom import ECG_CLASSES
from scarseg_infer.ecg.record import MAX_ECG_BYTES
from scarseg_infer.node.config import Config, EcgArchive
from scarseg_infer.node.counters import Counters
from scarseg_infer.node.dicom.client import Client, NoAssociationError
from scarseg_infer.node.dicom.outgoing_limits import OutgoingLimits
from scarseg_infer.node.dicom.receive import (
    CANNOT_UNDERSTAND,
    MISMATCH,
    OUT_OF_RESOURCES,
    SUCCESS,
    arrival_from,
)
from scarseg_infer.node.ecg_fetcher import (
    BROKEN,
    FOUND,
    MAX_ANSWERS,
    MAX_QUERY_BYTES,
    MAX_STUDIES,
    NONE,
    QUERY_S,
    EcgFetcher,
)
from scarseg_infer.node.log import Log
from scarseg_infer.node.pair import has_ecg
from scarseg_infer.node.queue.received import Arrival, Queue, Study
from scarseg_infer.study.dicom.parse import PARSE_ERRORS, text
from scarseg_infer.study.dicom.time import newest_last
from scarseg_runtime.errors import RunTimeoutError
from scarseg_runtime.run_control import CancelSignal, RunControl

_FIND: Final = StudyRootQueryRetrieveInformationModelFind
_GET: Final = StudyRootQueryRetrieveInformationModelGet
_MOVE: Final = StudyRootQueryRetrieveInformationModelMove
_PENDING: Final = (0xFF00, 0xFF01)


@dataclass(frozen=True, slots=True)
class _Inquiry:
    """Questions and answers about one study."""

    study: Study
    patient_id: str
    control: RunControl
    limits: OutgoingLimits
    arrivals: list[Arrival] = field(default_factory=list)


class EcgQuery(EcgFetcher):
    """Fetches ECGs from an archive; see :class:`EcgFetcher`.

    Args:
        has_room: is there room on the disk for so many bytes?
        stop: set when the node stops, which waits for no answer of an archive.

    Raises:
        UsageError: the TLS files do not fit.
    """

    def __init__(
        self,
        config: Config,
        archive: EcgArchive,
        queue: Queue,
        counters: Counters,
        log: Log,
        has_room: Callable[[int], bool],
        stop: CancelSignal,
    ) -> None:
        super().__init__(queue, counters, log, always=archive.when == "always")
        self._config = config
        self._has_room, self._stop = has_room, stop
        self._client = Client(config, archive.peer)
        # No ECG that can be read is larger, whatever is allowed to images.
        self._moves = archive.retrieve == "move"
        self._object_bytes = min(config.limits.object_bytes, MAX_ECG_BYTES)

    def _asked(self, study: Study, patient_id: str) -> str:
        inquiry = _Inquiry(
            study, patient_id, RunControl(self._stop, QUERY_S),
            OutgoingLimits(self._object_bytes, MAX_QUERY_BYTES),
        )  # fmt: skip
        try:
            with inquiry.control.stopping(inquiry.limits.hang_up):
                return self._connected(inquiry)
        except RunTimeoutError:
            return BROKEN
        except NoAssociationError as failure:
            return str(failure)

    def _connected(self, inquiry: _Inquiry) -> str:
        association = self._associate(inquiry)
        try:
            outcome = self._look(association, inquiry)
            if outcome == BROKEN and association.is_established:
                association.abort()  # it may be in the middle of an answer
            return outcome
        finally:
            if association.is_established:
                association.release()

    def _look(self, association: Association, inquiry: _Inquiry) -> str:
        try:
            uids = self._newest_studies(association, inquiry)[:MAX_STUDIES]
        except PARSE_ERRORS:
            return BROKEN
        for uid in uids:
            moved, broken = 0, False
            try:
                series = self._ecg_series(association, inquiry, uid)
                moved = sum([self._retrieve(association, inquiry, uid, item) for item in series])
            except PARSE_ERRORS:
                broken = True  # by an ECG that is too long, perhaps, after others that are not
            kept = self._keep(inquiry.arrivals, inquiry.study, inquiry.control)
            if kept or (moved and has_ecg(self._queue, inquiry.study)):
                return FOUND
            if broken:
                return BROKEN
        return NONE

    def _associate(self, inquiry: _Inquiry) -> Association:
        # With C-MOVE they come in by an association of the archive's own.
        return self._client.associate(
            (_FIND, _MOVE if self._moves else _GET),
            stores=() if self._moves else ECG_CLASSES,
            on_store=lambda event: self._store(event, inquiry.arrivals),
            limits=inquiry.limits,
        )

    def _store(self, event: evt.Event, arrivals: list[Arrival]) -> int:
        try:
            arrival = arrival_from(event)
        except PARSE_ERRORS:
            return CANNOT_UNDERSTAND
        if arrival is None or arrival.kind != "ecg":
            return MISMATCH
        size = sum(len(item.file) for item in (*arrivals, arrival))
        if len(arrivals) >= MAX_ANSWERS:
            self._log.write("store_refused", reason="too many ECGs")
            return OUT_OF_RESOURCES
        if not self._has_room(size):
            self._log.write("store_refused", reason="disk nearly full")
            return OUT_OF_RESOURCES
        arrivals.append(arrival)
        return SUCCESS

    def _newest_studies(self, association: Association, inquiry: _Inquiry) -> list[str]:
        """UIDs of the patient's studies with an ECG, the newest first."""
        query = _query(
            "STUDY", PatientID=inquiry.patient_id, ModalitiesInStudy="ECG", StudyInstanceUID="",
            StudyDate="", StudyTime="",
        )  # fmt: skip
        # An archive that ignores the modality gives all studies, perhaps with what is in each.
        found = [
            (
                newest_last(text(item, "StudyDate"), text(item, "StudyTime")),
                text(item, "StudyInstanceUID"),
            )
            for item in _answers(association, inquiry, query)
            if not (told := text(item, "ModalitiesInStudy")) or "ECG" in told
        ]
        found.sort(key=lambda item: item[0], reverse=True)
        return [uid for _, uid in found if uid]

    def _ecg_series(self, association: Association, inquiry: _Inquiry, study_uid: str) -> list[str]:
        query = _query("SERIES", StudyInstanceUID=study_uid, SeriesInstanceUID="", Modality="ECG")
        # An archive that ignores the modality answers with all series.
        return [
            text(item, "SeriesInstanceUID")
            for item in _answers(association, inquiry, query)
            if text(item, "Modality") in ("ECG", "")
        ]

    def _retrieve(
        self, association: Association, inquiry: _Inquiry, study_uid: str, series_uid: str
    ) -> int:
        """Get a series by the handler, or have it moved; returns how many objects were moved."""
        query = _query("SERIES", StudyInstanceUID=study_uid, SeriesInstanceUID=series_uid)
        if not self._moves:
            getting: Any = association.send_c_get(query, _GET)
            *_, (last, _) = _bounded(getting, inquiry)  # what matters comes by the handler
        else:
            moving: Any = association.send_c_move(query, self._config.node.ae_title, _MOVE)
            *_, (last, _) = _bounded(moving, inquiry)
        if "Status" not in last:
            raise RuntimeError("no answer")
        return int(last.get("NumberOfCompletedSuboperations") or 0) if self._moves else 0


def _query(level: str, **keys: str) -> Dataset:
    found = Dataset()
    found.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(found, keyword, value)
    return found


def _answers(association: Association, inquiry: _Inquiry, query: Dataset) -> Iterator[Dataset]:
    answers: Any = association.send_c_find(query, _FIND)
    last = None
    for status, item in _bounded(answers, inquiry):
        last = getattr(status, "Status", None)
        if last in _PENDING and item is not None:
            yield item
    if last != SUCCESS:  # no answer, or no end of it: that is not the same as no ECG
        raise RuntimeError("the query failed")


def _bounded(answers: Iterable[Any], inquiry: _Inquiry) -> Iterator[Any]:
    """Raises RuntimeError where there are too many, CancelledError where the node stops or it
    takes too long."""
    for number, answer in enumerate(answers):
        inquiry.control.check()  # what has come already would still be read
        if number >= MAX_ANSWERS:
            raise RuntimeError("no end of answers")
        yield answer
