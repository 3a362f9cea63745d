"""Asking a DICOMweb server for the newest ECG of a patient: QIDO-RS, then WADO-RS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from scarseg_infer.dicomweb.client import DicomWeb
from scarseg_infer.dicomweb.errors import TLS_FAILED, DicomWebError
from scarseg_infer.ecg.record import MAX_ECG_BYTES
from scarseg_infer.node.config import Config
from scarseg_infer.node.counters import Counters
from scarseg_infer.node.dicom.receive import arrival_in_file
from scarseg_infer.node.dicomweb.peer import WebPeer
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
from scarseg_infer.node.queue.received import Arrival, Queue, Study
from scarseg_runtime.errors import RunTimeoutError, UsageError
from scarseg_runtime.run_control import CancelSignal, RunControl

_FULL: Final = "disk nearly full"


class WebEcgQuery(EcgFetcher):
    """Fetches ECGs from a server; see :class:`EcgFetcher`.

    Args:
        has_room: is there room on the disk for so many bytes?
        stop: set when the node stops, which waits for no answer of a server.
    """

    def __init__(
        self,
        config: Config,
        peer: WebPeer,
        queue: Queue,
        counters: Counters,
        log: Log,
        has_room: Callable[[int], bool],
        stop: CancelSignal,
    ) -> None:
        super().__init__(queue, counters, log, always=peer.ecgs == "always")
        self._server, self._has_room, self._stop = peer.server, has_room, stop
        self._object_bytes = min(config.limits.object_bytes, MAX_ECG_BYTES)

    def _asked(self, study: Study, patient_id: str) -> str:
        control = RunControl(self._stop, QUERY_S)
        try:
            with DicomWeb(
                self._server, control,
                object_bytes=self._object_bytes, all_bytes=MAX_QUERY_BYTES,
            ) as web:  # fmt: skip
                return self._look(web, study, patient_id, control)
        except RunTimeoutError:
            return BROKEN
        except DicomWebError as failure:
            return failure.what
        except UsageError:  # files that were good at the start
            return TLS_FAILED

    def _look(self, web: DicomWeb, study: Study, patient_id: str, control: RunControl) -> str:
        left = MAX_QUERY_BYTES
        for study_uid in web.ecg_studies(patient_id)[:MAX_STUDIES]:
            found: list[Arrival] = []
            broken: DicomWebError | None = None
            try:
                for arrival in self._ecgs(web, study_uid):
                    left -= len(arrival.file)
                    if left < 0 or len(found) >= MAX_ANSWERS:
                        return BROKEN
                    found.append(arrival)
            except DicomWebError as error:
                broken = error  # by one that is too long, perhaps, after others that are not
            if found and not self._has_room(sum(len(one.file) for one in found)):
                self._log.write("store_refused", reason=_FULL)
                return _FULL
            if self._keep(found, study, control):
                return FOUND
            if broken:
                raise broken
        return NONE

    def _ecgs(self, web: DicomWeb, study_uid: str) -> Iterator[Arrival]:
        for series_uid in web.ecg_series(study_uid):
            for data in web.objects(study_uid, series_uid):
                arrival = arrival_in_file(data)
                if arrival and arrival.kind == "ecg":
                    yield arrival
